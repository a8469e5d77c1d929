"""Messages as HEP to a collector."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from sipcap.counters import Counters
from sipcap.endpoint import parse_endpoint
from sipcap.errors import CannotStart
from sipcap.sinks import hep
from sipcap.sinks.hep import HepSink, HepTarget
from sipcap.wire.hep import decode_datagram
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US, sip, sip_message

SIP = Message(sip(), BASE_TS_US, "192.0.2.1", 5060, "192.0.2.2", 5062, 17, 2)
RTCP = replace(SIP, payload=b"{}", payload_type=5)


@pytest.fixture(autouse=True)
def log_reaches_caplog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what the command line does to the logger, in case a test ran it in this process."""
    monkeypatch.setattr(logging.getLogger("sipcap"), "propagate", True)


def never() -> bool:
    """Not to be stopped."""
    return False


def always() -> bool:
    """Stopped already."""
    return True


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    """A collector's UDP socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(10)
        yield bound


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    """A collector's listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def target(bound: socket.socket, **options: object) -> HepTarget:
    """A target that is this socket."""
    protocol = "udp" if bound.type == socket.SOCK_DGRAM else "tcp"
    host, port = bound.getsockname()[:2]
    return HepTarget(parse_endpoint(f"{protocol}:{host}:{port}"), **options)  # type: ignore[arg-type]


def sending(where: HepTarget, *messages: Message) -> Counters:
    """What the counters say when these messages have been sent."""
    counters = Counters()
    counters.received = len(messages)
    sink = HepSink(where, counters)
    sink.open()
    for message in messages:
        sink.send(replace(message), never)
    sink.close()
    sink.close()
    assert counters.imbalance() == 0
    return counters


def received(bound: socket.socket) -> Message:
    """The message of the next datagram."""
    messages: list[Message] = []
    decode_datagram(bound.recv(65_535), messages)
    return messages[0]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_udp_carries_every_version(udp: socket.socket, version: int) -> None:
    """The collector gets the message in the version that was asked for."""
    counters = sending(target(udp, version=version), SIP)
    message = received(udp)
    assert message.hep_version == version
    assert (message.payload, message.source_ip, message.destination_port) == (SIP.payload, "192.0.2.1", 5062)
    assert counters.stored == 1


def test_sip_and_other_messages_are_counted_apart(udp: socket.socket) -> None:
    """What is no SIP is reported, not stored."""
    counters = sending(target(udp), SIP, RTCP, SIP)
    assert (counters.stored, counters.reported) == (2, 1)
    assert [received(udp).payload_type for _ in range(3)] == [1, 5, 1]


def test_capture_id_is_kept_or_replaced(udp: socket.socket) -> None:
    """HEP keeps its capture id, plain SIP gets siptrace's default, and an asked-for id is everybody's."""
    from_hep = replace(SIP, hep_version=3, capture_id=2_001)
    sending(target(udp), SIP, from_hep)
    assert [received(udp).capture_id for _ in range(2)] == [hep.DEFAULT_CAPTURE_ID, 2_001]
    sending(target(udp, capture_id=7), SIP, from_hep)
    assert [received(udp).capture_id for _ in range(2)] == [7, 7]


def test_auth_key_is_sent(udp: socket.socket) -> None:
    """The collector can check the key."""
    sending(target(udp, auth_key=b"secret"), SIP)
    assert received(udp).auth_key == b"secret"


def test_now_replaces_the_captured_time(udp: socket.socket) -> None:
    """With ``now`` the time is that of sending, without it that of the capture."""
    before_us = time.time_ns() // 1_000
    sending(target(udp, now=True), SIP)
    assert before_us <= received(udp).ts_us <= time.time_ns() // 1_000
    sending(target(udp), SIP)
    assert received(udp).ts_us == BASE_TS_US


def test_ipv6_endpoint() -> None:
    """A collector may have an IPv6 address."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as bound:
        try:
            bound.bind(("::1", 0))
        except OSError:
            pytest.skip("this system has no IPv6")
        bound.settimeout(10)
        sending(HepTarget(parse_endpoint(f"[::1]:{bound.getsockname()[1]}")), SIP)
        assert received(bound).payload == SIP.payload


def test_nobody_listening_is_said_once_and_counted(udp_port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Every datagram that the other side refused is dropped, also the last one."""
    with caplog.at_level(logging.WARNING, "sipcap"):
        counters = sending(HepTarget(parse_endpoint(f"127.0.0.1:{udp_port}")), *[SIP] * 5)
    assert counters.dropped == {"refused": 5}
    assert counters.stored == 0
    assert counters.trouble()
    assert len(caplog.records) == 1
    assert "nobody listens" in caplog.text


