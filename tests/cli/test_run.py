"""``sipcap run`` as a user starts it: without a config, from HEP to a database, until it is stopped."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.background import Start, imbalance, is_running, wait_for
from tests.support.captured import locked, messages_in, texts
from tests.support.messages import chunk, hep3, hep3_datagram, hep3_with, usual_chunks
from tests.support.receiving import connect, send_udp

SEND_BOTH = """
import socket, sys, time
from tests.support.captured import locked, messages_in, texts
from tests.support.messages import hep3_datagram
while True:
    try:
        stream = socket.create_connection(("127.0.0.1", 9060))
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
stream.sendall(hep3_datagram(0))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(hep3_datagram(1), ("127.0.0.1", 9060))
time.sleep(0.5)
"""


def test_run_without_options_hears_this_machine_and_stores(tmp_path: Path) -> None:
    """UDP and TCP on port 9060 of the loopback interface, into ./sipcap.db: tried in a network of its own."""
    script = f"""
        ip link set lo up || exit 99
        {" ".join(SIPCAP)} run & pid=$!
        {sys.executable} -c '{SEND_BOTH}'
        kill -TERM $pid; wait $pid"""
    done = subprocess.run(
        ["unshare", "--net", "--map-root-user", "sh", "-c", script],
        cwd=tmp_path, env=environment(), capture_output=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    if done.returncode in (1, 99) and b"sipcap" not in done.stderr:
        pytest.skip("no network namespace can be made here")
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "listening on udp:127.0.0.1:9060" in said
    assert "listening on tcp:127.0.0.1:9060" in said
    assert "--listen udp:0.0.0.0:9060" in said
    assert said.endswith(f"received 2, stored 2, datagrams 2, bytes {len(hep3_datagram(0)) + len(hep3_datagram(1))}\n")
    assert messages_in(tmp_path / "sipcap.db") == texts(range(2))
    assert stat.S_IMODE((tmp_path / "sipcap.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("children", ["1", "3"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_stores_everything_sent_before_the_signal(run: Start, db_path: Path, children: str, number: int) -> None:
    """What was sent, by UDP or TCP, is in the table when it has ended."""
    process = run("--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0", "--children", children)
    udp, tcp = process.ports(2)
    with connect(tcp) as client:
        send_udp(udp, *map(hep3_datagram, range(90)))
        client.sendall(b"".join(map(hep3_datagram, range(90, 100))))
        assert process.stop(number) == 0
    assert messages_in(db_path) == texts(range(100))
    counted = process.summary
    assert (counted["received"], counted["stored"], imbalance(counted)) == (100, 100, 0)


def test_run_interrupted_with_its_process_group_stores_everything(run: Start, db_path: Path) -> None:
    """Ctrl-C reaches every process of the service at once; nothing is lost by that."""
    process = run("--children", "3")
    send_udp(process.port, *map(hep3_datagram, range(100)))
    wait_for(lambda: len(process.workers) == 4, "the workers and the storing process")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 0
    assert messages_in(db_path) == texts(range(100))


def test_run_stores_soon(run: Start, db_path: Path) -> None:
    """A record is in its table while the service runs, not when it ends."""
    process = run("--table", "calls_%Y")
    send_udp(process.port, hep3_datagram(0), hep3(*usual_chunks(payload_type=5), chunk(15, b"{}")))
    wait_for(lambda: len(messages_in(db_path, "calls_2023")) == 1, "the row")
    assert process.stop() == 0
    assert messages_in(db_path, "rtcp_capture") == ["{}"]


def test_run_counts_what_it_refuses_and_ends_with_0(run: Start) -> None:
    """What came from the network and was none of ours is counted, not failed on."""
    process = run("--auth-key", "k")
    send_udp(process.port, b"", b"junk", hep3_datagram(0), hep3_with(b"junk", chunk(14, b"k")))
    assert process.stop() == 0
    assert process.summary["rejected"] == {"empty": 1, "magic": 1, "auth_key": 1, "not_sip": 1}
    assert imbalance(process.summary) == 0


def test_run_second_signal_leaves_at_once(run: Start, db_path: Path) -> None:
    """Whoever does not want to wait need not, whatever the database does; no process stays behind."""
    process = run("--drain-timeout", "600", "--children", "2")
    # The workers are there when the database has been looked at; locked before, it would keep them from starting.
    wait_for(lambda: len(process.workers) == 3, "the workers")
    processes = process.workers
    with locked(db_path):
        send_udp(process.port, hep3_datagram(0))
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: sum(map(is_running, processes)) == 1, "the drain of the workers")
        assert not process.ended
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143
    assert not any(map(is_running, processes))


def test_run_killed_takes_its_workers_along(run: Start) -> None:
    """Without the storing process, the capturing ones end."""
    process = run("--children", "2")
    _ = process.port
    wait_for(lambda: len(process.workers) == 3, "the workers")
    workers = process.workers
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, workers)), "the end of the workers")


def test_run_on_a_taken_port_is_3_and_makes_no_database(sipcap: RunSipcap, run: Start, tmp_path: Path) -> None:
    """A second service on the same port says so and touches nothing."""
    process = run("--db-url", "sqlite:///first.db")
    done = sipcap("run", "--listen", f"udp:127.0.0.1:{process.port}", "--db-url", "sqlite:///second.db")
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
    assert b"Address already in use" in done.stderr
    assert not (tmp_path / "second.db").exists()


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "sqlite:////", "sqlite:///folder", "sqlite:///text.db"]
)
def test_run_with_a_database_that_cannot_be_used_is_3(sipcap: RunSipcap, tmp_path: Path, url: str) -> None:
    """Not there, a folder, not a database: one line that says so, and nothing is received."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("this is no database\n" * 100)
    done = sipcap("run", "-q", "--listen", "udp:127.0.0.1:0", "--db-url", url)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"sipcap: error: ")


def test_run_into_a_read_only_file_is_3(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A place where nothing can be written shows at the start."""
    done = sipcap("run", "-q", "--listen", "udp:127.0.0.1:0", "--db-url", "sqlite:////proc/version")
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1
