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
