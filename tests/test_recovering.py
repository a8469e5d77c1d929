"""A database that is away and comes back: every record once, none waits, all are counted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sipcap import recovering
from sipcap.counters import Counters
from sipcap.errors import SinkError
from sipcap.spool import Spool, SpoolPlace
from tests.support.sinks import Away, Bench, MemorySink, Refusing, Tables

MakeBench = Callable[..., Bench]


class Clock:
    """A time that passes when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the pauses."""
    clock = Clock()
    monkeypatch.setattr(recovering, "time", clock)
    return clock


@pytest.fixture
def bench(tmp_path: Path, clock: Clock) -> Iterator[MakeBench]:
    """Makes a process over the same spool; the one before has ended."""
    spools: list[Spool] = []

    def make(sink: MemorySink, max_bytes: int = 1 << 30, **options: Any) -> Bench:
        for spool in spools:
            spool.close()
        spools.append(Spool(tmp_path / "spool", max_bytes))
        place: SpoolPlace = spools[-1].place("m", "here")
        return Bench(sink, options.pop("dead_letters", None), place=place, **{"size": 10, **options})

    yield make
    for spool in spools:
        spool.close()


def _drain(bench: Bench) -> None:
    while bench.batcher.recover():
        assert bench.balanced


def _gauges(counters: Counters) -> tuple[int, int, int]:
    return counters.stored, counters.spooled, counters.recovered


def test_away_batches_wait_without_further_attempts_and_come_back(bench: MakeBench, clock: Clock) -> None:
    """The first batch is tried; the next do not wait for the database until it is time to look; all go in, once."""
    sink = MemorySink(Away(1))
    process = bench(sink)
    process.add(0, 40)
    assert (len(sink.attempts), _gauges(process.counters), process.balanced) == (1, (0, 40, 0), True)
    clock.now_s += 60
    process.add(40, 10)
    assert _gauges(process.counters) == (10, 40, 0)
    _drain(process)
    assert (sorted(process.numbers()), _gauges(process.counters)) == (list(range(50)), (50, 0, 0))
    assert (process.balanced, process.batcher.unwritten, process.batcher.is_recovering) == (True, 0, False)


def test_away_pauses_grow_to_a_bound(bench: MakeBench, clock: Clock) -> None:
    """A database that stays away is looked for less often, and never less than twice a minute."""
    sink = MemorySink(Away())
    process = bench(sink, size=1)
    tried: list[float] = []
    for _ in range(400):
        before = len(sink.attempts)
        process.add(0, 1)
        tried += [clock.now_s] * (len(sink.attempts) - before)
        clock.now_s += 0.25
    pauses = [after - before for before, after in pairwise(tried)]
    assert pauses[:5] == pytest.approx([1, 2, 4, 8, 16], abs=0.3)
    assert max(pauses) == pytest.approx(30, abs=0.3)
    assert process.balanced


def test_retries_come_before_the_spool_but_once(
    bench: MakeBench, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batch has its retries; later looks are one attempt each."""
    monkeypatch.setattr("sipcap.writing._FIRST_PAUSE_S", 0.001)
    sink = MemorySink(Away())
    process = bench(sink, retries=3)
    process.add(0, 10)
    assert len(sink.attempts) == 4
    clock.now_s += 60
    process.add(10, 10)
    assert (len(sink.attempts), process.counters.spooled, process.balanced) == (5, 20, True)


def test_commit_in_doubt_is_not_stored_twice(bench: MakeBench, clock: Clock) -> None:
    """A batch that the database has although its answer was lost goes in under the same id."""

    class Doubtful(MemorySink):
        lost = 1

        def write(self, batch_id: str, tables: Tables) -> Any:
            adjusted = super().write(batch_id, tables)
            if self.lost:
                self.lost -= 1
                raise SinkError("connection lost", transient=True)
            return adjusted

    process = bench(Doubtful())
    process.add(0, 10)
    assert process.counters.spooled == 10
    clock.now_s += 60
    _drain(process)
    assert (process.numbers(), _gauges(process.counters), process.balanced) == (list(range(10)), (10, 0, 0), True)


def test_next_process_takes_in_what_the_last_one_left(bench: MakeBench, clock: Clock, tmp_path: Path) -> None:
    """It counts as recovered there, and the files are gone."""
    sink = MemorySink(Away(1))
    first = bench(sink)
    first.add(0, 20)
    assert (_gauges(first.counters), first.balanced) == ((0, 20, 0), True)
    second = bench(sink)
    assert second.batcher.is_recovering
    second.add(20, 10)
    _drain(second)
    assert sorted(second.numbers()) == list(range(30))
    assert (_gauges(second.counters), second.balanced) == ((30, 0, 20), True)
    assert list((tmp_path / "spool").glob("*/*")) == []


