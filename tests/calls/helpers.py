"""An SQLite file with records in it, and what a search finds in one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sipcap.calls.query import Query
from sipcap.calls.readers.sqlite import SqliteReader
from sipcap.calls.rebuild import Found
from sipcap.calls.scan import SqlTables
from sipcap.calls.search import Search
from sipcap.patterns import read_patterns
from sipcap.record import Record, SipRecord, date_text
from sipcap.sinks.base import Row
from sipcap.sinks.sqlite import SqliteSink
from tests.support.messages import BASE_TS_US
from tests.support.records import sip_record


def store(path: Path, tables: Mapping[str, Sequence[Record | Row]]) -> None:
    """Store records in tables, as ``sipcap store`` does."""
    sink = SqliteSink(path)
    sink.open()
    rows = {
        name: [one if isinstance(one, Row) else Row(one, {}) for one in records] for name, records in tables.items()
    }
    sink.write("batch", rows)
    sink.close()


SECOND = 1_000_000


class SpyReader(SqliteReader):
    """Remembers its statements."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.statements: list[tuple[str, list[Any]]] = []

    def execute(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Remember it and run it."""
        self.statements.append((sql, list(params)))
        return super().execute(sql, params)


@contextlib.contextmanager
def searching(path: Path, table: str, query: Query | None = None, limit: int | None = None) -> Iterator[Search]:
    """A search over an open file."""
    reader = SqliteReader(path)
    reader.open()
    try:
        yield Search(SqlTables(reader), read_patterns([table]), query or Query(), limit)
    finally:
        reader.close()


def find(path: Path, table: str, query: Query | None = None) -> list[Found]:
    """Everything that a search finds."""
    with searching(path, table, query) as search:
        return [found for batch in search.batches() for found in batch]


def find_records(path: Path, table: str, query: Query | None = None) -> list[Record]:
    """The records that a search finds."""
    return [found.record for found in find(path, table, query)]


def at(offset_us: int, number: int = 0, **changes: Any) -> SipRecord:
    """A record of a time, with the date that belongs to it."""
    ts_us = BASE_TS_US + offset_us
    values = {"micro_ts": ts_us, "date": date_text(ts_us // SECOND), "payload_type": 1}
    return sip_record(number, **(values | changes))


def offsets(records: list[Record]) -> list[int]:
    """Their times, as ``at`` was given them."""
    return [record.micro_ts - BASE_TS_US for record in records]


def plan_of(path: Path, reader: SpyReader) -> list[str]:
    """How SQLite carries the statements out."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [
            row[3] for sql, params in reader.statements if "pragma" not in sql.lower() and "sqlite_schema" not in sql
            for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        ]  # fmt: skip
