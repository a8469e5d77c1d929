"""An SQLite file with records in it, and what a search finds in one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sipcap.calls.query import Query
from sipcap.calls.readers.sqlite import SqliteReader
from sipcap.calls.rebuild import Found
from sipcap.calls.search import Search
from sipcap.patterns import read_patterns
from sipcap.record import Record
from sipcap.sinks.base import Row
from sipcap.sinks.sqlite import SqliteSink


def store(path: Path, tables: Mapping[str, Sequence[Record | Row]]) -> None:
    """Store records in tables, as ``sipcap store`` does."""
    sink = SqliteSink(path)
    sink.open()
    rows = {
        name: [one if isinstance(one, Row) else Row(one, {}) for one in records] for name, records in tables.items()
    }
    sink.write("batch", rows)
    sink.close()


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
        yield Search(reader, read_patterns([table]), query or Query(), limit)
    finally:
        reader.close()


def find(path: Path, table: str, query: Query | None = None) -> list[Found]:
    """Everything that a search finds."""
    with searching(path, table, query) as search:
        return [found for batch in search.batches() for found in batch]


def find_records(path: Path, table: str, query: Query | None = None) -> list[Record]:
    """The records that a search finds."""
    return [found.record for found in find(path, table, query)]
