"""``sipcap store`` and ``sipcap run`` with the servers, as a user runs them."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sipcap.errors import CannotStart
from sipcap.sinks.registry import open_sink
from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.databases import ServedDatabase
from tests.support.messages import hep3_datagram
from tests.support.records import line_of, report_record, sip_lines


def test_store_into_a_server_stores_every_kind(sipcap: RunSipcap, served: ServedDatabase, tmp_path: Path) -> None:
    """Lines on stdin are rows in the tables of their kind; the URL may stand in a file or a variable."""
    (tmp_path / "url").write_text(f"{served.url}\n")
    done = sipcap("store", "--db-url", f"@{tmp_path / 'url'}", stdin=sip_lines(3))
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
    done = sipcap("store", stdin=line_of(report_record(1), payload_type=5), env={"SIPCAP_DB_URL": served.url})
    assert done.returncode == 0, done.stderr
    assert (len(served.rows()), len(served.rows("rtcp_capture"))) == (3, 1)


@pytest.mark.parametrize("query", ["", "?colour=red"])
def test_store_database_that_cannot_be_used_exits_3_in_one_line(
    sipcap: RunSipcap, served: ServedDatabase, query: str
) -> None:
    """A wrong password or option is one line that says what to mend, and no secret."""
    done = sipcap("store", "--db-url", served.server.url(served.name, password="wr0ng-word") + query)
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
    assert b"wr0ng-word" not in done.stderr
    assert (b"colour" in done.stderr) == bool(query)


def test_store_row_that_the_server_refuses_is_a_dead_letter_that_can_be_stored(
    sipcap: RunSipcap, served: ServedDatabase, tmp_path: Path
) -> None:
    """What a table refuses goes to the file, and from there into a table that takes it."""
    served.execute("CREATE TABLE choosy (micro_ts bigint, method varchar(99) CHECK (method <> 'method 1'), msg text)")
    dead = tmp_path / "dead.ndjson"
    done = sipcap("store", "--db-url", served.url, "--table", "choosy", "--dead-letter", str(dead), stdin=sip_lines(3))
    assert done.returncode == 1, done.stderr
    assert len(served.rows("choosy", "micro_ts")) == 2
    served.execute("DROP TABLE choosy")
    done = sipcap("store", "--db-url", served.url, stdin=dead.read_bytes())
    assert done.returncode == 0, done.stderr
    assert [row["method"] for row in served.rows("choosy")] == ["method 1"]


@pytest.mark.parametrize(("url", "package"), [("postgresql://h/d", "psycopg[binary]"), ("mysql://h/d", "pymysql")])
def test_open_sink_driver_that_is_missing_says_what_to_install(
    url: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the driver's library is not there, the message is the command that brings it."""
    for name in [name for name in sys.modules if name.startswith(("sipcap.sinks.mysql", "sipcap.sinks.postgresql"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package.partition("[")[0], None)
    with pytest.raises(CannotStart, match=re.escape(f"pip install '{package}'")):
        open_sink(url)


@pytest.fixture
def service(served: ServedDatabase, udp_port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``sipcap run`` into the server."""
    command = [*SIPCAP, "run", "--listen", f"udp:127.0.0.1:{udp_port}", "--db-url", served.url]
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=stderr)
    try:
        wait_until(lambda: b"listening" in (tmp_path / "stderr").read_bytes())
        yield process
    finally:
        process.kill()
        process.wait(TIMEOUT_S)


def wait_until(so: Callable[[], bool]) -> None:
    """Wait for something, within a bound."""
    until_s = time.monotonic() + TIMEOUT_S
    while not so():
        assert time.monotonic() < until_s
        time.sleep(0.05)


def send(port: int, first: int, count: int) -> None:
    """Send HEP datagrams, slowly enough for any receive buffer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(first, first + count):
            sock.sendto(hep3_datagram(number), ("127.0.0.1", port))
            time.sleep(0.001)


def count(served: ServedDatabase) -> int:
    """How many messages are stored."""
    return len(served.rows()) if "sip_capture" in served.tables() else 0


def test_run_server_that_is_away_for_a_while_loses_nothing(
    served: ServedDatabase, service: subprocess.Popen[bytes], udp_port: int
) -> None:
    """The service goes on receiving while its database is away, and stores each message once."""
    send(udp_port, 0, 50)
    wait_until(lambda: count(served) == 50)
    if served.server.is_private:
        served.server.kill()
    send(udp_port, 50, 50)
    if served.server.is_private:
        served.server.start()
    wait_until(lambda: count(served) >= 100)
    service.send_signal(signal.SIGTERM)
    assert service.wait(TIMEOUT_S) == 0
    stored = [row["micro_ts"] for row in served.rows(order="micro_ts")]
    assert len(stored) == len(set(stored)) == 100
