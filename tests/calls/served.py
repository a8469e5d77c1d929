"""Records in the databases of servers, and what a search finds there."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence

from sipcap.calls.query import Query
from sipcap.calls.readers.base import Reader
from sipcap.calls.readers.registry import open_reader
from sipcap.calls.scan import SqlTables
from sipcap.calls.search import Search
from sipcap.patterns import read_patterns
from sipcap.record import Record
from sipcap.sinks.base import Row
from tests.support.databases import ServedDatabase


def store(database: ServedDatabase, tables: Mapping[str, Sequence[Record]]) -> None:
    """Store records, as ``sipcap store`` does."""
    sink = database.sink()
    sink.write(uuid.uuid4().hex, {name: [Row(one, {}) for one in records] for name, records in tables.items()})
    sink.close()


@contextlib.contextmanager
def reading(database: ServedDatabase) -> Iterator[Reader]:
    """An open reader."""
    reader = open_reader(database.url)
    try:
        yield reader
    finally:
        reader.close()


def find(database: ServedDatabase, table: str, query: Query | None = None) -> list[Record]:
    """The records that a search finds."""
    with reading(database) as reader:
        search = Search(SqlTables(reader), read_patterns([table]), query or Query())
        return [found.record for batch in search.batches() for found in batch]
