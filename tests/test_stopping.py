"""Signals: the first one asks, the second one leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sipcap.stopping import Stop
from tests.conftest import TIMEOUT_S, environment

HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD)
TWICE = """
import os, signal, sys, time
from sipcap.stopping import Stop
stop = Stop()
stop.leaving.append(lambda: os.kill(2**22 + 1, 9))  # no such process
stop.leaving.append(lambda: os.write(1, b"goodbye"))
stop.install()
for number in sys.argv[2:]:
    os.kill(os.getpid(), int(number))
    time.sleep(float(sys.argv[1]))
os.write(1, b"still here")
"""


@pytest.fixture
def stop() -> Iterator[Stop]:
    """A Stop that is not installed; the handlers are put back behind the test."""
    before = {number: signal.getsignal(number) for number in HANDLED}
    yield Stop()
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int, pause_s: float = 0.15) -> tuple[int, bytes]:
    """Exit code and output of a process that sends itself these signals, with a pause behind each."""
    done = subprocess.run(
        [sys.executable, "-c", TWICE, str(pause_s), *map(str, numbers)],
        capture_output=True,
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.stderr == b""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("number", "noted"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGHUP, signal.SIGTERM),
    ],
)
def test_stop_first_signal_asks(stop: Stop, number: int, noted: int) -> None:
    """The first signal only sets a flag; a hang-up counts as SIGTERM."""
    stop.install()
    assert (stop.requested, stop.signal_number) == (False, 0)
    os.kill(os.getpid(), number)
    assert (bool(stop.requested), int(stop.signal_number)) == (True, noted)


def test_stop_by_request_is_no_signal(stop: Stop) -> None:
    """A duration that is over is not counted as the first signal."""
    stop.install()
    stop.request()
    os.kill(os.getpid(), signal.SIGTERM)
    assert (stop.requested, stop.signal_number) == (True, signal.SIGTERM)


@pytest.mark.parametrize(
    ("ignored", "number"), [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM)], ids=["INT", "TERM"]
)
def test_stop_works_where_a_shell_ignored_the_signal(stop: Stop, ignored: int, number: int) -> None:
    """A background job of a script starts with SIGINT ignored, and must still end."""
    signal.signal(ignored, signal.SIG_IGN)
    stop.install()
    os.kill(os.getpid(), number)
    assert stop.requested


def test_stop_leaves_nohup_alone(stop: Stop) -> None:
    """Whoever started us with nohup wants us to outlive the terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop.install()
    os.kill(os.getpid(), signal.SIGHUP)
    assert not stop.requested


def test_stop_makes_a_lost_reader_an_error(stop: Stop) -> None:
    """A closed pipe is an exception where it is written, not the death of the process."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    stop.install()
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    os.close(writer)


def test_stop_learns_how_children_ended_though_the_parent_ignored_them(stop: Stop) -> None:
    """SIGCHLD that was inherited as ignored would hide the exit codes of worker processes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    stop.install()
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"], env=environment())
    _, status = os.waitpid(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 7


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((signal.SIGINT,), (0, b"still here")),
        ((signal.SIGINT, signal.SIGINT), (130, b"goodbye")),
        ((signal.SIGTERM, signal.SIGTERM), (143, b"goodbye")),
        ((signal.SIGINT, signal.SIGTERM), (143, b"goodbye")),
        ((signal.SIGHUP, signal.SIGHUP, signal.SIGHUP), (0, b"still here")),
        ((signal.SIGTERM, signal.SIGHUP), (0, b"still here")),
        ((signal.SIGHUP, signal.SIGINT), (130, b"goodbye")),
    ],
)
def test_stop_second_signal_leaves_at_once(numbers: tuple[int, ...], expected: tuple[int, bytes]) -> None:
    """The second INT or TERM ends the process with its code, after its last words; hang-ups never do."""
    assert send(*numbers) == expected


@pytest.mark.parametrize("pause_s", [0.0, 0.001])
def test_stop_signals_close_together_are_one(pause_s: float) -> None:
    """timeout(1) signals the process and then its group: that is no wish to leave without draining."""
    assert send(signal.SIGTERM, signal.SIGTERM, signal.SIGTERM, pause_s=pause_s) == (0, b"still here")
