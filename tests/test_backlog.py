"""Batches on their way while the next are read: order, bounds, failures, and a database that does not answer."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipcap import backlog, writing
from sipcap.batching import INSERT_MODES, batches_ahead
from sipcap.errors import SinkError, Unwritten
from sipcap.limits import ASYNC_BATCHES
from sipcap.sinks.base import Adjusted
from sipcap.spool import Spool
from tests.support.messages import BASE_TS_US
from tests.support.pipes import wait_until
from tests.support.sinks import Away, Bench, MemorySink, Refusing, Tables


class SlowSink(MemorySink):
    """A sink whose writes wait until they are let go."""

    is_in_process = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.begun = 0

    def write(self, batch_id: str, tables: Tables) -> Adjusted:
        """Keep a batch when the gate is open."""
        self.begun += 1
        assert self.gate.wait(30)
        return super().write(batch_id, tables)


class SilentSink(SlowSink):
    """A sink that may be interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.interrupted = threading.Event()

    def write(self, batch_id: str, tables: Tables) -> Adjusted:
        """Wait for the gate or an interruption."""
        self.begun += 1
        while not self.gate.wait(0.01):
            if self.interrupted.is_set():
                raise SinkError("interrupted", transient=True)
        return MemorySink.write(self, batch_id, tables)

    def interrupt(self) -> None:
        """Have the write fail."""
        self.interrupted.set()


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(backlog, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(backlog, "_GRACE_S", 0.2)


@pytest.fixture
def slow() -> Iterator[SlowSink]:
    """A sink whose gate is open at the end, whatever happens."""
    sink = SlowSink()
    yield sink
    sink.gate.set()


def test_batches_ahead_are_one_in_plain_and_some_in_async() -> None:
    """Plain reads one batch ahead of what is durable; delayed is plain but for the statement."""
    assert {mode: batches_ahead(mode) for mode in INSERT_MODES} == {"plain": 1, "delayed": 1, "async": ASYNC_BATCHES}


@pytest.mark.parametrize("ahead", [1, 4])
def test_add_goes_on_while_so_many_batches_are_written_and_no_further(slow: SlowSink, ahead: int) -> None:
    """The batch that is collected beside those on their way waits when it is full, until one of them is durable."""
    bench = Bench(slow, size=10, ahead=ahead)
    bench.add(0, 10 * ahead + 9)
    assert bench.batcher.pending == 10 * ahead + 9
    full = threading.Thread(target=bench.add, args=(10 * ahead + 9, 1))
    full.start()
    full.join(0.3)
    assert full.is_alive()
    assert bench.counters.stored == 0
    slow.gate.set()
    full.join(30)
    bench.batcher.flush()
    assert bench.numbers() == list(range(10 * ahead + 10))
    assert (bench.balanced, bench.batcher.pending) == (True, 0)


def test_batches_on_their_way_are_bounded_by_what_they_hold(slow: SlowSink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen batches of huge messages are not sixteen times the memory."""
    monkeypatch.setattr(backlog, "BATCH_CHARACTERS", 10)
    bench = Bench(slow, size=1, ahead=16)
    bench.add(0, 1)
    full = threading.Thread(target=bench.add, args=(1, 5))
    full.start()
    full.join(0.3)
    assert full.is_alive()
    slow.gate.set()
    full.join(30)
    bench.batcher.flush()
    assert bench.numbers() == list(range(6))


def test_one_batch_ahead_of_a_sink_that_works_here_is_waited_for(slow: SlowSink) -> None:
    """SQLite and reading would share the interpreter: nothing is collected meanwhile, and the deadline holds."""
    slow.is_in_process = True
    bench = Bench(slow, size=10, ahead=1)
    full = threading.Thread(target=bench.add, args=(0, 10))
    full.start()
    full.join(0.3)
    assert full.is_alive()
    slow.gate.set()
    full.join(30)
    assert (bench.counters.stored, bench.batcher.pending) == (10, 0)


def test_send_does_not_wait_and_flush_does(slow: SlowSink) -> None:
    """What is due goes on its way at once; what must be stored is waited for."""
    bench = Bench(slow, size=100, ahead=1)
    bench.add(0, 5)
    bench.batcher.send()
    assert (slow.attempts, bench.batcher.due_s) == ([], float("inf"))
    threading.Timer(0.2, slow.gate.set).start()
    bench.batcher.flush()
    assert bench.counters.stored == 5


def test_failure_is_raised_once_all_batches_have_been_tried() -> None:
    """Every record behind the failure is counted: tried once more each, without further retries."""
    bench = Bench(MemorySink(Away()), size=10, ahead=4, retries=3)
    with pytest.raises(Unwritten):
        bench.add(0, 100)
    with contextlib.suppress(Unwritten):
        bench.batcher.flush()
    assert bench.counters.dropped["database"] == bench.counters.received == bench.batcher.unwritten
    assert bench.balanced


def test_refused_rows_are_put_aside_as_without_a_thread(tmp_path: Path) -> None:
    """One row costs one row, and batches behind it keep their order."""
    bench = Bench(MemorySink(), tmp_path / "dead", size=8, ahead=4)
    bench.sink.trouble = Refusing(BASE_TS_US + 13)
    bench.add(0, 50)
    bench.batcher.flush()
    assert bench.numbers() == [number for number in range(50) if number != 13]
    assert (bench.counters.dead_letter, bench.balanced) == (1, True)


def test_bug_in_a_sink_is_raised_where_batches_are_handed_over() -> None:
    """What is no trouble of a database ends the program as it does without a thread."""

    def trouble(_tables: Tables) -> SinkError | None:
        raise ZeroDivisionError

    bench = Bench(MemorySink(trouble), size=10, ahead=4)
    with pytest.raises(ZeroDivisionError):
        for _ in range(100):
            bench.add(0, 10)
            time.sleep(0.01)


def test_spool_is_taken_in_by_turns_while_batches_come(tmp_path: Path) -> None:
    """Whoever is always busy with live batches does not forget those that wait."""
    place = Spool(tmp_path / "spool", 1 << 20).place("default", "here")
    sink = MemorySink(Away(1))
    bench = Bench(sink, size=10, ahead=2, place=place)
    bench.add(0, 10)
    wait_until(lambda: bench.counters.spooled == 10)
    time.sleep(1.1)  # the first pause before the database is tried again
    bench.add(10, 50)
    bench.batcher.flush()
    assert sorted(bench.numbers()) == list(range(60))
    assert (bench.counters.spooled, bench.counters.stored, bench.balanced) == (0, 60, True)


@pytest.mark.parametrize("kind", [SlowSink, SilentSink])
def test_silent_database_is_left_when_the_time_is_over(kind: type[SlowSink], tmp_path: Path) -> None:
    """Whether it can be interrupted or not, the batches go to the dead-letter file within seconds, once."""
    over = threading.Event()
    sink = kind()
    bench = Bench(sink, tmp_path / "dead", size=10, ahead=2, stopping=over.is_set)
    bench.add(0, 15)
    bench.batcher.send()
    threading.Timer(0.1, over.set).start()
    began_s = time.monotonic()
    bench.batcher.flush()
    assert time.monotonic() - began_s < 10
    bench.add(15, 12)  # what was read ahead still has its place
    bench.batcher.flush()
    sink.gate.set()  # and if it was committed after all, it is not counted twice
    time.sleep(0.1)
    bench.batcher.close()
    lines = [json.loads(line) for line in (tmp_path / "dead").read_text().splitlines()]
    assert len(lines) == bench.counters.dead_letter == bench.batcher.unwritten == 27
    assert sink.begun == 1
    assert (bench.counters.stored, bench.balanced) == (0, True)


def test_silent_database_gets_its_batch_from_the_spool_under_its_id(tmp_path: Path) -> None:
    """A batch that was committed after it had been given up is not stored again."""
    over = threading.Event()
    sink = SlowSink()
    place = Spool(tmp_path / "spool", 1 << 20).place("default", "here")
    bench = Bench(sink, size=10, ahead=1, stopping=over.is_set, place=place)
    bench.add(0, 10)
    over.set()
    bench.batcher.flush()
    assert (bench.counters.spooled, bench.balanced) == (10, True)
    sink.gate.set()
    wait_until(lambda: bool(sink.tables))
    place.close()
    later = Bench(sink, size=10, ahead=1, place=Spool(tmp_path / "spool", 1 << 20).place("default", "here"))
    assert later.batcher.recover()
    assert bench.numbers() == list(range(10))
    assert (later.counters.recovered, later.counters.stored, later.balanced) == (10, 10, True)


def test_slow_database_that_answers_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of an attempt counts, not that of all: each batch of a database that works is stored after a stop."""
    monkeypatch.setattr(backlog, "_PATIENCE_S", 1.0)

    def trouble(_tables: Tables) -> None:
        time.sleep(0.3)

    bench = Bench(MemorySink(trouble), size=10, ahead=8, stopping=lambda: True)
    bench.add(0, 80)
    bench.batcher.flush()
    assert (bench.counters.stored, bench.balanced) == (80, True)
