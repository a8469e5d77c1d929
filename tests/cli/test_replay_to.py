"""``sipcap replay --to``, as users start it."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipcap.wire.hep import decode_datagram
from sipcap.wire.message import Message
from tests.conftest import TIMEOUT_S, RunSipcap
from tests.support import packets as p
from tests.support.messages import BASE_TS_US, chunk, hep3, sip, sip_message, usual_chunks
from tests.support.replays import collected, frame, start, to


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A capture of 24 messages, one every millisecond."""
    return p.sip_capture(tmp_path / "calls.pcap", (sip_message(number) for number in range(24)), first_us=BASE_TS_US)


@pytest.fixture
def collector() -> Iterator[socket.socket]:
    """A collector's UDP socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(TIMEOUT_S)
        yield bound


def test_replay_of_hep_gives_what_listen_gives(sipcap: RunSipcap, tmp_path: Path, collector: socket.socket) -> None:
    """Records do not depend on whether HEP came from a file or was sent again and captured again."""
    payloads = [hep3(*usual_chunks(), chunk(0x12, b"\0\x07"), chunk(15, sip_message(number))) for number in range(5)]
    first, second = tmp_path / "first.pcap", tmp_path / "second.pcap"
    first.write_bytes(p.pcap((BASE_TS_US, frame(each)) for each in payloads))
    assert sipcap("replay", str(first), "--to", to(collector)).returncode == 0
    again = [collector.recv(65_535) for _ in payloads]
    second.write_bytes(p.pcap((BASE_TS_US + 77, frame(each)) for each in again))
    assert sipcap("replay", str(second)).stdout == sipcap("replay", str(first)).stdout != b""


def test_replay_to_a_collector_sends_everything(sipcap: RunSipcap, calls: Path, collector: socket.socket) -> None:
    """All messages arrive as HEPv3 with their addresses, times, VLAN and MACs, and stdout stays empty."""
    done = sipcap("replay", str(calls), "--to", to(collector), "--capture-id", "9", "--auth-key", "secret")
    messages = collected(collector, 24)
    assert (done.returncode, done.stdout) == (0, b"")
    assert [message.payload for message in messages] == [sip_message(number) for number in range(24)]
    assert [message.ts_us for message in messages] == [BASE_TS_US + 1_000 * number for number in range(24)]
    assert {(message.capture_id, message.auth_key, message.source_ip) for message in messages} == {
        (9, b"secret", p.SOURCE)
    }
    assert messages[0].extra == {"source_mac": "02:00:00:00:00:01", "destination_mac": "02:00:00:00:00:02", "tos": 0}


@pytest.mark.parametrize("version", ["1", "2"])
def test_replay_in_old_versions_rejects_what_is_no_sip(
    sipcap: RunSipcap, tmp_path: Path, collector: socket.socket, version: str
) -> None:
    """HEPv1 and v2 carry the SIP; the rest is rejected by name and the exit code tells."""
    path = tmp_path / "x.pcap"
    rtcp = hep3(*usual_chunks(payload_type=5), chunk(15, b"{}"))
    path.write_bytes(p.pcap([(BASE_TS_US, frame(sip())), (BASE_TS_US, frame(rtcp))]))
    done = sipcap("replay", str(path), "--to", to(collector), "--hep-version", version)
    (message,) = collected(collector, 1)
    assert message.hep_version == int(version)
    assert done.returncode == 1
    assert b"rejected 1 (not_sip 1)" in done.stderr
    warned = sipcap("replay", str(path), "--to", to(collector), "--hep-version", version, "--auth-key", "secret")
    assert b"--auth-key has no effect with --hep-version" in warned.stderr


def test_replay_to_keeps_the_captured_pace(tmp_path: Path, collector: socket.socket) -> None:
    """By default messages are as far apart as they were captured; --speed divides that."""
    path = p.sip_capture(tmp_path / "x.pcap", [sip()] * 21, first_us=BASE_TS_US, step_us=20_000)
    for speed, expected_s in (("1", 0.4), ("4", 0.1)):
        with start(str(path), "--to", to(collector), "--speed", speed) as replay:
            arrivals = []
            for _ in range(21):
                collected(collector, 1)
                arrivals.append(time.monotonic())
            assert replay.wait(TIMEOUT_S) == 0
        assert expected_s - 0.02 < arrivals[-1] - arrivals[0] < expected_s + 5


def test_replay_to_with_a_rate(calls: Path, collector: socket.socket) -> None:
    """--rate spaces messages evenly."""
    with start(str(calls), "--to", to(collector), "--rate", "100") as replay:
        collected(collector, 1)
        started = time.monotonic()
        collected(collector, 23)
        assert 0.2 < time.monotonic() - started < 5
        assert replay.wait(TIMEOUT_S) == 0


def test_replay_to_nobody_says_so_and_exits_1(sipcap: RunSipcap, calls: Path, udp_port: int) -> None:
    """Refused datagrams are counted as dropped."""
    done = sipcap("replay", str(calls), "--to", f"udp:127.0.0.1:{udp_port}", "--speed", "max")
    assert done.returncode == 1
    assert done.stderr.count(b"nobody listens") == 1
    assert b"dropped 24 (refused 24)" in done.stderr


def test_replay_to_a_closed_tcp_port_cannot_start(sipcap: RunSipcap, calls: Path, tcp_port: int) -> None:
    """Without a connection there is nothing to replay to."""
    done = sipcap("replay", str(calls), "--to", f"tcp:127.0.0.1:{tcp_port}")
    assert done.returncode == 3
    assert b"Connection refused" in done.stderr


def test_replay_over_tcp(sipcap: RunSipcap, calls: Path) -> None:
    """HEPv3 frames arrive back to back on one connection."""
    received = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def collect() -> None:
            connection, _ = listening.accept()
            with connection:
                while data := connection.recv(65_536):
                    received.extend(data)

        collecting = threading.Thread(target=collect)
        collecting.start()
        done = sipcap("replay", str(calls), "--to", f"tcp:127.0.0.1:{listening.getsockname()[1]}", "--speed", "max")
        collecting.join(TIMEOUT_S)
    messages: list[Message] = []
    decode_datagram(bytes(received), messages)
    assert done.returncode == 0
    assert [message.payload for message in messages] == [sip_message(number) for number in range(24)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_paced_replay(
    tmp_path: Path, collector: socket.socket, number: signal.Signals, code: int
) -> None:
    """In the middle of a gap of an hour it stops, says what it did, and the exit code names the signal."""
    path = p.sip_capture(tmp_path / "x.pcap", [sip()] * 3, first_us=BASE_TS_US, step_us=3_600_000_000)
    with start(str(path), "--to", to(collector)) as replay:
        collected(collector, 1)
        replay.send_signal(number)
        _, stderr = replay.communicate(timeout=TIMEOUT_S)
    assert replay.returncode == code
    assert b"received 3, stored 1" in stderr
    assert b"dropped 2 (stopped 2)" in stderr
