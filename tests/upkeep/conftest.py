"""What all tests of upkeep need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sipcap.upkeep import sqlite_file
from tests.support.database_server import DatabaseServer
from tests.support.databases import ServedDatabase
from tests.support.servers import mysql_server, postgresql_server

__all__ = ["mysql_server", "postgresql_server"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are for capture; where none runs, tests need not wait for it."""
    monkeypatch.setattr(sqlite_file, "UPKEEP_PAUSE_S", 0.0)


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
