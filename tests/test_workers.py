"""Forked workers: their counters, how they are stopped, and what is left of those that are killed."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap import shared as shared_module
from sipcap.counters import Counters
from sipcap.errors import CannotStart
from sipcap.workers import SharedCounters, Workers
from tests.support.pipes import exit_code, in_child, wait_until

Body = Callable[[int, SharedCounters, Callable[[], bool]], int]


def count(page: SharedCounters, **values: Any) -> None:
    """Publish counters with these values."""
    counters = Counters()
    counters.add(values)
    page.publish(counters)


def until_told(told_to_stop: Callable[[], bool]) -> None:
    """What a worker does while it has nothing to do."""
    while not told_to_stop():
        time.sleep(0.01)


def started(number: int, body: Body) -> Workers:
    """Workers that run."""
    workers = Workers(number, body)
    workers.start()
    return workers


# Counters in shared memory


def test_page_without_values_is_empty() -> None:
    """A worker that never published counted nothing."""
    assert SharedCounters().read() == {}


@given(totals=st.lists(st.integers(0, 2**60), min_size=1, max_size=9))
def test_page_holds_what_was_published_last(totals: list[int]) -> None:
    """Each writing replaces the one before it."""
    page = SharedCounters()
    for total in totals:
        count(page, received=total, rejected={f"reason{total % 7}": total})
        assert page.read()["received"] == total
        assert page.read()["rejected"] == {f"reason{total % 7}": total}


def test_page_takes_values_up_to_its_size_without_touching_the_others() -> None:
    """However many reasons there are, the values before them stay whole until the new ones are."""
    for size in range(8_100, 8_250):
        page = SharedCounters()
        counters = Counters()
        counters.rejected["x" * (size - len(str(counters.as_dict())))] = 1
        count(page, received=1)
        count(page, received=2)
        before = page._number()
        page.publish(counters)
        if page._number() != before:  # a half-written one is not seen, and the whole one is not damaged by it
            shared_module._NUMBER.pack_into(page._page, 0, before)
        assert page.read()["received"] == 2


def test_page_is_readable_while_it_is_written() -> None:
    """A reader that is overtaken by the writer reads again."""
    page = SharedCounters()
    count(page, received=0)
    done = threading.Event()

    def write() -> None:
        for number in range(3_000):
            count(page, received=number, bytes=number, rejected={"x" * (number % 50): number})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    last = 0
    while not done.is_set():
        values = page.read()
        assert values["bytes"] == values["received"] >= last
        last = values["received"]
    writer.join(30)


def test_page_of_a_killed_writer_has_its_last_values() -> None:
    """Kill -9 at any moment leaves whole values."""
    page = SharedCounters()

    def write_on() -> int:
        number = 0
        while True:
            number += 1
            count(page, received=number, stored=number)

    pid = in_child(write_on)
    wait_until(lambda: page.read().get("received", 0) > 100)
    os.kill(pid, signal.SIGKILL)
    assert exit_code(pid) == -signal.SIGKILL
    values = page.read()
    assert values["received"] == values["stored"] > 100


# Workers


def test_workers_all_run_and_their_counters_add_up() -> None:
    """Each knows its number, and what they counted is one sum."""

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        count(page, received=10**index, stored=10**index)
        until_told(told_to_stop)
        return 0

    workers = started(3, body)
    wait_until(lambda: workers.counters().received == 111)
    assert (workers.reap(), workers.ended) == (True, 0)
    workers.stop()
    workers.join(30.0)
    assert (workers.reap(), workers.ended, workers.failed, workers.counters().stored) == (False, 3, 0, 111)


def test_workers_ignore_the_signals_of_a_terminal() -> None:
    """Ctrl-C reaches the whole group; the parent says when workers stop."""

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        count(page, received=1)
        until_told(told_to_stop)
        return 0

    workers = started(1, body)
    wait_until(lambda: workers.counters().received == 1)
    (pid,) = workers._pids
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    time.sleep(0.2)
    assert workers.reap()
    workers.stop()
    workers.stop()
    workers.join(30.0)
    assert workers.failed == 0


@pytest.mark.parametrize("how", ["return 3", "raise", "exit", "kill"])
def test_worker_that_fails_is_noticed(how: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever ends a worker, it is counted as failed, and nothing of the parent's code runs in it."""

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        if how == "raise":
            raise ValueError("broken")
        if how == "exit":
            raise SystemExit(0)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return 3

    workers = started(2, body)
    workers.join(30.0)
    assert (workers.ended, workers.failed) == (2, 2)
    workers.stop()
    assert ("Traceback" in capfd.readouterr().err) is (how in ("raise", "exit"))


def test_worker_killed_its_counters_survive_and_what_it_held_is_dropped() -> None:
    """What a killed worker had taken in and not handed on is accounted for; the others are not touched."""

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        count(page, received=100, stored=60, reported=5, rejected={"short": 15}, bytes=9)
        until_told(told_to_stop)
        count(page, received=100, stored=70, reported=5, rejected={"short": 25}, bytes=9)
        return 0

    workers = started(2, body)
    wait_until(lambda: workers.counters().received == 200)
    victim = next(iter(workers._pids))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: workers.reap() and workers.ended == 1)
    workers.stop()
    workers.join(30.0)
    total = workers.counters()
    assert (workers.failed, total.received, total.stored, total.bytes) == (1, 200, 130, 18)
    assert (total.dropped, total.imbalance()) == ({"worker_killed": 20}, 0)


def test_worker_that_ends_well_and_does_not_balance_is_not_excused() -> None:
    """An imbalance of a worker that was not killed is a bug, and stays to be seen."""

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        count(page, received=5, stored=3)
        return 0

    workers = started(1, body)
    workers.join(30.0)
    workers.stop()
    assert (workers.counters().imbalance(), workers.counters().dropped) == (2, {})


def test_join_kills_what_does_not_end_in_time() -> None:
    """A worker that hangs does not hang its parent."""

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        count(page, received=3)
        time.sleep(600)
        return 0

    workers = started(2, body)
    wait_until(lambda: workers.counters().received == 6)
    workers.stop()
    began_s = time.monotonic()
    workers.join(0.3)
    assert 0.2 < time.monotonic() - began_s < 10
    assert (workers.failed, workers.counters().dropped) == (2, {"worker_killed": 6})


def test_workers_of_a_parent_that_died_are_told_to_stop() -> None:
    """Kill -9 of the parent leaves no worker behind."""
    reading, writing = os.pipe()

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        os.write(writing, b"x")
        until_told(told_to_stop)
        os.write(writing, b"y")
        return 0

    def parent() -> int:
        started(3, body)
        time.sleep(600)
        return 0

    pid = in_child(parent)
    os.close(writing)
    seen = b""
    while len(seen) < 3:
        seen += os.read(reading, 3)
    os.kill(pid, signal.SIGKILL)
    exit_code(pid)
    while piece := os.read(reading, 3):  # its end: nobody holds the pipe any more
        seen += piece
    assert seen == b"xxxyyy"
    os.close(reading)


def test_start_without_room_for_processes_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no further process, there is a reason and none is left running."""
    fork = os.fork
    pids: list[int] = []

    def scarce() -> int:
        if len(pids) == 2:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        pids.append(fork())
        return pids[-1]

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        time.sleep(600)
        return 0

    monkeypatch.setattr(os, "fork", scarce)
    with pytest.raises(CannotStart, match="cannot start process 3 of 4: Resource temporarily unavailable"):
        started(4, body)
    assert [exit_code(pid) for pid in pids] == [-signal.SIGKILL] * 2
