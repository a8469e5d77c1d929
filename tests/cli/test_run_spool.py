"""``sipcap run --spool`` while somebody holds the database."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.background import Start, imbalance, wait_for
from tests.support.captured import locked, messages_in, texts
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp
from tests.support.services import LISTEN, USUAL, service

TWO = """\
spool = spool
{listen}
[capture_mode:other]
db_url = sqlite:///{file}
table_name = t
[route:all]
capture_mode = other
"""


def test_run_stopped_while_the_database_is_locked_keeps_all_in_the_spool(run: Start, db_path: Path) -> None:
    """Nothing is lost and the end is a good one; the next start stores the records, once, and counts them."""
    process = run("--spool", "spool", "--drain-timeout", "1")
    send_udp(process.port, *map(hep3_datagram, range(10)))
    wait_for(lambda: len(messages_in(db_path)) == 10, "the first rows")
    with locked(db_path):
        send_udp(process.port, *map(hep3_datagram, range(10, 60)))
        time.sleep(0.5)
        assert process.stop() == 0
    counted = process.summary
    assert (counted["received"], counted["stored"], counted["spooled"], imbalance(counted)) == (60, 10, 50, 0)
    process = run("--spool", "spool")
    wait_for(lambda: len(messages_in(db_path)) == 60, "the rows that waited")
    assert process.stop() == 0
    assert (process.summary["recovered"], imbalance(process.summary)) == (50, 0)
    assert sorted(messages_in(db_path)) == sorted(texts(range(60)))


def test_run_with_two_databases_tells_what_waits_for_none_of_them(tmp_path: Path) -> None:
    """Records wait on when a mode has another database by now: an operator must hear of them, once."""
    first = USUAL + TWO.format(listen=LISTEN, file="first.db")
    with service(tmp_path, first) as running:
        send_udp(running.process.port, *map(hep3_datagram, range(5)))
        running.wait_for_stored(5)
        with locked(tmp_path / "first.db"):
            send_udp(running.process.port, *map(hep3_datagram, range(5, 12)))
            wait_for(lambda: running.counters["received"] == 12, "the messages")
            assert running.stop()["spooled"] == 7
    for file, said in (("second.db", 1), ("first.db", 0)):
        with service(tmp_path, USUAL + TWO.format(listen=LISTEN, file=file)) as running:
            running.stop()
            assert running.process.said.count("7 record(s) wait for another database or capture mode") == said


def test_run_leaves_no_empty_folders_in_the_spool(run: Start, tmp_path: Path) -> None:
    """At a stop they go, also those of an earlier database; what has content, is in use or is not ours stays."""
    spool = tmp_path / "spool"
    left, full, foreign = (spool / name for name in ("0123456789abcdef.0", "0123456789abcdef.1", "backup"))
    for folder in (left, full, foreign):
        folder.mkdir(parents=True)
    (full / "something").write_text("")
    process = run("--spool", "spool")
    send_udp(process.port, hep3_datagram(0))
    wait_for(lambda: len(list(spool.iterdir())) == 4, "a folder of its own")
    assert process.stop() == 0
    assert sorted(spool.iterdir()) == [full, foreign]


def test_run_keeps_the_folder_in_which_records_wait(run: Start, db_path: Path, tmp_path: Path) -> None:
    """It is gone when the next start has stored them."""
    process = run("--spool", "spool", "--drain-timeout", "1")
    send_udp(process.port, hep3_datagram(0))
    wait_for(lambda: len(messages_in(db_path)) == 1, "the first row")
    with locked(db_path):
        send_udp(process.port, hep3_datagram(1))
        time.sleep(0.5)
        assert process.stop() == 0
    assert process.summary["spooled"] == 1
    assert len(list((tmp_path / "spool").glob("*/*"))) == 1
    process = run("--spool", "spool")
    wait_for(lambda: len(messages_in(db_path)) == 2, "the row that waited")
    assert process.stop() == 0
    assert not list((tmp_path / "spool").iterdir())
