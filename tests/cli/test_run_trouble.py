"""``sipcap run`` while the database is locked, full or slow, and while more comes than usual."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.support.background import Start, imbalance, wait_for
from tests.support.captured import locked, messages_in, texts
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp
from tests.support.services import LISTEN, USUAL, service


def send_at(port: int, rate: int, numbers: range, stop: threading.Event | None = None) -> int:
    """Send messages at a rate, until all are sent or somebody says stop; how many."""
    begin_s = time.monotonic()
    for sent, number in enumerate(numbers):
        if stop is not None and stop.is_set():
            return sent
        send_udp(port, hep3_datagram(number))
        time.sleep(max(begin_s + sent / rate - time.monotonic(), 0.0))
    return len(numbers)


def test_run_locked_database_loses_nothing(run: Start, db_path: Path) -> None:
    """While somebody holds the database, 1,000 messages a second wait; they are stored when it is let go."""
    process = run()
    send_udp(process.port, hep3_datagram(0))
    wait_for(lambda: db_path.exists() and process.workers, "the start")
    with locked(db_path):
        send_at(process.port, 1_000, range(1, 3_000))
    wait_for(lambda: len(messages_in(db_path)) == 3_000, "the rows")
    assert process.stop() == 0
    assert messages_in(db_path) == texts(range(3_000))
    assert (process.summary["kernel_dropped"], imbalance(process.summary)) == (0, 0)


def test_run_stopped_while_the_database_is_locked_ends_in_time(run: Start, db_path: Path) -> None:
    """A stop is bounded by --drain-timeout; what was not stored is counted and gives 5; what was is there."""
    process = run("--drain-timeout", "1", "--spool", "off")
    send_udp(process.port, *map(hep3_datagram, range(10)))
    wait_for(lambda: len(messages_in(db_path)) == 10, "the first rows")
    with locked(db_path):
        send_udp(process.port, *map(hep3_datagram, range(10, 60)))
        time.sleep(0.3)
        begin_s = time.monotonic()
        assert process.stop() == 5
        assert time.monotonic() - begin_s < 10.0
    counted = process.summary
    assert (counted["received"], counted["stored"], imbalance(counted)) == (60, 10, 0)
    assert sum(counted["dropped"].values()) == 50
    assert process.said.splitlines()[-1].count("could not be stored") == 1
    assert messages_in(db_path) == texts(range(10))


def test_run_full_disk_keeps_what_was_stored(run: Start, db_path: Path) -> None:
    """When the file cannot grow, the service tries on; at the stop the loss is counted, and the file is good."""
    process = run("--drain-timeout", "1", "--spool", "off", before=("prlimit", "--fsize=400000:400000"))
    send_udp(process.port, *map(hep3_datagram, range(10)))
    wait_for(lambda: len(messages_in(db_path)) == 10, "the first rows")
    send_at(process.port, 2_000, range(10, 1_000))
    wait_for(lambda: "trying again" in process.said, "the disk to be full")
    assert process.stop() == 5
    counted = process.summary
    assert (counted["received"], imbalance(counted)) == (1_000, 0)
    stored = messages_in(db_path)
    assert 10 <= len(stored) == counted["stored"] < 1_000
    assert set(texts(range(10))) <= set(stored)


def test_run_stopped_under_load_stores_what_it_received(run: Start, db_path: Path) -> None:
    """A stop in the middle of a stream: every message that counts as received is in the table."""
    process = run()
    port = process.port
    stop = threading.Event()
    sent: list[int] = []
    sender = threading.Thread(target=lambda: sent.append(send_at(port, 5_000, range(100_000), stop)))
    sender.start()
    time.sleep(1.5)
    assert process.stop() == 0
    stop.set()
    sender.join(20.0)
    counted = process.summary
    assert imbalance(counted) == 0
    assert 500 < counted["received"] == counted["stored"] <= sent[0]
    stored = messages_in(db_path)
    assert len(stored) == len(set(stored)) == counted["received"]
    assert set(stored) <= set(texts(range(sent[0])))


def test_run_says_who_sends_what_it_refuses(tmp_path: Path) -> None:
    """Among the latest errors of its state, with the address, which is what --allow wants to know."""
    with service(tmp_path, f"{USUAL}auth_key = key\n{LISTEN}") as running:
        send_udp(running.process.port, hep3_datagram(0))
        wait_for(lambda: running.stats()["errors"], "the error")
        assert running.stats()["errors"][-1]["text"] == "rejected auth_key: 1 (last from 127.0.0.1)"
        assert running.stop()["rejected"] == {"auth_key": 1}
