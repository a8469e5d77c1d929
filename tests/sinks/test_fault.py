"""Done when (issue 3): a server killed under 5,000 messages a second, and every message read is in the table once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S
from tests.support.background import Background, background, imbalance
from tests.support.databases import ServedDatabase
from tests.support.messages import BASE_TS_US, hep3_datagram
from tests.support.storing import start_store

RATE = 5_000
LOAD_S = 7.0
KILLED_AT_S = 2.0
AWAY_S = 1.5
_SLICE_S = 0.002
_LISTEN = ("--listen", "udp:127.0.0.1:0", "--log-format", "json")
_SPOOL = ("--spool", "spool", "--log-format", "json")


class Load(threading.Thread):
    """Sends distinct messages at the rate, never more."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._datagrams = [hep3_datagram(number) for number in range(int(RATE * LOAD_S))]
        self.sent = 0

    def run(self) -> None:
        """Send all of them."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", self._port))
            begin_s = time.monotonic()
            while self.sent < len(self._datagrams):
                due = min(int((time.monotonic() - begin_s) * RATE), len(self._datagrams))
                for datagram in self._datagrams[self.sent : due]:
                    sender.send(datagram)
                self.sent = due
                time.sleep(_SLICE_S)


def _crash_under_load(served: ServedDatabase, port: int, spool: Path) -> int:
    """Send, kill the server in the middle, start it again, and wait until nothing waits for it; what was sent."""
    load = Load(port)
    load.start()
    time.sleep(KILLED_AT_S)
    served.server.kill()
    time.sleep(AWAY_S)
    assert _segments(spool), "nothing was kept while the server was away"
    served.server.start()
    load.join()
    until_s = time.monotonic() + TIMEOUT_S
    while _segments(spool) and time.monotonic() < until_s:
        time.sleep(0.1)
    return load.sent


def _segments(spool: Path) -> list[Path]:
    return [path for path in spool.glob("*/*.ndjson") if not path.name.startswith(".")]


def _assert_each_is_there_once(served: ServedDatabase, received: int, sent: int) -> None:
    found = sorted(row["micro_ts"] for row in served.execute("SELECT micro_ts FROM sip_capture"))
    assert len(found) == received
    assert len(set(found)) == received
    assert set(found) <= {BASE_TS_US + number * 10_000 for number in range(sent)}


@contextlib.contextmanager
def _pipeline(folder: Path, url: str) -> Iterator[tuple[Background, subprocess.Popen[bytes]]]:
    """``sipcap listen | sipcap store --spool``."""
    reading, writing = os.pipe()
    store = start_store(folder, "--db-url", url, *_SPOOL, stdin=reading)
    os.close(reading)
    try:
        with background(folder, "listen", *_LISTEN, "--format", "json", stdout=writing) as listen:
            os.close(writing)
            yield listen, store
    finally:
        store.kill()
        store.communicate()


@pytest.fixture
def killable(served: ServedDatabase) -> ServedDatabase:
    """A database of a server that may be killed."""
    if not served.server.is_private:
        pytest.skip("not our server")
    return served


def test_fault_server_killed_under_load_listen_store_has_every_message_once(
    killable: ServedDatabase, tmp_path: Path
) -> None:
    """Kill -9 of the server under 5,000 messages a second through the pipeline."""
    with _pipeline(tmp_path, killable.url) as (listen, store):
        sent = _crash_under_load(killable, listen.port, tmp_path / "spool")
        assert listen.stop() == 0
        _, said = store.communicate(timeout=TIMEOUT_S)
    summary = next(line for line in map(json.loads, reversed(said.splitlines())) if "received" in line)
    received = listen.summary["received"]
    assert (store.returncode, summary["received"], summary["stored"]) == (0, received, received)
    assert (summary["spooled"], imbalance(summary)) == (0, 0)
    assert received + listen.summary["kernel_dropped"] == sent
    assert received > sent / 2
    _assert_each_is_there_once(killable, received, sent)


def test_fault_server_killed_under_load_run_has_every_message_once(killable: ServedDatabase, tmp_path: Path) -> None:
    """The same of the service, which is stopped with SIGTERM."""
    with background(tmp_path, "run", *_LISTEN, "--db-url", killable.url, "--spool", "spool") as service:
        sent = _crash_under_load(killable, service.port, tmp_path / "spool")
        assert service.stop(signal.SIGTERM) == 0
    summary = service.summary
    assert (summary["stored"], summary["spooled"], imbalance(summary)) == (summary["received"], 0, 0)
    assert summary["received"] + summary["kernel_dropped"] == sent
    assert summary["received"] > sent / 2
    _assert_each_is_there_once(killable, summary["received"], sent)
