"""Looking after an SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

import pytest

from sipcap.errors import CannotStart
from sipcap.patterns import read_patterns
from sipcap.record import date_text
from sipcap.tables import Step, chosen
from sipcap.upkeep import sqlite, sqlite_file, sqlite_sizes
from sipcap.upkeep.carrying import carry_out
from tests.calls.helpers import SECOND, at, store
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record, rows_of, tables_of
from tests.upkeep.helpers import DAY_US, do, upkeep_of


def delete(before_us: int, table: str = "a") -> Step:
    """A step that deletes rows."""
    return Step("delete", table, before_us=BASE_TS_US + before_us)


def test_look_tells_sizes_rows_and_times(db_path: Path) -> None:
    """Small files are counted to the row; an empty table has no times."""
    store(db_path, {"a": [at(number * SECOND, number) for number in range(100)], "b": [report_record()]})
    do(db_path, Step("create", "x"))
    with upkeep_of(db_path) as upkeep:
        assert sorted(upkeep.names()) == ["a", "b", "x"]
        pieces = {piece.table: piece for piece in upkeep.look({"a", "b", "x", "gone"})}
        assert [upkeep.form(name) for name in ("a", "b", "x", "gone")] == ["sip", "report", "sip", ""]
    assert (pieces["a"].rows, pieces["a"].exact, pieces["x"].rows) == (100, True, 0)
    assert (pieces["a"].oldest_us, pieces["a"].newest_us) == (BASE_TS_US, BASE_TS_US + 99 * SECOND)
    assert (pieces["x"].oldest_us, pieces["x"].newest_us) == (None, None)
    size = db_path.stat().st_size
    assert 0.8 * size < sum(piece.size_bytes for piece in pieces.values()) <= size


def test_look_at_a_large_file_guesses_well(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without reading all of it, sizes are right within a fifth, rows exactly where none was deleted between others."""
    tables = {f"t{number}": [at(row, row, msg="x" * 900 * number) for row in range(300)] for number in range(1, 4)}
    store(db_path, tables)
    with upkeep_of(db_path) as upkeep:
        counted = {piece.table: piece for piece in upkeep.look(set(tables))}
        monkeypatch.setattr(sqlite_sizes, "_COUNTED_BYTES", 0)
        guessed = {piece.table: piece for piece in upkeep.look(set(tables))}
    for name, piece in guessed.items():
        assert not piece.exact
        assert piece.rows == 300
        assert 0.8 < piece.size_bytes / counted[name].size_bytes < 1.2


def test_nth_oldest_counts_from_the_oldest(db_path: Path) -> None:
    """Its time bounds a DELETE of so many rows; beyond the last there is none."""
    store(db_path, {"a": [at(number * SECOND, date="" if number == 2 else None or at(number * SECOND).date)
                          for number in (3, 1, 0, 2)]})  # fmt: skip
    with upkeep_of(db_path) as upkeep:
        found = [upkeep.nth_oldest("a", number) for number in (0, 1, 2, 3, 9)]
        assert upkeep.nth_oldest("gone", 1) is None
    assert found == [None, BASE_TS_US, BASE_TS_US + SECOND, BASE_TS_US + 3 * SECOND, None]


def test_create_makes_the_table_that_the_sink_makes(db_path: Path) -> None:
    """Same columns, same indexes; a missing file is made as the sink makes it, for its owner alone."""
    with upkeep_of(db_path, create=True) as upkeep:
        assert all(outcome.done for outcome in carry_out(upkeep, [Step("create", "a")] * 2, read_patterns(["a"])))
    assert db_path.stat().st_mode & 0o777 == 0o600
    store(db_path, {"b": [at(0)]})
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        ddl = [connection.execute("SELECT sql FROM sqlite_schema WHERE tbl_name = ? ORDER BY name", (name,)).fetchall()
               for name in "ab"]  # fmt: skip
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert len(ddl[0]) == 9
    assert [text.replace('"a', '"b') for (text,) in ddl[0]] == [text for (text,) in ddl[1]]


def test_create_makes_siblings_and_tables_of_reports(db_path: Path) -> None:
    """A new table holds what the newest of its pattern does; the first one what its name says."""
    store(db_path, {"r_20240101": [report_record()], "r_20230101": [at(0)]})
    steps = [Step("create", name) for name in ("r_20240102", "rtcp_capture", "s_20240101")]
    do(db_path, *steps, table="r_%Y%m%d|rtcp_capture|s_%Y%m%d")
    with upkeep_of(db_path) as upkeep:
        assert [upkeep.form(step.table) for step in steps] == ["report", "report", "sip"]