@pytest.mark.parametrize("away_after", [None, 1, 2, 5])
@pytest.mark.parametrize("restarted", [False, True])
def test_refused_rows_of_the_spool_are_put_aside_alone(
    bench: MakeBench, clock: Clock, tmp_path: Path, away_after: int | None, restarted: bool
) -> None:
    """Also if the database goes away in the middle, or the process ends: the others are stored once."""
    sink = MemorySink(Away(1))
    process = bench(sink, dead_letters=tmp_path / "dead")
    process.add(0, 10)
    assert process.counters.spooled == 10
    refusing, done = Refusing(*(row.record.micro_ts for row in _kept(process))), 0

    def trouble(tables: Tables) -> SinkError | None:
        nonlocal done
        done += 1
        return SinkError("away", transient=True) if done == away_after else refusing(tables)

    sink.trouble = trouble
    clock.now_s += 60
    process.batcher.recover()
    assert process.balanced
    if restarted:
        process = bench(sink, dead_letters=tmp_path / "dead")
    clock.now_s += 60
    _drain(process)
    assert (sorted(process.numbers()), process.counters.spooled) == ([0, 1, 2, 4, 5, 6, 8, 9], 0)
    lines = [json.loads(line) for line in (tmp_path / "dead").read_text().splitlines()]
    assert (len(lines), process.balanced) == (2, True)


def _kept(process: Bench) -> list[Any]:
    assert process.batcher._writer._recovery is not None
    (segment,) = process.batcher._writer._recovery._place.segments
    rows = segment.load()[1]["t"]
    return [rows[3], rows[7]]


def test_full_spool_drops_counts_and_goes_on(bench: MakeBench, clock: Clock) -> None:
    """What has no place is counted under spool_full and unwritten; later records are stored again."""
    sink = MemorySink(Away(1))
    process = bench(sink, max_bytes=20_000)
    process.add(0, 50)
    full = process.counters.dropped["spool_full"]
    assert (0 < full < 50, process.counters.spooled, process.balanced) == (True, 50 - full, True)
    assert process.batcher.unwritten == full
    clock.now_s += 60
    process.add(50, 10)
    _drain(process)
    assert (process.counters.stored, process.counters.spooled, process.balanced) == (60 - full, 0, True)


def test_full_spool_with_dead_letters_keeps_the_records_there(bench: MakeBench, tmp_path: Path) -> None:
    """The dead-letter file is the second place."""
    process = bench(MemorySink(Away()), max_bytes=0, dead_letters=tmp_path / "dead")
    process.add(0, 30)
    assert (process.counters.dead_letter, process.batcher.unwritten, process.balanced) == (30, 30, True)


@pytest.mark.parametrize("take_away", [lambda path: path.unlink(), lambda path: path.write_bytes(b"x")])
def test_damaged_spool_does_not_stop_the_rest(
    bench: MakeBench, clock: Clock, take_away: Callable[[Path], object], tmp_path: Path
) -> None:
    """A file that is torn or gone is said, and those behind it go in."""
    process = bench(MemorySink(Away(1)))
    process.add(0, 30)
    take_away(min((tmp_path / "spool").glob("*/*")))
    clock.now_s += 60
    _drain(process)
    assert (process.numbers(), process.counters.stored, process.balanced) == (list(range(10, 30)), 20, True)


def test_batch_that_never_goes_in_keeps_no_other_out(bench: MakeBench, clock: Clock) -> None:
    """Live batches are stored at once, and the others of the spool, while one fails again and again."""
    sink = MemorySink(Away(1))
    process = bench(sink)
    process.add(0, 30)
    first = sink.attempts[0][0]
    written: list[str] = []
    ordinary = sink.write

    def write(batch_id: str, tables: Tables) -> Any:
        written.append(batch_id)
        if batch_id == first:
            raise SinkError("too large", transient=True)
        return ordinary(batch_id, tables)

    sink.write = write  # type: ignore[method-assign]
    clock.now_s += 60
    process.add(30, 10)
    for _ in range(10):
        process.batcher.recover()
        process.add(100, 10)
        assert process.counters.spooled <= 30
    assert (process.counters.spooled, process.counters.stored, process.balanced) == (10, 130, True)
