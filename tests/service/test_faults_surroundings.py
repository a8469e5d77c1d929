"""``sipcap run`` while the disk is full, the clock jumps, names do not resolve, or it is killed over a spool."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pymysql.err
import pytest

from tests.conftest import ROOT
from tests.support.background import is_running, wait_for
from tests.support.captured import locked, messages_in, texts
from tests.support.database_server import DatabaseServer
from tests.support.databases import ServedDatabase
from tests.support.messages import hep3_datagram
from tests.support.namespaces import need_root
from tests.support.proxy import Proxy
from tests.support.receiving import send_udp
from tests.support.servers import mysql_server
from tests.support.services import LISTEN, USUAL, Sender, Service, kill, service

__all__ = ["mysql_server"]

NAME = "db.sipcap.test"


# Disk full


@contextlib.contextmanager
def small_disk(place: Path, size: str) -> Iterator[None]:
    """A file system of this size; ``grow`` gives it more room."""
    need_root()
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def grow(place: Path, size: str) -> None:
    """Give a small disk another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)


def test_fault_disk_of_the_database_full_keeps_all_in_the_spool(tmp_path: Path) -> None:
    """What does not fit waits elsewhere, and is stored, once, when there is room."""
    disk = tmp_path / "disk"
    text = USUAL.replace("sipcap.db", f"{disk}/sipcap.db") + f"spool = {tmp_path}/spool\n"
    with small_disk(disk, "2m"), service(tmp_path, text + LISTEN) as running:
        with Sender(running.process.ports(1), rate=2_000, most=4_000) as sender:
            wait_for(lambda: sender.sent == 4_000, "all messages")
        wait_for(lambda: running.counters["received"] == 4_000 and running.counters["spooled"] > 0, "the spool")
        assert "full" in running.process.said
        grow(disk, "64m")
        assert running.settle(4_000)["stored"] == 4_000
        running.stop()
        assert messages_in(disk / "sipcap.db") == texts(range(4_000))


def test_fault_disk_of_database_and_spool_full_counts_what_is_lost(tmp_path: Path) -> None:
    """Nothing can be kept any more: it is said and counted, and when there is room all goes on."""
    disk = tmp_path / "disk"
    text = USUAL.replace("sipcap.db", f"{disk}/sipcap.db") + f"spool = {disk}/spool\n"
    with small_disk(disk, "3m"), service(tmp_path, text + LISTEN) as running:
        port = running.process.port
        with Sender([port], rate=2_000, most=5_000) as sender:
            wait_for(lambda: sender.sent == 5_000, "all messages")
        wait_for(lambda: running.counters["received"] == 5_000 and running.counters["dropped"], "the loss")
        assert "cannot write the spool: No space left on device" in running.process.said
        grow(disk, "64m")
        send_udp(port, *map(hep3_datagram, range(5_000, 5_100)))
        counted = running.settle(5_100)
        assert set(counted["dropped"]) == {"spool_full"}
        assert counted["stored"] + counted["dropped"]["spool_full"] == 5_100
        assert running.process.stop() == 5  # records remain unwritten
        stored = messages_in(disk / "sipcap.db")
        assert len(stored) == len(set(stored)) == counted["stored"]
        assert set(texts(range(5_000, 5_100))) <= set(stored) <= set(texts(range(5_100)))


# The clock


_CLOCK = """
import os, time
_true_ns = time.time_ns
def _now_ns():
    with open(os.environ["TEST_CLOCK"]) as file:
        return _true_ns() + int(file.read()) * 1_000_000_000
time.time_ns = _now_ns
time.time = lambda: _now_ns() / 1e9
"""


