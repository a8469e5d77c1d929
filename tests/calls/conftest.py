"""What the program says, and databases of servers, for tests of search."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.databases import ServedDatabase
from tests.support.servers import mysql_server, postgresql_server

__all__ = ["mysql_server", "postgresql_server"]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the program says."""
    logger = logging.getLogger("sipcap")
    logger.propagate = True
    with caplog.at_level(logging.INFO, logger="sipcap"):
        yield caplog


@pytest.fixture(params=["postgresql", "mysql"])
def served(request: pytest.FixtureRequest) -> Iterator[ServedDatabase]:
    """An empty database, once on each kind of server."""
    made = ServedDatabase(request.getfixturevalue(f"{request.param}_server"))
    yield made
    made.close()
