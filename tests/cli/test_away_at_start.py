"""A database server that does not answer when sipcap starts: with a spool that is no reason not to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RunSipcap
from tests.support.background import Start, imbalance, wait_for
from tests.support.database_server import free_port
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp
from tests.support.records import sip_lines
from tests.support.services import LISTEN, USUAL, service

SCHEMES = ("postgresql", "mysql")


def nowhere(scheme: str) -> str:
    """The URL of a server that is not there."""
    return f"{scheme}://u:geheim@127.0.0.1:{free_port()}/d"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_store_keeps_all_in_the_spool_if_no_server_answers(sipcap: RunSipcap, tmp_path: Path, scheme: str) -> None:
    """What came is in the spool, and goes in elsewhere by hand; the password shows nowhere."""
    done = sipcap("store", "--db-url", nowhere(scheme), "--spool", "spool", stdin=sip_lines(5))
    assert done.returncode == 0, done.stderr
    assert b"records wait in the spool until it answers" in done.stderr
    assert b"received 5, stored 0, spooled 5" in done.stderr
    assert b"geheim" not in done.stderr
    (segment,) = [path for path in (tmp_path / "spool").rglob("*") if path.is_file() and path.stat().st_size > 1_000]
    assert sipcap("store", "-q", str(segment)).returncode == 0
    assert sipcap("search", "-q").stdout.count(b"\n") == 5


@pytest.mark.parametrize("scheme", SCHEMES)
def test_store_without_a_spool_cannot_start_if_no_server_answers(sipcap: RunSipcap, scheme: str) -> None:
    """Nothing is read that could not be kept."""
    done = sipcap("store", "--db-url", nowhere(scheme), stdin=sip_lines(5))
    assert done.returncode == 3
    assert b"geheim" not in done.stderr


@pytest.mark.parametrize("scheme", SCHEMES)
def test_run_receives_into_the_spool_if_no_server_answers(run: Start, tmp_path: Path, scheme: str) -> None:
    """The service never ends because a database is away (design 1.4), from its first moment on."""
    process = run("--db-url", nowhere(scheme), "--spool", "spool", "--drain-timeout", "2")
    send_udp(process.port, *map(hep3_datagram, range(20)))
    wait_for(lambda: any(path.is_file() for path in (tmp_path / "spool").rglob("*")), "the spool")
    assert process.stop() == 0
    counted = process.summary
    assert (counted["received"], counted["spooled"], imbalance(counted)) == (20, 20, 0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_run_says_at_once_that_a_database_is_away(tmp_path: Path, scheme: str) -> None:
    """It has never answered: not even before the first record does it look as if it had."""
    text = USUAL.replace("sqlite:///sipcap.db", nowhere(scheme)) + "spool = spool\n" + LISTEN
    with service(tmp_path, text) as running:
        wait_for(lambda: running.stats()["stores"][0]["database_tried"], "the attempt")
        assert running.stats()["stores"][0]["database_up"] is False


def test_run_knows_of_a_database_without_any_record(tmp_path: Path) -> None:
    """To connect is enough; of one that nothing has been for it is not known."""
    text = USUAL + LISTEN + "[capture_mode:other]\ndb_url = sqlite:///sipcap.db\ntable_name = other\n"
    with service(tmp_path, text) as running:
        wait_for(lambda: running.stats()["stores"][0]["database_up"], "the first")
        own, other = running.stats()["stores"]
        assert (own["database_tried"], other["database_tried"], other["database_up"]) == (True, False, False)
        send_udp(running.process.port, hep3_datagram(0))
        running.wait_for_stored(1)
        assert running.stop()["stored"] == 1
