"""``sipcap run`` into MariaDB and PostgreSQL at once, of which one is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.background import wait_for
from tests.support.captured import texts
from tests.support.database_server import DatabaseServer
from tests.support.databases import ServedDatabase
from tests.support.messages import hep3_datagram, sip_message
from tests.support.receiving import send_udp
from tests.support.servers import running
from tests.support.services import LISTEN, USUAL, Sender, service

_TO_POSTGRESQL = ("INVITE", "REGISTER")


def _messages(database: ServedDatabase) -> list[str]:
    return sorted(row["msg"] for row in database.rows()) if "sip_capture" in database.tables() else []


def _expected(count: int) -> tuple[list[str], list[str]]:
    """What goes to PostgreSQL, and the rest."""
    chosen = [
        any(f" {method}\r\n" in sip_message(number).decode() for method in _TO_POSTGRESQL) for number in range(count)
    ]
    return (
        texts(number for number in range(count) if chosen[number]),
        texts(number for number in range(count) if not chosen[number]),
    )


@pytest.mark.timeout(240)
def test_run_into_two_servers_of_which_one_is_killed(tmp_path: Path) -> None:
    """Records of the one that is away wait in the spool; the other's go on; in the end each is stored once."""
    with running("mysql", durable=True) as maria, running("postgresql") as postgresql:
        own, other = ServedDatabase(maria), ServedDatabase(postgresql)
        text = f"""{USUAL.replace("sqlite:///sipcap.db", own.url)}{LISTEN}
[capture_mode:other]
db_url = {other.url}
[route:some]
methods = {", ".join(_TO_POSTGRESQL)}
capture_mode = other
"""
        with service(tmp_path, text) as capture:
            send_udp(capture.process.port, *map(hep3_datagram, range(200)))
            capture.wait_for_stored(200)
            _kill_while_it_stores(maria, capture.process.port)
            total = 200 + 3_000
            wait_for(lambda: _messages(other) == _expected(total)[0], "the rows of the other")
            wait_for(lambda: capture.counters["spooled"] > 0, "the spool")
            assert capture.stats()["stores"][0]["database_up"] is False
            maria.start()
            wait_for(lambda: capture.counters["stored"] == total, "the rows that waited")
            counted = capture.stop()
        assert (counted["received"], counted["stored"], counted["spooled"]) == (total, total, 0)
        assert _messages(own) == _expected(total)[1]
        for database in (own, other):
            database.close()


def _kill_while_it_stores(server: DatabaseServer, port: int) -> None:
    """Send messages 200 to 3199; the server dies in the midst of them."""
    with Sender([port], rate=1_500, most=3_200, first=200) as sender:
        wait_for(lambda: sender.sent >= 800, "some messages")
        server.kill()
        wait_for(lambda: sender.sent == 3_200, "all messages")