def fake_clock(folder: Path) -> dict[str, str]:
    """What makes Python's time of day that of the file ``clock``, and leaves the monotonic clock alone.

    libfaketime 0.9.10 would do this for any program, but lets Python's sleep (clock_nanosleep until a moment) fail.
    """
    set_clock(folder, 0)
    (folder / "sitecustomize.py").write_text(_CLOCK)
    return {"TEST_CLOCK": str(folder / "clock"), "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def set_clock(folder: Path, days: int) -> None:
    """Set the clock of these programs so many days forth."""
    part = folder / "clock.part"
    part.write_text(str(days * 86_400))
    part.replace(folder / "clock")


def test_fault_clock_set_back_and_forth_stores_everything_once(tmp_path: Path) -> None:
    """Also what waits in the spool meanwhile, longer than the ids of batches are kept by that clock."""
    with service(tmp_path, USUAL + "spool = spool\n" + LISTEN, env=fake_clock(tmp_path)) as running:
        port, number = running.process.port, 0
        for days in (0, -3, 0, 30, -1_200, 0):
            set_clock(tmp_path, days)
            send_udp(port, *map(hep3_datagram, range(number, number + 100)))
            number += 100
            running.wait_for_stored(number)
        with locked(tmp_path / "sipcap.db"):
            set_clock(tmp_path, -3)
            send_udp(port, *map(hep3_datagram, range(number, number + 100)))
            wait_for(lambda: running.counters["spooled"] == 100, "the spool")
            set_clock(tmp_path, 3)
        counted = running.settle(number + 100)
        assert (counted["stored"], counted["clock_skew"]) == (700, 100)  # when it was still to come
        running.stop()
    assert messages_in(tmp_path / "sipcap.db") == texts(range(number + 100))


# Names


@contextlib.contextmanager
def names(folder: Path, answers: str) -> Iterator[tuple[str, ...]]:
    """A command before a program for which NAME stands in ``hosts``, and else is asked a server: silent or absent."""
    need_root()
    with contextlib.ExitStack() as stack:
        if answers == "silent":
            server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            server.bind(("127.0.0.77", 53))
        (folder / "hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
        (folder / "resolv").write_text("nameserver 127.0.0.77\noptions timeout:1 attempts:2\n")
        script = f'mount --bind {folder}/hosts /etc/hosts && mount --bind {folder}/resolv /etc/resolv.conf && exec "$@"'
        yield "unshare", "--mount", "sh", "-c", script, "sh"


def cut(served: ServedDatabase) -> None:
    """End all connections to a database."""
    for row in served.server.execute("SELECT id FROM information_schema.processlist WHERE user = 'sipcap'"):
        with contextlib.suppress(pymysql.err.MySQLError):  # our own
            served.server.execute(f"KILL {row['id']}")


@pytest.mark.parametrize("answers", [pytest.param("absent", marks=pytest.mark.long), "silent"])
def test_fault_name_of_the_database_gone_keeps_all_in_the_spool(
    tmp_path: Path, mysql_server: DatabaseServer, answers: str
) -> None:
    """The connection is cut and the name resolves no more: records wait until it does, and are stored once."""
    served = ServedDatabase(mysql_server)
    with names(tmp_path, answers) as before:
        url = served.url.replace(mysql_server.host, NAME)
        with service(tmp_path, USUAL.replace("sqlite:///sipcap.db", url) + LISTEN, before=before) as running:
            port = running.process.port
            send_udp(port, *map(hep3_datagram, range(100)))
            running.wait_for_stored(100)
            (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
            cut(served)
            with Sender([port], rate=500, most=2_000, first=100) as sender:
                wait_for(lambda: running.counters["spooled"] > 0, "the spool")
                wait_for(lambda: sender.sent == 2_000, "all messages")
            wait_for(lambda: running.counters["spooled"] == 1_900, "all in the spool")
            assert NAME in running.process.said
            (tmp_path / "hosts").write_text(f"127.0.0.1 localhost {NAME}\n")
            assert running.settle(2_000)["stored"] == 2_000
            assert running.stop()["kernel_dropped"] == 0
    assert sorted(row["msg"] for row in served.rows()) == texts(range(2_000))
    served.close()


# Killed over a spool


def test_fault_supervisor_killed_under_load_the_next_start_stores_what_waits(
    tmp_path: Path, mysql_server: DatabaseServer
) -> None:
    """What had been received is in the spool when all have ended; the next start stores it, nothing twice."""
    served = ServedDatabase(mysql_server)
    with Proxy(mysql_server.host, mysql_server.port) as proxy:
        url = mysql_server.url(served.name, port=proxy.port)
        text = USUAL.replace("sqlite:///sipcap.db", url) + "spool = spool\n" + LISTEN
        with service(tmp_path, text) as running:
            send_udp(running.process.port, *map(hep3_datagram, range(100)))
            running.wait_for_stored(100)
            proxy.refusing = True
            cut(served)
            received, sent = _killed_over_a_spool(running)
        proxy.refusing = False
        with service(tmp_path, text) as running:
            wait_for(lambda: running.counters["stored"] >= received - 100, "the rows that waited")
            running.settle(0)
            counted = running.stop()
            assert counted["recovered"] == counted["stored"]
    stored = [row["msg"] for row in served.rows()]
    assert received <= len(stored) == len(set(stored)) == 100 + counted["stored"]
    assert set(stored) <= set(texts(range(sent)))
    served.close()


def _killed_over_a_spool(running: Service) -> tuple[int, int]:
    """Send, and kill the supervisor meanwhile; how many messages had been received for sure, and were sent."""
    with Sender(running.process.ports(1), rate=1_000, most=20_000, first=100) as sender:
        wait_for(lambda: running.counters["spooled"] > 500, "the spool")
        received = running.counters["received"]
        processes = [*running.workers, *running.storing]
        kill(running.process.pid)
        wait_for(lambda: not any(map(is_running, processes)), "the end of all processes")
    assert 100 < received < sender.sent
    return received, sender.sent