def test_drop_shortens_the_file(db_path: Path) -> None:
    """The table is gone, the others are whole, and the disk has its space back."""
    store(db_path, {"a": [at(number, number, msg="x" * 3_000) for number in range(1_000)], "b": [at(0)]})
    before = db_path.stat().st_size
    assert [outcome.done for outcome in do(db_path, Step("drop", "a"), Step("drop", "a"))] == [True, False]
    assert tables_of(db_path) == {"b"}
    assert db_path.stat().st_size < before / 10
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_drop_of_a_large_table_goes_in_steps(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes, then rows in batches, then the table: whoever stops it in between can do it again."""
    monkeypatch.setattr(sqlite, "_DROP_AT_ONCE_BYTES", 0)
    monkeypatch.setattr(sqlite_file, "DELETE_ROWS", 10)
    store(db_path, {"a": [at(number, number) for number in range(100)]})
    step = Step("drop", "a", size_bytes=1)
    asked = 0

    def stopping() -> bool:
        nonlocal asked
        asked += 1
        return asked > 10

    with upkeep_of(db_path) as upkeep:
        assert upkeep.drop(step, stopping) is False
    assert 0 < len(rows_of(db_path, "a", ["micro_ts"])) < 100
    assert do(db_path, step)[0].done
    assert tables_of(db_path) == set()


def test_drop_takes_no_name_for_anything_else(db_path: Path) -> None:
    """Quotes, keywords and statements in a name are part of the name."""
    names = ['x"; DROP TABLE b; --', "select", "a b", "'", "[x]", "ä"]
    store(db_path, {**{name: [at(0)] for name in names}, "b": [at(0)]})
    outcomes = do(db_path, *(Step("drop", name) for name in names), table="|".join(names))
    assert all(outcome.done for outcome in outcomes)
    assert tables_of(db_path) == {"b"}


def test_carry_out_refuses_what_no_pattern_makes(db_path: Path) -> None:
    """A wrong plan is a bug, and not a lost table."""
    store(db_path, {"b": [at(0)]})
    with pytest.raises(AssertionError, match="not of --table"):
        do(db_path, Step("drop", "b"), table="a_%Y")
    assert tables_of(db_path) == {"b"}


def test_delete_takes_old_rows_by_time_alone(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches, to the microsecond, with an empty, a wrong, or a later date."""
    monkeypatch.setattr(sqlite_file, "DELETE_ROWS", 7)
    rows = [at(number * SECOND // 2, number) for number in range(100)]
    rows += [at(-5, 0, date=""), at(-6, 0, date="never"), at(99 * SECOND, 0, date=""), at(-7)]
    store(db_path, {"a": rows})
    (outcome,) = do(db_path, delete(20 * SECOND + 500_001))
    assert outcome.rows == 45
    left = sorted(ts_us for (ts_us,) in rows_of(db_path, "a", ["micro_ts"]))
    assert left == sorted(row.micro_ts for row in rows if row.micro_ts >= BASE_TS_US + 20 * SECOND + 500_001)


def test_delete_uses_an_index(db_path: Path) -> None:
    """A batch does not walk over the table."""
    store(db_path, {"a": [at(number * SECOND) for number in range(50)]})
    said: list[str] = []
    with upkeep_of(db_path) as upkeep:
        upkeep._file.connection.set_trace_callback(said.append)
        upkeep.delete(delete(10 * SECOND), lambda: False)
    deletes = [sql for sql in said if sql.startswith("DELETE")]
    assert deletes
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        for sql in deletes:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]
            assert not any(step.startswith("SCAN a") for step in plan), plan


def test_delete_in_a_table_without_index_and_of_others(db_path: Path) -> None:
    """Kamailio's own table, and one that holds no messages: the former works, the latter is refused."""
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, date REAL, micro_ts INTEGER, msg TEXT)")
        connection.execute("CREATE TABLE b (name TEXT)")
        connection.executemany("INSERT INTO a (micro_ts, msg) VALUES (?, '')", [(BASE_TS_US + n,) for n in range(9)])
        connection.commit()
    outcomes = do(db_path, delete(4), delete(4, "b"), delete(4, "x"))
    assert [outcome.rows for outcome in outcomes] == [4, 0, 0]
    assert "no table of messages" in outcomes[1].error
    assert not outcomes[2].error


def test_settle_of_a_file_without_auto_vacuum_says_so(db_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else's file keeps its size, and the reason is told."""
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute("CREATE TABLE a AS SELECT 1 AS micro_ts, hex(zeroblob(50000)) AS msg")
        connection.commit()
    do(db_path, Step("drop", "a"))
    assert "made without auto_vacuum" in caplog.text


def test_file_that_is_missing_is_not_made(db_path: Path) -> None:
    """Only create makes one."""
    with pytest.raises(CannotStart, match="no such database"), upkeep_of(db_path):
        pass
    assert not db_path.exists()


def test_chosen_pieces_of_a_file_with_300_tables(db_path: Path) -> None:
    """Looking at a year of days takes seconds at most."""
    names = [f"s_{date_text(BASE_TS_US // SECOND + day * 86_400)[:10].replace('-', '')}" for day in range(300)]
    store(db_path, {name: [at(day * DAY_US, day)] for day, name in enumerate(names)})
    begin_s = time.monotonic()
    with upkeep_of(db_path) as upkeep:
        pieces = chosen(upkeep.look(upkeep.names()), read_patterns(["s_%Y%m%d"]))
    assert [one.piece.table for one in pieces] == names
    assert [one.piece.oldest_us for one in pieces] == [BASE_TS_US + day * DAY_US for day in range(300)]
    assert time.monotonic() - begin_s < 10
