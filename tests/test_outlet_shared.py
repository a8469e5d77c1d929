"""Several processes that write to one pipe: whole lines, exact limits, writers that die."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import struct
import termios
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from sipcap.counters import Counters
from sipcap.outlet import UNLIMITED, Lines, Outlet, SharedTurnstile
from tests.support.pipes import Reader, exit_code, in_child, wait_until

LINE_BYTES = 60_000
WHOLE = re.compile(rb"[ab][0-9]{6}x{59992}\n")


def line(name: str, number: int) -> bytes:
    """A long line that tells its writer and its number."""
    return f"{name}{number:06}".encode().ljust(LINE_BYTES - 1, b"x") + b"\n"


def write_lines(turnstile: SharedTurnstile, writing: int, name: str, batches: int, size: int = 3) -> int:
    """Write batches of lines as a worker does; returns how many passed, up to 99."""
    counters = Counters()
    outlet = Outlet(writing, counters, turnstile)
    outlet.start()
    for number in range(batches):
        outlet.put(Lines(b"".join(line(name, size * number + at) for at in range(size)), size, 0))
    outlet.close(30.0)
    counters.received = batches * size
    return min(counters.stored, 98) if counters.imbalance() == 0 else 99


def numbers(lines: list[bytes], name: str) -> list[int]:
    """The numbers of one writer's whole lines, in their order."""
    return [int(text[1:7]) for text in lines if WHOLE.fullmatch(text) and text.startswith(name.encode())]


@pytest.mark.parametrize("size", [1, 3])
def test_writers_in_turn_never_interleave(size: int) -> None:
    """Lines of 60 KB from two processes arrive whole, each process' in their order."""
    reading, writing = os.pipe()
    turnstile = SharedTurnstile(writing, UNLIMITED)
    writers = [in_child(partial(write_lines, turnstile, writing, name, 30, size)) for name in "ab"]
    os.close(writing)
    lines = Reader(reading).lines()
    assert [exit_code(pid) for pid in writers] == [min(30 * size, 98)] * 2
    assert all(WHOLE.fullmatch(text) for text in lines)
    assert [numbers(lines, name) for name in "ab"] == [list(range(30 * size))] * 2
    os.close(reading)


@pytest.mark.parametrize("limit", [1, 7, 20])
def test_limit_that_writers_share_is_exact(limit: int) -> None:
    """Of all that several processes offer, so many lines pass and not one more."""
    reading, writing = os.pipe()
    turnstile = SharedTurnstile(writing, limit)
    writers = [in_child(partial(write_lines, turnstile, writing, name, 10)) for name in "ab"]
    os.close(writing)
    lines = Reader(reading).lines()
    assert len(lines) == limit == sum(exit_code(pid) for pid in writers)
    assert all(WHOLE.fullmatch(text) for text in lines)
    assert turnstile.left == 0
    os.close(reading)


def test_writer_killed_in_the_middle_costs_one_line() -> None:
    """Kill -9 of a writer leaves at most one broken line, and the others go on."""
    reading, writing = os.pipe()
    turnstile = SharedTurnstile(writing, UNLIMITED)
    dead = in_child(lambda: write_lines(turnstile, writing, "a", 5))
    wait_until(lambda: _unread(reading) >= LINE_BYTES)  # it stands in the middle of its second line
    alive = in_child(lambda: write_lines(turnstile, writing, "b", 5))
    time.sleep(0.3)
    os.kill(dead, signal.SIGKILL)
    assert exit_code(dead) == -signal.SIGKILL
    os.close(writing)
    lines = Reader(reading).lines()
    assert exit_code(alive) == 15
    broken = [text for text in lines if not WHOLE.fullmatch(text)]
    assert len(broken) <= 1
    assert line("a", 1).startswith(broken[0].rstrip(b"\n"))
    assert (numbers(lines, "a"), numbers(lines, "b")) == ([0], list(range(15)))
    os.close(reading)


def test_writer_killed_while_it_waits_costs_nothing() -> None:
    """A writer that has not got its turn dies without a trace."""
    reading, writing = os.pipe()
    turnstile = SharedTurnstile(writing, UNLIMITED)
    alive = in_child(lambda: write_lines(turnstile, writing, "a", 5))
    wait_until(lambda: _unread(reading) >= LINE_BYTES)
    dead = in_child(lambda: write_lines(turnstile, writing, "b", 5))
    time.sleep(0.3)
    os.kill(dead, signal.SIGKILL)
    assert exit_code(dead) == -signal.SIGKILL
    os.close(writing)
    lines = Reader(reading).lines()
    assert exit_code(alive) == 15
    assert lines == [line("a", number) for number in range(15)]
    os.close(reading)


def test_turn_that_failed_leaves_its_mark() -> None:
    """What a writer could not finish is ended by the next one, and only then."""
    reading, writing = os.pipe()
    turnstile = SharedTurnstile(writing)
    with contextlib.suppress(OSError), turnstile:
        os.write(writing, b"half a li")
        raise OSError
    for _ in range(2):
        with turnstile:
            os.write(writing, b"whole\n")
    os.close(writing)
    assert Reader(reading).lines() == [b"half a li\n", b"whole\n", b"whole\n"]
    os.close(reading)


def test_turn_that_cannot_begin_keeps_nobody_else_out() -> None:
    """A writer that finds the reader gone gives the lock back."""
    reading, writing = os.pipe()
    turnstile = SharedTurnstile(writing)
    with contextlib.suppress(OSError), turnstile:
        raise OSError
    os.close(reading)

    def enter() -> int:
        with contextlib.suppress(BrokenPipeError), turnstile:
            return 1
        return 0

    assert enter() == 0
    other = in_child(enter)
    assert exit_code(other) == 0
    os.close(writing)


def test_limit_is_seen_by_all_without_a_turn() -> None:
    """Anybody may ask what is left, also while another one writes."""
    turnstile = SharedTurnstile(1, 5)
    with turnstile as allowed:
        turnstile.passed(2)
        seen: list[int] = []
        asking = threading.Thread(target=lambda: seen.append(turnstile.left))
        asking.start()
        asking.join(30)
    assert (allowed, seen, turnstile.left) == (5, [3], 3)


def test_turnstile_shared_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sharing a pipe needs no room on any disk."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    turnstile = SharedTurnstile(1, 5)
    with turnstile as allowed:
        turnstile.passed(2)
    assert (allowed, turnstile.left) == (5, 3)


def _unread(reading: int) -> int:
    """Bytes that stand in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(reading, termios.FIONREAD, b"\0" * 4))[0])
