"""What becomes of a batch when rows of it are refused for themselves, and of everything when all goes wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap import writing
from sipcap.errors import SinkError, Unwritten
from sipcap.sinks.base import Row
from tests.support.messages import BASE_TS_US
from tests.support.sinks import Away, Bench, MemorySink, Refusing, Tables


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other fast."""
    monkeypatch.setattr(writing, "_FIRST_PAUSE_S", 0.001)


def _lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "dead.ndjson").read_text().splitlines()]


@pytest.mark.parametrize("bad", [0, 1, 499, 500, 998, 999])
def test_refused_row_among_many_is_the_only_one_not_stored(bad: int, tmp_path: Path) -> None:
    """One bad row does not keep 999 others out, and these stay in their order."""
    bench = Bench(MemorySink(Refusing(BASE_TS_US + bad)), tmp_path / "dead.ndjson", size=1_000)
    bench.add(0, 1_000)
    assert bench.numbers() == [number for number in range(1_000) if number != bad]
    (line,) = _lines(tmp_path)
    assert (line["callid"], line["_table"], line["_error"]) == (f"call-{bad}@host", "t", "value too long")
    assert (bench.counters.dead_letter, bench.batcher.unwritten, bench.balanced) == (1, 0, True)
    assert len(bench.sink.attempts) < 25


def test_refused_rows_of_several_tables_go_where_they_belong(tmp_path: Path) -> None:
    """Each dead letter names the table that it was meant for."""
    bench = Bench(MemorySink(Refusing(BASE_TS_US + 2, BASE_TS_US + 5)), tmp_path / "dead.ndjson")
    bench.add(0, 4)
    bench.add(4, 4, "u")
    bench.batcher.flush()
    assert (bench.numbers("t"), bench.numbers("u")) == ([0, 1, 3], [4, 6, 7])
    assert [(line["micro_ts"] - BASE_TS_US, line["_table"]) for line in _lines(tmp_path)] == [(2, "t"), (5, "u")]
    assert bench.balanced


def test_refused_rows_are_buried_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that takes nothing does not cost one disk flush for each row."""
    bench = Bench(MemorySink(lambda _: SinkError("no such table", transient=False)), tmp_path / "dead.ndjson", size=500)
    writes: list[int] = []
    assert bench.letters is not None
    write = bench.letters.write

    def counted(table: str, rows: Sequence[Row], reason: str) -> None:
        writes.append(len(rows))
        write(table, rows, reason)

    monkeypatch.setattr(bench.letters, "write", counted)
    bench.add(0, 500)
    assert writes == [500]
    assert (bench.counters.dead_letter, bench.balanced) == (500, True)


def test_refused_row_without_dead_letters_is_dropped_and_unwritten() -> None:
    """A row that is nowhere is counted, and the others are stored."""
    bench = Bench(MemorySink(Refusing(BASE_TS_US + 2)), size=5)
    bench.add(0, 10)
    assert (bench.counters.stored, bench.counters.dropped) == (9, {"database": 1})
    assert (bench.batcher.unwritten, bench.balanced) == (1, True)


def test_refused_row_with_full_dead_letters_does_not_stop_the_others() -> None:
    """A full disk under the dead letters costs the refused row, counted, and no other."""
    bench = Bench(MemorySink(Refusing(BASE_TS_US + 2)), Path("/dev/full"), size=5)
    bench.add(0, 10)
    assert (bench.counters.stored, bench.counters.dropped) == (9, {"dead_letter": 1})
    assert (bench.batcher.unwritten, bench.balanced) == (1, True)


@pytest.mark.parametrize("with_letters", [True, False])
def test_database_away_while_a_bad_row_is_looked_for_loses_no_count(with_letters: bool, tmp_path: Path) -> None:
    """Parts that were not tried any more are accounted for like the one that failed."""
    refusing, away = Refusing(BASE_TS_US + 1), Away()

    def trouble(tables: Tables) -> SinkError | None:
        rows = [row.record.micro_ts - BASE_TS_US for part in tables.values() for row in part]
        return refusing(tables) or (away(tables) if rows[0] == 2 else None)

    bench = Bench(MemorySink(trouble), tmp_path / "dead.ndjson" if with_letters else None)
    bench.add(0, 8)
    bench.add(8, 4, "u")
    if with_letters:
        bench.batcher.flush()
    else:
        with pytest.raises(Unwritten, match="10 record"):
            bench.batcher.flush()
    assert bench.numbers() == [0]
    assert bench.balanced
    if with_letters:
        assert sorted(line["micro_ts"] - BASE_TS_US for line in _lines(tmp_path)) == list(range(1, 12))
        assert bench.batcher.unwritten == 10
    else:
        assert bench.counters.dropped == {"database": 11}


@given(
    numbers=st.lists(st.integers(0, 60), unique=True, max_size=30),
    bad=st.frozensets(st.integers(0, 60), max_size=5),
    away_at=st.frozensets(st.integers(1, 40), max_size=6),
    size=st.integers(1, 12),
    retries=st.integers(0, 2),
)
def test_whatever_happens_every_record_is_accounted_for_once(
    numbers: list[int], bad: frozenset[int], away_at: frozenset[int], size: int, retries: int
) -> None:
    """Any mix of refusals and outages leaves the counters balanced and no record twice in the database."""
    attempts = 0
    refusing = Refusing(*(BASE_TS_US + number for number in bad))

    def trouble(tables: Tables) -> SinkError | None:
        nonlocal attempts
        attempts += 1
        return SinkError("away", transient=True) if attempts in away_at else refusing(tables)

    bench = Bench(MemorySink(trouble), size=size, retries=retries)
    for number in numbers:
        try:
            bench.add(number, 1, f"t{number % 3}")
        except Unwritten:
            assert bench.balanced
    try:
        bench.batcher.flush()
    except Unwritten:
        pass
    assert bench.balanced
    stored = [number for table in bench.sink.tables for number in bench.numbers(table)]
    assert len(stored) == len(set(stored)) == bench.counters.stored
    assert not set(stored) & bad
