"""New tables that live input causes are bounded; a capture that is stored again may cause any number."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from sipcap.errors import SinkError
from sipcap.limits import MAX_NEW_TABLES_PER_HOUR
from sipcap.sinks.base import Row
from sipcap.sinks.budget import Budget
from sipcap.sinks.registry import open_sink
from sipcap.sinks.sqlite import SqliteSink
from tests.support.databases import Database
from tests.support.records import sip_record, tables_of


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def test_budget_allows_so_many_names_an_hour_and_each_for_an_hour() -> None:
    """A name counts once; an hour after it was allowed, there is room for another."""
    clock = Clock()
    budget = Budget(2, clock)
    assert [budget.allows(name) for name in ("a", "b", "a", "c", "b")] == [True, True, True, False, True]
    clock.now_s += 3_599.0
    assert not budget.allows("c")
    clock.now_s += 1.0
    assert [budget.allows(name) for name in ("c", "d", "e")] == [True, True, False]
    assert budget.reason("e").startswith("e is not created: ")


def test_budget_is_the_design_s_by_default() -> None:
    """A hundred tables an hour."""
    budget = Budget()
    assert sum(budget.allows(str(number)) for number in range(1_000)) == MAX_NEW_TABLES_PER_HOUR == 100


def _rows(number: int = 0) -> list[Row]:
    return [Row(sip_record(number), {})]


def test_sqlite_beyond_the_budget_is_refused_and_nothing_of_the_batch_is_there(tmp_path: Path) -> None:
    """The batch that would need too many tables is refused for good; its parts go in as far as allowed."""
    path = tmp_path / "x.db"
    with contextlib.closing(SqliteSink(path, budget=Budget(2))) as sink:
        sink.open()
        with pytest.raises(SinkError, match="'c' is not created: live input may cause 2 new tables") as caught:
            sink.write("1", {"a": _rows(), "b": _rows(), "c": _rows()})
        assert not caught.value.transient
        assert tables_of(path) == set()
        sink.write("2", {"a": _rows(), "b": _rows()})
        with pytest.raises(SinkError, match="'d' is not created"):
            sink.write("3", {"d": _rows()})
        sink.write("4", {"b": _rows(1)})
    assert tables_of(path) == {"a", "b"}


def test_server_beyond_the_budget_is_refused(served: Database) -> None:
    """Each server's tables are counted alike."""
    with contextlib.closing(open_sink(served.url, budget=Budget(1))) as sink:
        sink.write("1", {"a": _rows()})
        with pytest.raises(SinkError, match="b is not created") as caught:
            sink.write("2", {"b": _rows()})
        assert not caught.value.transient
        sink.write("3", {"a": _rows(1)})


def test_homer7_partitions_beyond_the_budget_are_refused(postgresql: Database) -> None:
    """A partition counts as a table does; rows in those that are there are stored."""
    hour_us = 3_600_000_000
    with contextlib.closing(open_sink(postgresql.url, schema="homer7", budget=Budget(2))) as sink:
        sink.write("1", {"hep_proto_1_call": _rows()})
        with pytest.raises(SinkError, match="is not created: live input") as caught:
            sink.write("2", {"hep_proto_1_call": _rows(100 * hour_us)})
        assert not caught.value.transient
        sink.write("3", {"hep_proto_1_call": _rows(1)})


def test_sqlite_index_names_that_are_taken_by_others_are_not_used(tmp_path: Path) -> None:
    """An index that kept its name, or a table called like one, does not leave a new table without its indexes."""
    path = tmp_path / "x.db"
    with contextlib.closing(SqliteSink(path)) as sink:
        sink.open()
        sink.write("1", {"t": _rows()})
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("ALTER TABLE t RENAME TO old")
            first = [sql for (sql,) in other.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")]
        sink.write("2", {"t": _rows(1)})
    with contextlib.closing(sqlite3.connect(path)) as other:
        count = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
        assert other.execute(count, ("t",)).fetchone() == other.execute(count, ("old",)).fetchone()
    assert first