def test_a_listener_that_comes_later_gets_the_rest(udp_port: int) -> None:
    """A refusal is no reason to give up, and none of the later datagrams is lost to it."""
    counters = Counters()
    sink = HepSink(HepTarget(parse_endpoint(f"127.0.0.1:{udp_port}")), counters)
    sink.open()
    sink.send(replace(SIP), never)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", udp_port))
        bound.settimeout(10)
        for _ in range(3):
            sink.send(replace(SIP), never)
        sink.close()
        for _ in range(3):
            received(bound)
    assert counters.stored == 3
    assert counters.dropped == {"refused": 1}


def test_what_hep_cannot_carry_is_rejected_by_name(udp: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    """Too large for HEP, too large for a datagram, not for this version: each has its reason."""
    with caplog.at_level(logging.WARNING, "sipcap"):
        counters = sending(target(udp), replace(SIP, payload=b"x" * 70_000), replace(SIP, payload=b"x" * 65_420), SIP)
        assert counters.rejected == {"too_big": 2}
        assert counters.stored == 1
        assert "too_big" in caplog.text
        assert sending(target(udp, version=2), RTCP).rejected == {"not_sip": 1}


def test_what_does_not_fit_goes_out_compressed_if_asked_for(udp: socket.socket) -> None:
    """What neither HEP nor a datagram can carry fits compressed, or is rejected by name; all else stays plain."""
    large = [replace(SIP, payload=b"x" * size) for size in (1_000, 65_420, 70_000, 900_000)]
    counters = sending(target(udp, compress=True), *large, replace(SIP, payload=os.urandom(70_000)))
    sizes = []
    for each in large:
        data = udp.recv(65_535)
        messages: list[Message] = []
        decode_datagram(data, messages)
        assert messages[0].payload == each.payload
        sizes.append(len(data))
    assert counters.rejected == {"too_big": 1}
    assert counters.stored == 4
    assert sizes[0] > 1_000
    assert max(sizes[1:]) < 2_000


def test_a_name_that_does_not_resolve_cannot_start() -> None:
    """The error names the endpoint."""
    sink = HepSink(HepTarget(parse_endpoint("no-such-host.invalid:9060")), Counters())
    with pytest.raises(CannotStart, match="no-such-host"):
        sink.open()
    sink.close()


def test_tcp_refused_cannot_start(tcp_port: int) -> None:
    """Without a listener there is nothing to begin with."""
    sink = HepSink(HepTarget(parse_endpoint(f"tcp:127.0.0.1:{tcp_port}")), Counters())
    with pytest.raises(CannotStart, match="refused"):
        sink.open()


def test_tcp_carries_frames_back_to_back(tcp: socket.socket) -> None:
    """All frames arrive whole and in order over one connection."""
    count = 500
    data = bytearray()

    def collect() -> None:
        connection, _ = tcp.accept()
        with connection:
            while chunk := connection.recv(65_536):
                data.extend(chunk)

    collector = threading.Thread(target=collect)
    collector.start()
    counters = sending(target(tcp), *(replace(SIP, payload=sip_message(number)) for number in range(count)))
    collector.join(10)
    assert counters.stored == count
    payloads = []
    while data:
        size = int.from_bytes(data[4:6], "big")
        messages: list[Message] = []
        decode_datagram(bytes(data[:size]), messages)
        payloads.append(messages[0].payload)
        del data[:size]
    assert payloads == [sip_message(number) for number in range(count)]


def test_a_collector_that_does_not_read_does_not_keep_us_from_stopping(tcp: socket.socket) -> None:
    """A full connection waits for its reader, and a stop ends the wait."""
    counters = Counters()
    sink = HepSink(target(tcp), counters)
    sink.open()
    big = replace(SIP, payload=b"x" * 60_000)
    started = time.monotonic()
    while not counters.dropped and time.monotonic() - started < 20:
        sink.send(replace(big), always)
    sink.close()
    assert counters.dropped == {"stopped": 1}
