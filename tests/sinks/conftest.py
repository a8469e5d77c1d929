"""Databases for the tests of sinks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.database_server import DatabaseServer
from tests.support.databases import Database, ServedDatabase, SqliteDatabase
from tests.support.odbc import data_sources, odbc_postgresql, odbc_sqlite
from tests.support.servers import mysql_server, postgresql_server

__all__ = ["data_sources", "mysql_server", "odbc_postgresql", "odbc_sqlite", "postgresql_server"]


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        made: Database = SqliteDatabase(tmp_path / "sipcap.db")
    else:
        made = ServedDatabase(request.getfixturevalue(f"{request.param}_server"))
    yield made
    made.close()


@pytest.fixture(params=["postgresql", "mysql"])
def served(request: pytest.FixtureRequest) -> Iterator[ServedDatabase]:
    """An empty database, once on each kind of server."""
    made = ServedDatabase(request.getfixturevalue(f"{request.param}_server"))
    yield made
    made.close()


@pytest.fixture
def postgresql(postgresql_server: DatabaseServer) -> Iterator[ServedDatabase]:
    """An empty database of PostgreSQL."""
    made = ServedDatabase(postgresql_server)
    yield made
    made.close()


@pytest.fixture
def mysql(mysql_server: DatabaseServer) -> Iterator[ServedDatabase]:
    """An empty database of MariaDB."""
    made = ServedDatabase(mysql_server)
    yield made
    made.close()
