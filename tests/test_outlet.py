"""Lines on their way out: order, limits, readers that leave or dawdle, and several writers of one pipe."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipcap.counters import Counters
from sipcap.limits import OUTPUT_QUEUE_BYTES
from sipcap.ndjson import encode_records
from sipcap.outlet import Lines, Outlet
from sipcap.turnstile import LocalTurnstile
from tests.support.pipes import Reader, wait_until
from tests.support.records import report_record, sip_lines, sip_record

CLOSE_S = 30.0


class Bench:
    """An outlet into a pipe, and its counters."""

    def __init__(self, limit: int | None = None) -> None:
        self.reading, self.writing = os.pipe()
        self.counters = Counters()
        self.outlet = Outlet(self.writing, self.counters, None if limit is None else LocalTurnstile(limit))
        self.outlet.start()

    def put(self, count: int, first: int = 0) -> None:
        """Queue one batch of SIP lines."""
        self.counters.received += count
        self.outlet.put(Lines(sip_lines(count, first), count, 0))

    def end(self, timeout_s: float = CLOSE_S) -> None:
        """Close the outlet and both ends of its pipe."""
        self.outlet.close(timeout_s)
        for end in (self.writing, self.reading):
            with contextlib.suppress(OSError):
                os.close(end)


@pytest.fixture
def bench() -> Iterator[Bench]:
    """An outlet without a limit."""
    made = Bench()
    yield made
    made.end()


def test_lines_come_out_as_they_went_in(bench: Bench) -> None:
    """Batches are written whole and in order, and each kind is counted."""
    reader = Reader(bench.reading)
    for number in range(50):
        bench.put(3, 3 * number)
    reports = encode_records([report_record(1), report_record(2)])
    bench.counters.received += 3
    bench.outlet.put(Lines(reports + sip_lines(1, 999), 1, 2))
    bench.outlet.close(CLOSE_S)
    os.close(bench.writing)
    assert b"".join(reader.lines()) == sip_lines(150) + reports + sip_lines(1, 999)
    counters = bench.counters
    assert (counters.stored, counters.reported, counters.imbalance(), bench.outlet.pending) == (151, 2, 0, 0)


def test_batch_larger_than_a_pipe_waits_for_its_reader(bench: Bench) -> None:
    """A megabyte into a pipe of 64 KB arrives whole, whenever somebody reads."""
    record = sip_record(msg="x" * (1 << 20))
    bench.outlet.put(Lines(encode_records([record]), 1, 0))
    time.sleep(0.1)
    assert bench.outlet.pending == 1
    reader = Reader(bench.reading)
    bench.outlet.close(CLOSE_S)
    os.close(bench.writing)
    assert reader.lines() == [encode_records([record])]


def test_pipe_made_non_blocking_by_others_is_written_as_usual(bench: Bench) -> None:
    """A flag that another program set on our pipe loses nothing."""
    flags = fcntl.fcntl(bench.writing, fcntl.F_GETFL)
    fcntl.fcntl(bench.writing, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for number in range(3):
        bench.put(200, 200 * number)
    time.sleep(0.2)
    reader = Reader(bench.reading)
    bench.outlet.close(CLOSE_S)
    os.close(bench.writing)
    assert b"".join(reader.lines()) == sip_lines(600)


# Limits


@pytest.mark.parametrize(
    ("limit", "batches"), [(1, [5]), (7, [3, 3, 3]), (6, [3, 3, 3]), (10, [1] * 20), (9, [3, 3, 3])]
)
def test_limit_is_exact(limit: int, batches: list[int]) -> None:
    """So many records pass and not one more; the rest is filtered, and it is known that the limit is reached."""
    bench = Bench(limit)
    reader = Reader(bench.reading)
    at = 0
    for count in batches:
        bench.put(count, at)
        at += count
    bench.outlet.close(CLOSE_S)
    os.close(bench.writing)
    assert b"".join(reader.lines()) == sip_lines(limit)
    assert bench.outlet.limit_reached
    assert bench.outlet.ended
    assert (bench.counters.stored, bench.counters.filtered.total()) == (limit, at - limit)
    assert (bench.counters.dropped.total(), bench.counters.imbalance()) == (0, 0)
    bench.end()


def test_limit_in_a_mixed_batch_counts_each_kind() -> None:
    """What passes is counted by its own kind."""
    bench = Bench(3)
    reader = Reader(bench.reading)
    data = encode_records([sip_record(1), report_record(2), sip_record(3), report_record(4), report_record(5)])
    bench.counters.received = 5
    bench.outlet.put(Lines(data, 2, 3))
    bench.outlet.close(CLOSE_S)
    os.close(bench.writing)
    assert [json.loads(line)["kind"] for line in reader.lines()] == ["sip", "report", "sip"]
    counters = bench.counters
    assert (counters.stored, counters.reported, counters.filtered) == (2, 1, {"count": 2})
    bench.end()


def test_limit_not_reached_is_not_said_to_be() -> None:
    """One record below the limit is below it."""
    bench = Bench(4)
    bench.put(3)
    wait_until(lambda: bench.outlet.pending == 0)
    assert not bench.outlet.ended
    bench.end()


# Readers


def test_reader_gone_is_noticed_when_writing(bench: Bench) -> None:
    """A closed pipe ends the outlet; what was not written is counted as dropped."""
    os.close(bench.reading)
    for number in range(5):
        bench.put(10, number)
    wait_until(lambda: bench.outlet.pending == 0)
    assert bench.outlet.reader_gone
    assert bench.outlet.ended
    assert bench.outlet.failure is None
    assert (bench.counters.dropped, bench.counters.imbalance()) == ({"output": 50}, 0)


def test_reader_gone_is_noticed_without_anything_to_write(bench: Bench) -> None:
    """A quiet capture ends too when its reader has gone, and not before."""
    bench.outlet.probe()
    assert not bench.outlet.ended
    os.close(bench.reading)
    bench.outlet.probe()
    assert bench.outlet.reader_gone


def test_reader_gone_in_the_middle_counts_whole_lines_only(bench: Bench) -> None:
    """Lines that stand in the pipe were handed on, the one that was cut and those behind it were not."""
    bench.put(500)
    time.sleep(0.3)
    with os.fdopen(bench.reading, "rb") as reading:
        first = reading.read(1_000)
    wait_until(lambda: bench.outlet.reader_gone)
    assert sip_lines(2).startswith(first)
    assert 0 < bench.counters.stored < 500
    assert bench.counters.dropped == {"output": 500 - bench.counters.stored}


class _Starved(LocalTurnstile):
    def passed(self, records: int) -> None:
        raise MemoryError(records)


def test_memory_that_is_used_up_is_a_failure_with_its_reason(bench: Bench) -> None:
    """Whoever captures sees that nothing will be written any more, instead of filling the queue."""
    outlet = Outlet(bench.writing, bench.counters, _Starved())
    outlet.start()
    bench.counters.received += 2
    outlet.put(Lines(sip_lines(2), 2, 0))
    wait_until(lambda: outlet.ended)
    outlet.close(CLOSE_S)
    assert outlet.failure is not None and outlet.failure.errno == errno.ENOMEM
    assert bench.counters.imbalance() == 0


class _StarvedOnce(LocalTurnstile):
    times = 2

    def __enter__(self) -> int:
        if self.times:
            self.times -= 1
            raise MemoryError
        return super().__enter__()


def test_memory_that_is_used_up_for_a_moment_costs_nothing(bench: Bench) -> None:
    """A hook that runs has taken it, and gives it back: the lines are written, once."""
    outlet = Outlet(bench.writing, bench.counters, _StarvedOnce())
    outlet.start()
    bench.counters.received += 2
    outlet.put(Lines(sip_lines(2), 2, 0))
    outlet.close(CLOSE_S)
    assert os.read(bench.reading, 1 << 16) == sip_lines(2)
    assert (outlet.failure, bench.counters.stored, bench.counters.imbalance()) == (None, 2, 0)


def test_disk_full_is_a_failure_with_its_reason() -> None:
    """A full disk behind a redirection ends the outlet, and nothing is written behind the failure."""
    counters = Counters()
    counters.received = 20
    with Path("/dev/full").open("wb", buffering=0) as full:
        outlet = Outlet(full.fileno(), counters)
        outlet.start()
        outlet.put(Lines(sip_lines(10), 10, 0))
        outlet.put(Lines(sip_lines(10), 10, 0))
        outlet.close(CLOSE_S)
    assert outlet.failure is not None
    assert outlet.failure.errno == errno.ENOSPC
    assert (outlet.ended, outlet.reader_gone) == (True, False)
    assert (counters.dropped, counters.imbalance()) == ({"output": 20}, 0)


@pytest.fixture
def small_files() -> Iterator[int]:
    """Files cannot grow beyond some bytes, until the test lifts that."""
    limit = 100_000
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_disk_full_in_the_middle_counts_the_lines_that_are_there(tmp_path: Path, small_files: int) -> None:
    """Whole lines in the file are stored, all others dropped; nothing is glued to the broken one when there is room."""
    counters = Counters()
    counters.received = 400
    path = tmp_path / "out.ndjson"
    with path.open("wb", buffering=0) as file:
        outlet = Outlet(file.fileno(), counters)
        outlet.start()
        outlet.put(Lines(sip_lines(200), 200, 0))
        wait_until(lambda: outlet.failure is not None)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        outlet.put(Lines(sip_lines(200, 200), 200, 0))
        outlet.close(CLOSE_S)
    assert path.stat().st_size == small_files
    whole = path.read_bytes().count(b"\n")
    assert (counters.stored, counters.dropped, counters.imbalance()) == (whole, {"output": 400 - whole}, 0)


# Bounds


def test_queue_full_is_told_and_room_is_waited_for(bench: Bench) -> None:
    """Whoever puts more than the bound is told to wait, and is woken when the reader has read."""
    record = encode_records([sip_record(msg="x" * (1 << 20))])
    assert bench.outlet.wait_for_space(0.0)
    for _ in range((OUTPUT_QUEUE_BYTES >> 20) + 1):
        bench.outlet.put(Lines(record, 1, 0))
    assert not bench.outlet.wait_for_space(0.1)
    reader = Reader(bench.reading)
    assert bench.outlet.wait_for_space(30.0)
    bench.outlet.close(CLOSE_S)
    os.close(bench.writing)
    assert len(reader.lines()) == (OUTPUT_QUEUE_BYTES >> 20) + 1


def test_queue_full_does_not_hold_up_anybody_when_the_reader_has_gone(bench: Bench) -> None:
    """A capture that waits for room learns that there is nothing to wait for."""
    record = encode_records([sip_record(msg="x" * (1 << 20))])
    for _ in range((OUTPUT_QUEUE_BYTES >> 20) + 1):
        bench.outlet.put(Lines(record, 1, 0))
    threading.Timer(0.2, os.close, (bench.reading,)).start()
    began_s = time.monotonic()
    while not bench.outlet.ended and time.monotonic() - began_s < 30:
        bench.outlet.wait_for_space(1.0)
    assert bench.outlet.reader_gone


def test_close_with_a_reader_that_does_not_read_counts_the_rest_once() -> None:
    """The time for draining is kept; what comes out later is not counted again."""
    bench = Bench()
    for number in range(3):
        bench.put(500, 500 * number)
    began_s = time.monotonic()
    bench.outlet.close(0.3)
    assert 0.2 < time.monotonic() - began_s < 10
    stored = bench.counters.stored
    assert 0 < stored < 500
    assert (bench.counters.dropped, bench.counters.imbalance()) == ({"output": 1_500 - stored}, 0)
    reader = Reader(bench.reading)
    bench.outlet._thread.join(30)
    os.close(bench.writing)
    assert [line for line in reader.lines() if line.endswith(b"\n")] == sip_lines(stored).splitlines(keepends=True)
    assert (bench.counters.dropped, bench.counters.stored) == ({"output": 1_500 - stored}, stored)
    bench.end()


def test_close_of_an_idle_outlet_is_immediate(bench: Bench) -> None:
    """Nothing queued is nothing to wait for."""
    began_s = time.monotonic()
    bench.outlet.close(CLOSE_S)
    assert time.monotonic() - began_s < 5
