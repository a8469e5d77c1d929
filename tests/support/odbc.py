"""Data sources of ODBC that only the test knows, and the databases behind them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.database_server import DatabaseServer
from tests.support.databases import RowDict, ServedDatabase, SqliteDatabase

DRIVERS = {"sqlite": "libsqlite3odbc.so", "postgresql": "psqlodbcw.so"}
_INSERTED = "xmin::text::bigint, cmin::text::bigint"
"""The order in which rows were inserted; there is no id, and the places of deleted rows are used again."""

_FOLDERS = ("usr/lib/*/odbc", "usr/lib/odbc", "usr/lib64")


def driver_file(kind: str) -> Path:
    """The library of a driver; without it, or without pyodbc, the test is skipped, but fails in CI."""
    found = [path for folder in _FOLDERS for path in Path("/").glob(f"{folder}/{DRIVERS[kind]}")]
    if not found and os.environ.get("CI") == "true":
        pytest.fail(f"{DRIVERS[kind]} is needed in CI")
    if not found:
        pytest.skip(f"{DRIVERS[kind]} is not here")
    if os.environ.get("CI") != "true":
        pytest.importorskip("pyodbc", exc_type=ImportError)
    return found[0]


class DataSources:
    """A folder of data sources; unixODBC looks there, in this process and those that it starts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self._file = folder / "odbc.ini"
        (folder / "odbcinst.ini").touch()
        monkeypatch.setenv("ODBCSYSINI", str(folder))
        monkeypatch.setenv("ODBCINI", str(self._file))

    def add(self, kind: str, **keys: object) -> str:
        """Add a data source; returns its name, which no other has: unixODBC may remember them."""
        name = f"sipcap_{uuid.uuid4().hex[:12]}"
        lines = [f"[{name}]", f"Driver={driver_file(kind)}", *(f"{key}={value}" for key, value in keys.items())]
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n\n")
        return name


class OdbcSqlite(SqliteDatabase):
    """A file of SQLite behind a data source."""

    kind = "sqlite"
    takes_nul = False

    def __init__(self, path: Path, sources: DataSources) -> None:
        super().__init__(path)
        self.name = sources.add("sqlite", Database=path, Timeout=10_000)

    @property
    def url(self) -> str:
        """See Database."""
        return f"unixodbc://localhost/{self.name}"

    def rows(self, table: str = "sip_capture", order: str = "rowid") -> list[RowDict]:
        """See Database."""
        return super().rows(table, order)


class OdbcPostgresql(ServedDatabase):
    """A database of PostgreSQL behind a data source."""

    def __init__(self, server: DatabaseServer, sources: DataSources, **keys: object) -> None:
        super().__init__(server)
        keys = {"Servername": server.host, "Port": server.port, "Database": self.name} | keys
        self.source = sources.add("postgresql", **keys)

    @property
    def url(self) -> str:
        """See Database."""
        return f"odbc://{quote(self.server.user, '')}:{quote(self.server.password, '')}@localhost/{self.source}"

    def rows(self, table: str = "sip_capture", order: str = _INSERTED) -> list[RowDict]:
        """See Database."""
        return super().rows(table, order)


@pytest.fixture
def data_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSources:
    """Where the data sources of a test are."""
    return DataSources(tmp_path / "sources", monkeypatch)


@pytest.fixture
def odbc_sqlite(tmp_path: Path, data_sources: DataSources) -> Iterator[OdbcSqlite]:
    """An empty file of SQLite behind a data source."""
    made = OdbcSqlite(tmp_path / "odbc.db", data_sources)
    yield made
    made.close()


@pytest.fixture
def odbc_postgresql(request: pytest.FixtureRequest, data_sources: DataSources) -> Iterator[OdbcPostgresql]:
    """An empty database of PostgreSQL behind a data source."""
    driver_file("postgresql")
    made = OdbcPostgresql(request.getfixturevalue("postgresql_server"), data_sources)
    yield made
    made.close()
