"""Everything at once, for minutes: ``pytest -m long``. ``SIPCAP_TEST_LONG_S`` says how many seconds (180)."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.background import wait_for
from tests.support.captured import texts
from tests.support.database_server import DatabaseServer
from tests.support.databases import ServedDatabase
from tests.support.deadly import PACKETS
from tests.support.receiving import send_udp
from tests.support.servers import running
from tests.support.services import USUAL, Sender, Service, kill, service

SECONDS = float(os.environ.get("SIPCAP_TEST_LONG_S", "180"))
_AWAY_S = 4.0
_CHILDREN = 2


def _text(url: str, turn: int = 0) -> str:
    base = USUAL.replace("sqlite:///sipcap.db", url) + f"spool = spool\ncapture_node = node{turn}\n"
    return f"{base}[listen:hep]\nlisten = udp:127.0.0.1:0\nchildren = {1 + turn % _CHILDREN}\n"


class Trouble:
    """Does one thing after the other to a service and its database."""

    def __init__(self, capture: Service, server: DatabaseServer, url: str, port: int) -> None:
        self._capture, self._server, self._url, self._port = capture, server, url, port
        self._turn = 0
        self.hostile = 0

    def kill_worker(self) -> None:
        """A capturing process."""
        for pid in self._capture.workers[:1]:
            kill(pid)

    def kill_storing(self) -> None:
        """The process of the database."""
        for pid in self._capture.storing:
            kill(pid)

    def kill_database(self) -> None:
        """The server is away for a while."""
        self._server.kill()
        time.sleep(_AWAY_S)
        self._server.start()

    def reload(self) -> None:
        """With something that is different."""
        self._turn += 1
        self._capture.configure(_text(self._url, self._turn))
        self._capture.process.send_signal(signal.SIGHUP)

    def ask(self) -> None:
        """Many questions."""
        for _ in range(200):
            self._capture.call("sipcapture.stats")

    def send_hostile(self) -> None:
        """What ends Kamailio."""
        send_udp(self._port, *PACKETS.values())
        self.hostile += len(PACKETS)


@pytest.mark.long
@pytest.mark.timeout(SECONDS + 300)
def test_fault_all_of_them_for_minutes_leave_every_message_accounted_for(tmp_path: Path) -> None:
    """Processes and the server are killed, the service is reloaded, asked and sent junk, at 2,000 messages a second."""
    with running("mysql", durable=True) as server:
        served = ServedDatabase(server)
        chance = random.Random(5)
        with service(tmp_path, _text(served.url)) as capture:
            port = capture.process.port
            trouble = Trouble(capture, server, served.url, port)
            deeds: list[Callable[[], None]] = [
                trouble.kill_worker, trouble.kill_storing, trouble.kill_database, trouble.reload, trouble.reload,
                trouble.ask, trouble.send_hostile,
            ]  # fmt: skip
            until_s = time.monotonic() + SECONDS
            with Sender([port], most=int(3_000 * SECONDS)) as sender:
                while time.monotonic() < until_s:
                    chance.choice(deeds)()
                    time.sleep(1.0)
            wait_for(lambda: capture.counters["pending"] + capture.counters["spooled"] == 0, "the end of all")
            counted = capture.stop()
        good = set(texts(range(sender.sent)))
        stored = [row["msg"] for row in served.rows() if row["msg"] in good]
        lost = counted["dropped"].get("worker_killed", 0)
        assert len(stored) == len(set(stored))
        assert set(counted["dropped"]) <= {"worker_killed"}
        assert counted["kernel_dropped"] == 0
        assert counted["received"] <= sender.sent + trouble.hostile
        assert counted["stored"] <= served.execute("SELECT count(*) AS n FROM sip_capture")[0]["n"]
        assert served.execute("SELECT count(*) AS n FROM sip_capture")[0]["n"] <= counted["stored"] + lost
        served.close()
