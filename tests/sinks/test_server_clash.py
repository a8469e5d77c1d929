"""Processes that start at once on an empty database get in each other's way, and all of them work."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymysql
import pytest

from sipcap.errors import CannotStart
from sipcap.sinks.mysql import MysqlDriver
from sipcap.sinks.registry import open_sink
from tests.conftest import TIMEOUT_S
from tests.support.databases import Database
from tests.support.records import sip_lines
from tests.support.storing import start_store

PROCESSES = 4


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other fast."""
    monkeypatch.setattr("sipcap.sinks.server._CLASH_PAUSE_S", 0.001)


def _clashing(times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """A method that ends in a deadlock so many times."""
    left = [times]

    def method(*args: Any) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            raise pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")
        return then(*args)

    return method


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", ["create", "claim"])
def test_open_tries_again_after_deadlocks(mysql: Database, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A deadlock is nobody's fault, and passes."""
    monkeypatch.setattr(MysqlDriver, method, _clashing(7, getattr(MysqlDriver, method)))
    open_sink(mysql.url).close()


@pytest.mark.usefixtures("quick")
def test_open_does_not_try_for_ever(mysql: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server on which nothing but deadlocks happen cannot be used."""
    monkeypatch.setattr(MysqlDriver, "claim", _clashing(1_000, MysqlDriver.claim))
    with pytest.raises(CannotStart, match="Deadlock found"):
        open_sink(mysql.url)


def test_processes_that_start_at_once_on_an_empty_server_all_store(served: Database, tmp_path: Path) -> None:
    """Whoever creates the tables, everything is stored once."""
    path = tmp_path / "input.ndjson"
    path.write_bytes(sip_lines(50))
    stores = [
        start_store(tmp_path, "--db-url", served.url, "input.ndjson", stdin=subprocess.DEVNULL)
        for _ in range(PROCESSES)
    ]
    for store in stores:
        _, said = store.communicate(timeout=TIMEOUT_S)
        assert store.returncode == 0, said
    assert len(served.rows()) == 50 * PROCESSES
