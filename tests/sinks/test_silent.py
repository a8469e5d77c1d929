"""A server that is there and says nothing: a stop does not wait for it, and nothing is lost or stored twice."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S, RunSipcap
from tests.sinks.test_outages import proxied
from tests.support.databases import ServedDatabase
from tests.support.odbc import DataSources, OdbcPostgresql
from tests.support.pipes import wait_until
from tests.support.proxy import Proxy
from tests.support.records import sip_lines, sip_record
from tests.support.storing import start_store


@pytest.fixture(params=["postgresql", "mysql", "odbc"])
def silent(request: pytest.FixtureRequest) -> Iterator[tuple[ServedDatabase, Proxy, str]]:
    """A database behind a proxy that can fall silent, and its URL there."""
    if request.param == "odbc":
        sources: DataSources = request.getfixturevalue("data_sources")
        server = request.getfixturevalue("postgresql_server")
        with Proxy(server.host, server.port) as proxy:
            database = OdbcPostgresql(server, sources, Port=proxy.port)
            yield database, proxy, database.url
            database.close()
        return
    served = ServedDatabase(request.getfixturevalue(f"{request.param}_server"))
    with Proxy(served.server.host, served.server.port) as proxy:
        yield served, proxy, proxied(served, proxy)
    served.close()


def _numbers(database: ServedDatabase) -> list[int]:
    found = database.execute("SELECT micro_ts FROM sip_capture") if "sip_capture" in database.tables() else []
    return sorted(row["micro_ts"] - sip_record(0).micro_ts for row in found)


@pytest.mark.parametrize("mode", ["plain", "async"])
def test_stop_before_a_silent_server_is_bounded_and_the_spool_has_the_rest(
    silent: tuple[ServedDatabase, Proxy, str], mode: str, tmp_path: Path, sipcap: RunSipcap
) -> None:
    """SIGTERM ends it seconds after --drain-timeout, whatever the driver waits for; later each record is there once."""
    database, proxy, url = silent
    options = ("--db-url", url, "--spool", "spool", "--batch-interval", "0.05", "--insert-mode", mode)
    program = start_store(tmp_path, *options, "--drain-timeout", "1")
    assert program.stdin is not None
    program.stdin.write(sip_lines(100))
    program.stdin.flush()
    wait_until(lambda: len(_numbers(database)) == 100)
    proxy.silent = True
    program.stdin.write(sip_lines(200, 100))
    program.stdin.flush()
    time.sleep(0.5)
    began_s = time.monotonic()
    program.send_signal(signal.SIGTERM)
    assert program.wait(TIMEOUT_S) == 143
    took_s = time.monotonic() - began_s
    proxy.silent = False
    _, said = program.communicate()
    assert took_s < 10, said  # 1 s to drain, 3 s of patience, and a busy machine
    assert b"received 300, stored 100, spooled 200" in said
    done = sipcap("store", *options)
    assert (done.returncode, _numbers(database)) == (0, list(range(300))), done.stderr


def test_stop_while_connecting_to_a_silent_server_is_bounded(
    silent: tuple[ServedDatabase, Proxy, str], tmp_path: Path
) -> None:
    """Also a connection that is being made again holds nobody; without a spool, the dead letters have the records."""
    database, proxy, url = silent
    program = start_store(
        tmp_path, "--db-url", url, "--dead-letter", "dead", "--batch-interval", "0.05", "--insert-retries", "9",
        "--drain-timeout", "1",
    )  # fmt: skip
    assert program.stdin is not None
    program.stdin.write(sip_lines(10))
    program.stdin.flush()
    wait_until(lambda: len(_numbers(database)) == 10)
    proxy.refusing = True
    proxy._cut()
    program.stdin.write(sip_lines(10, 10))
    program.stdin.flush()
    time.sleep(0.5)
    proxy.silent, proxy.refusing = True, False
    time.sleep(1.0)
    began_s = time.monotonic()
    program.send_signal(signal.SIGTERM)
    try:
        assert program.wait(TIMEOUT_S) == 5
    except subprocess.TimeoutExpired:
        program.kill()
        raise
    assert time.monotonic() - began_s < 10
    proxy.silent = False
    _, said = program.communicate()
    assert b"received 20, stored 10" in said
    assert b"dead_letter 10" in said
    assert len((tmp_path / "dead").read_text().splitlines()) == 10
