"""An empty database for each test, of every kind that sipcap has a sink for."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from sipcap.record import Record
from sipcap.sinks.base import Row, Sink
from sipcap.sinks.registry import open_sink
from tests.support.database_server import DatabaseServer

RowDict = dict[str, Any]


class Database(ABC):
    """A database, and the sinks that a test has opened on it."""

    kind: str
    takes_nul = True
    """Whether text may hold NUL."""

    def __init__(self) -> None:
        self._sinks: list[Sink] = []

    @property
    @abstractmethod
    def url(self) -> str:
        """Where sipcap stores."""

    @abstractmethod
    def execute(self, statement: str) -> list[RowDict]:
        """Run one statement, and return its rows."""

    @abstractmethod
    def quote(self, name: str) -> str:
        """Quote an identifier."""

    @abstractmethod
    def tables(self) -> set[str]:
        """The tables there are."""

    def rows(self, table: str = "sip_capture", order: str = "id") -> list[RowDict]:
        """All rows of a table; dates as text."""
        found = self.execute(f"SELECT * FROM {self.quote(table)} ORDER BY {order}")
        return [row | {"date": str(row["date"])} if "date" in row else row for row in found]

    def sink(self, url: str | None = None, *, create: bool = True) -> Sink:
        """Open a sink; it is closed after the test."""
        sink = open_sink(url or self.url, create=create)
        self._sinks.append(sink)
        return sink

    def close(self) -> None:
        """Close what the test has opened."""
        for sink in self._sinks:
            sink.close()


class SqliteDatabase(Database):
    """A file."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @property
    def url(self) -> str:
        """See Database."""
        return f"sqlite:///{self._path}"

    def execute(self, statement: str) -> list[RowDict]:
        """See Database."""
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(statement)]

    def quote(self, name: str) -> str:
        """See Database."""
        return '"' + name.replace('"', '""') + '"'

    def tables(self) -> set[str]:
        """See Database."""
        return {row["name"] for row in self.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


class ServedDatabase(Database):
    """A database of a server."""

    def __init__(self, server: DatabaseServer, options: str = "") -> None:
        super().__init__()
        self.server = server
        self.kind = server.scheme
        self.takes_nul = self.kind != "postgresql"
        self.name = server.create_database(options)

    @property
    def url(self) -> str:
        """See Database."""
        return self.server.url(self.name)

    def execute(self, statement: str) -> list[RowDict]:
        """See Database."""
        return self.server.execute(statement, self.name)

    def quote(self, name: str) -> str:
        """See Database."""
        mark = "`" if self.kind == "mysql" else '"'
        return mark + name.replace(mark, mark + mark) + mark

    def tables(self) -> set[str]:
        """See Database."""
        schema = "DATABASE()" if self.kind == "mysql" else "'public'"
        found = self.execute(f"SELECT table_name AS name FROM information_schema.tables WHERE table_schema = {schema}")
        return {row["name"] for row in found}

    def close(self) -> None:
        """See Database."""
        super().close()
        self.server.drop_database(self.name)


def rows_of(*records: Record) -> list[Row]:
    """Records as a sink takes them."""
    return [Row(record, {}) for record in records]
