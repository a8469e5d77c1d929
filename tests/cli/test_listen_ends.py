"""``sipcap listen``: how it starts and how it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.conftest import RunSipcap
from tests.support.background import Start, background, imbalance, is_running, wait_for
from tests.support.messages import (
    hep3_datagram,
    hep3_with,
    sip_message,
)
from tests.support.programs import need
from tests.support.receiving import connect, send_udp


def test_listen_hints_how_to_hear_the_network(tmp_path: Path, udp_port: int) -> None:
    """Without --listen it says that it hears this machine only (or that the usual port is taken)."""
    with background(tmp_path, "listen", "--duration", "0") as process:
        assert process.wait() in (0, 3)
    assert "--listen udp:0.0.0.0:9060" in process.said


def test_listen_reports_the_receive_buffer(listen: Start) -> None:
    """What was asked for and what was granted is said."""
    process = listen("--rcvbuf", "65536", "--duration", "0")
    assert process.wait() == 0
    assert "receive buffer: 65536 bytes granted of 65536 asked for" in process.said


def test_listen_count_and_duration_end_with_0(listen: Start) -> None:
    """--count is exact, --duration ends it too; both are success, whatever was rejected."""
    process = listen("--count", "3")
    send_udp(process.port, b"junk", *map(hep3_datagram, range(9)))
    assert process.wait() == 0
    assert process.output.count(b"\n") == 3
    assert (process.summary["stored"], imbalance(process.summary)) == (3, 0)
    assert listen("--duration", "0.1").wait() == 0


def test_listen_by_environment(listen: Start) -> None:
    """Every option has its variable."""
    process = listen(env={"SIPCAP_LISTEN_COUNT": "1", "SIPCAP_LISTEN_CAPTURE_NODE": "from-env"})
    send_udp(process.port, hep3_datagram(0))
    assert process.wait() == 0
    assert process.lines[0]["node"] == "from-env:2001"


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("udp:192.0.2.1:9060", "Cannot assign requested address"),
        ("udp:name.invalid:9060", "name.invalid"),
        ("udp:a..b:9060", "no such host name"),
        ("tls:127.0.0.1:0", "--tls-cert"),
    ],
)
def test_listen_that_cannot_start_is_3_and_one_line(sipcap: RunSipcap, endpoint: str, words: str) -> None:
    """What is wrong with an endpoint is one line, and exit code 3."""
    done = sipcap("listen", "--listen", endpoint)
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"sipcap: error: ")
    assert words in done.stderr.decode()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["udp", "tcp"])
def test_listen_on_a_taken_port_is_3(sipcap: RunSipcap, kind: socket.SocketKind) -> None:
    """Somebody else's port is not taken away, and the line names it."""
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            other.listen()
        endpoint = f"{'udp' if kind == socket.SOCK_DGRAM else 'tcp'}:127.0.0.1:{other.getsockname()[1]}"
        done = sipcap("listen", "--listen", endpoint)
    assert (done.returncode, done.stderr.decode()) == (
        3, f"sipcap: error: cannot listen on {endpoint}: Address already in use\n"
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_listen_first_signal_ends_it_with_0(listen: Start, number: int) -> None:
    """It was told to run until it is stopped: a stop is success."""
    process = listen()
    _ = process.port
    assert process.stop(number) == 0
    assert process.summary["received"] == 0


def test_listen_in_the_background_of_a_script_can_be_interrupted(listen: Start) -> None:
    """A shell starts background jobs of a script with SIGINT ignored; it must end them all the same."""
    process = listen(before=("sh", "-c", "trap '' INT; exec \"$@\"", "sh"))
    _ = process.port
    assert process.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("children", ["1", "3"])
def test_listen_delivers_what_the_kernel_holds_at_the_stop(listen: Start, children: str) -> None:
    """What was sent before the signal is delivered, even if nobody had read it: UDP and TCP."""
    process = listen("--listen", "udp:127.0.0.1:0", "--listen", "tcp:127.0.0.1:0", "--children", children)
    udp, tcp = process.ports(2)
    wait_for(lambda: len(process.workers) == (0 if children == "1" else 3), "workers")
    frozen = process.workers or [process.pid]
    with connect(tcp) as client:
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        send_udp(udp, *map(hep3_datagram, range(90)))
        client.sendall(b"".join(map(hep3_datagram, range(90, 100))))
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        assert process.wait() == 0
    assert {line["msg"] for line in process.lines} == {sip_message(number).decode() for number in range(100)}
    assert (process.summary["received"], imbalance(process.summary)) == (100, 0)


@pytest.mark.parametrize("children", ["1", "2"])
def test_listen_second_signal_leaves_at_once(listen: Start, children: str) -> None:
    """Whoever does not want to wait for the drain need not; no process stays behind."""
    reader, writer = os.pipe()
    process = listen("--children", children, "--drain-timeout", "600", stdout=writer)
    large = hep3_with(b"OPTIONS sip:a SIP/2.0\r\n\r\n" + b"x" * 60_000)
    send_udp(process.port, *[large] * 3)  # more than the pipe holds
    time.sleep(0.3)
    workers = process.workers
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert not process.ended
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    wait_for(lambda: not any(map(is_running, workers)), "the end of the workers")
    os.close(reader)
    os.close(writer)


def test_listen_worker_killed_is_5_and_the_counters_add_up(listen: Start) -> None:
    """A capture that lost a process does not look like success."""
    process = listen("--children", "3")
    send_udp(process.port, *map(hep3_datagram, range(50)))
    wait_for(lambda: process.output.count(b"\n") == 50, "the lines")
    time.sleep(0.3)  # the counters are published ten times a second
    os.kill(process.workers[1], signal.SIGKILL)
    assert process.wait() == 5
    assert "1 of 3 capturing processes failed or were killed" in process.said.splitlines()[-1]
    assert (process.summary["received"], process.summary["stored"], imbalance(process.summary)) == (50, 50, 0)


def test_listen_killed_takes_its_workers_along(listen: Start) -> None:
    """Without their parent, workers end and hand on what they have."""
    process = listen("--children", "3")
    send_udp(process.port, *map(hep3_datagram, range(50)))
    wait_for(lambda: process.output.count(b"\n") == 50, "the lines")
    workers = process.workers
    process.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, workers)), "the end of the workers")


def without(capability: str) -> tuple[str, ...]:
    """A command line that runs a program without one of root's powers."""
    if os.geteuid():
        pytest.skip("only root has capabilities to give up")
    return (need("setpriv"), f"--bounding-set=-{capability}", f"--inh-caps=-{capability}")


def test_listen_without_privilege_says_how_to_get_a_larger_buffer(listen: Start) -> None:
    """Where the system gives less than asked for, the grant is told, and what would help."""
    process = listen("--rcvbuf", "2147483646", "--duration", "0", before=without("net_admin"))
    assert process.wait() == 0
    assert re.search(r"\d+ bytes granted of 2147483646 asked for; net.core.rmem_max", process.said)


def test_listen_on_a_port_of_the_system_without_privilege_is_3(tmp_path: Path) -> None:
    """Ports below 1024 need a permission, and the line says that it is missing."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 81:
        pytest.skip("here everybody may use such ports")
    with background(
        tmp_path, "listen", "--listen", "tcp:127.0.0.1:81", before=without("net_bind_service")
    ) as process:  # fmt: skip
        assert process.wait() == 3
    assert process.said == "sipcap: error: cannot listen on tcp:127.0.0.1:81: Permission denied\n"
