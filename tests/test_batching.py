"""Records to batches: when they are written, and what becomes of those that the database does not take."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sipcap import batching, writing
from sipcap.errors import SinkError, Unwritten
from sipcap.sinks.base import Row
from tests.support.records import report_record, sip_record
from tests.support.sinks import Away, Bench, MemorySink, Tables


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other fast."""
    monkeypatch.setattr(writing, "_FIRST_PAUSE_S", 0.001)


def _lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "dead.ndjson").read_text().splitlines()]


# When


def test_batch_full_is_written_at_once() -> None:
    """A batch is written with its last record, and none is empty."""
    bench = Bench(MemorySink(), size=10)
    bench.add(0, 25)
    assert [rows for _, rows in bench.sink.attempts] == [10, 10]
    assert bench.numbers() == list(range(20))
    bench.batcher.flush()
    bench.batcher.flush()
    assert [rows for _, rows in bench.sink.attempts] == [10, 10, 5]
    assert bench.balanced


def test_batch_size_counts_all_tables_together() -> None:
    """Many tables do not make a transaction larger."""
    bench = Bench(MemorySink(), size=4)
    for number in range(8):
        bench.add(number, 1, f"t{number}")
    assert [rows for _, rows in bench.sink.attempts] == [4, 4]


def test_batch_of_long_messages_is_written_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of megabytes do not wait until there are 2,000 of them."""
    monkeypatch.setattr(batching, "_MAX_CHARACTERS", 1_000)
    bench = Bench(MemorySink())
    for number in range(10):
        bench.counters.received += 1
        bench.batcher.add("t", Row(sip_record(number, msg="x" * 300), {}))
    assert [rows for _, rows in bench.sink.attempts] == [4, 4]
    bench.batcher.flush()
    assert (bench.numbers(), bench.balanced) == (list(range(10)), True)


def test_due_is_within_the_interval_of_the_first_record_only() -> None:
    """Further records do not put off those before them, and an empty batch is never due."""
    bench = Bench(MemorySink(), interval_s=60.0)
    assert bench.batcher.due_s == float("inf")
    began_s = time.monotonic()
    bench.add(0, 1)
    due_s = bench.batcher.due_s
    assert began_s < due_s < began_s + 60.0
    bench.add(1, 5)
    assert bench.batcher.due_s == due_s
    bench.batcher.flush()
    assert bench.batcher.due_s == float("inf")


def test_stored_counts_each_kind() -> None:
    """SIP is stored, everything else is reported."""
    bench = Bench(MemorySink())
    bench.add(0, 3)
    for number in range(2):
        bench.counters.received += 1
        bench.batcher.add("reports", Row(report_record(number), {}))
    bench.batcher.flush()
    assert (bench.counters.stored, bench.counters.reported, bench.balanced) == (3, 2, True)


def test_adjusted_rows_are_counted_once_a_stored_part() -> None:
    """What the database had to cut or clean is counted, for the attempt that was stored."""
    bench = Bench(MemorySink(Away(2)), retries=5)
    bench.add(0, 3)
    bench.add(3, 3, "u")
    bench.batcher.flush()
    assert (bench.counters.truncated, bench.counters.sanitised) == (2, 1)


# The database is away


@pytest.mark.parametrize(("retries", "away", "stored"), [(0, 0, True), (0, 1, False), (3, 3, True), (3, 4, False)])
def test_retries_are_counted_and_bounded(retries: int, away: int, stored: bool) -> None:
    """A batch is tried once and ``retries`` times again, with the same id, so that it is not stored twice."""
    bench = Bench(MemorySink(Away(away)), retries=retries)
    bench.add(0, 5)
    if stored:
        bench.batcher.flush()
    else:
        with pytest.raises(Unwritten, match=r"server has gone away; 5 record"):
            bench.batcher.flush()
    assert (bench.counters.stored, bench.counters.dropped["database"]) == ((5, 0) if stored else (0, 5))
    assert bench.counters.retries == min(retries, away) == len(bench.sink.attempts) - 1
    assert len({batch_id for batch_id, _ in bench.sink.attempts}) == 1
    assert bench.batcher.unwritten == (0 if stored else 5)
    assert bench.balanced


def test_batches_have_ids_of_their_own() -> None:
    """Two batches of one writer, and of two writers, are never taken for the same."""
    benches = [Bench(MemorySink(), size=1), Bench(MemorySink(), size=1)]
    for bench in benches:
        bench.add(0, 3)
    assert len({batch_id for bench in benches for batch_id, _ in bench.sink.attempts}) == 6


@pytest.mark.parametrize("timeout_s", [0.0, 0.3])
def test_retry_timeout_begins_no_attempt_after_it(timeout_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt begins later than the time after the first, however many would be left."""
    monkeypatch.setattr(writing, "_FIRST_PAUSE_S", 0.05)
    began: list[float] = []

    def note(tables: Tables) -> SinkError:
        began.append(time.monotonic())
        return SinkError("away", transient=True)

    bench = Bench(MemorySink(note), retries=500, retry_timeout_s=timeout_s)
    bench.add(0, 1)
    with pytest.raises(Unwritten):
        bench.batcher.flush()
    assert began[-1] - began[0] < timeout_s + 1.0  # the machine may be slow
    assert (len(began) == 1) is (timeout_s == 0.0)


