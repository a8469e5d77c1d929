"""``sipcap run --spool`` while somebody holds the database."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.background import Start, imbalance, wait_for
from tests.support.captured import locked, messages_in, texts
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp


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