def test_retries_without_end_go_on_until_the_database_is_back() -> None:
    """The service waits for its database."""
    bench = Bench(MemorySink(Away(9)), retries=None, retry_timeout_s=0.0)
    bench.add(0, 5)
    bench.batcher.flush()
    assert (bench.numbers(), bench.counters.retries, bench.balanced) == (list(range(5)), 9, True)


@pytest.mark.parametrize("retries", [None, 500])
def test_retries_end_when_told_to_stop(retries: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop ends every kind of retrying, also in the middle of a long pause."""
    monkeypatch.setattr(writing, "_FIRST_PAUSE_S", 60.0)
    stop = threading.Event()
    bench = Bench(MemorySink(Away()), retries=retries, retry_timeout_s=300.0, stopping=stop.is_set)
    bench.add(0, 5)
    threading.Timer(0.2, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(Unwritten):
        bench.batcher.flush()
    assert time.monotonic() - began_s < 10
    assert bench.balanced


def test_database_away_with_dead_letters_keeps_the_records_there(tmp_path: Path) -> None:
    """What cannot be stored in time goes to the dead-letter file, is said to be unwritten, and work goes on."""
    bench = Bench(MemorySink(Away(1)), tmp_path / "dead.ndjson")
    bench.add(0, 3)
    bench.add(3, 2, "u")
    bench.batcher.flush()
    assert [(line["_table"], line["_error"]) for line in _lines(tmp_path)] == [
        *[("t", "server has gone away")] * 3,
        *[("u", "server has gone away")] * 2,
    ]
    assert (bench.counters.dead_letter, bench.batcher.unwritten, bench.balanced) == (5, 5, True)
    bench.add(5, 3)
    bench.batcher.flush()
    assert (bench.numbers(), bench.batcher.unwritten, bench.balanced) == ([5, 6, 7], 5, True)


def test_database_away_and_dead_letters_full_drops_and_counts_all() -> None:
    """With nowhere to go, every table's records are counted and the reason is told."""
    bench = Bench(MemorySink(Away()), Path("/dev/full"))
    bench.add(0, 3)
    bench.add(3, 2, "u")
    with pytest.raises(Unwritten, match=r"gone away; cannot write dead letters either: No space left on device"):
        bench.batcher.flush()
    assert (bench.counters.dropped, bench.counters.dead_letter) == ({"dead_letter": 5}, 0)
    assert (bench.batcher.unwritten, bench.balanced) == (5, True)
