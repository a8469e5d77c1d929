"""Packets that go on to other collectors: byte for byte, once, and never in the way of the capture."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from sipcap import forwarding
from sipcap.counters import Counters
from sipcap.extract import Extractor
from sipcap.forwarding import Forwarder
from sipcap.routes import Routes, make_route
from sipcap.sources.hep_gate import HepGate
from sipcap.wire.message import Message
from tests.support.background import wait_for
from tests.support.messages import BASE_TS_US, chunk, hep3_datagram, hep3_with, hep12, sip, sip_message

PATIENCE_S = 20.0


@contextlib.contextmanager
def udp_collector() -> Iterator[socket.socket]:
    """A collector on a free UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(PATIENCE_S)
        yield collector


@contextlib.contextmanager
def tcp_collector(port: int = 0) -> Iterator[socket.socket]:
    """A collector that listens on a TCP port."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        listening.settimeout(PATIENCE_S)
        yield listening


def port_of(bound: socket.socket) -> int:
    """Its port."""
    return int(bound.getsockname()[1])


def to(endpoint: str, **conditions: str) -> Routes:
    """One route that forwards."""
    return Routes([make_route("f", {"forward": endpoint, **conditions})])


def send(forwarder: Forwarder, *datagrams: bytes) -> None:
    """Let datagrams come in as at a HEP socket, and forward what is a message."""
    extractor = Extractor()
    for message in HepGate(Counters()).decode(list(datagrams)):
        forwarder.forward(message, extractor.record(message, BASE_TS_US))


def told(forwarder: Forwarder, counters: Counters) -> int:
    """How many packets are counted by now."""
    forwarder.count()
    return counters.forwarded + counters.forward_dropped


def received(connection: socket.socket, size: int) -> bytes:
    """So many bytes of a stream."""
    connection.settimeout(PATIENCE_S)
    data = b""
    while len(data) < size and (piece := connection.recv(65_536)):
        data += piece
    return data


def test_udp_sends_the_packet_as_it_came() -> None:
    """HEP 1 and 3, vendor chunks and trailing bytes: what was received goes on, untouched."""
    packets = [hep12(sip()), hep3_with(sip(), chunk(9_999, b"?", vendor=77)), hep3_with(sip()) + b"trailing"]
    counters = Counters()
    with udp_collector() as collector:
        with Forwarder(to(f"udp:127.0.0.1:{port_of(collector)}"), counters) as forwarder:
            send(forwarder, *packets)
        assert [collector.recv(65_535) for _ in packets] == packets
    assert (counters.forwarded, counters.forward_dropped) == (3, 0)


def test_packet_with_several_messages_goes_once() -> None:
    """All of them came in one datagram, and it is one datagram that goes on; the same one again is another."""
    packet = hep3_with(sip()) * 3
    counters = Counters()
    with udp_collector() as collector:
        with Forwarder(to(f"udp:127.0.0.1:{port_of(collector)}"), counters) as forwarder:
            send(forwarder, packet, bytes(bytearray(packet)))
        assert [collector.recv(65_535) for _ in range(2)] == [packet] * 2
        collector.setblocking(False)
        with pytest.raises(BlockingIOError):
            collector.recv(65_535)
    assert counters.forwarded == 2


def test_only_what_the_route_takes_goes_on() -> None:
    """The route of a message is the first that holds, also if it is another that forwards."""
    with udp_collector() as collector:
        endpoint = f"udp:127.0.0.1:{port_of(collector)}"
        routes = Routes([
            make_route("byes", {"methods": "BYE", "table": "t"}),
            make_route("rest", {"source": "10.1.1.0/24", "forward": endpoint}),
        ])  # fmt: skip
        counters = Counters()
        with Forwarder(routes, counters) as forwarder:
            send(forwarder, hep3_with(sip("BYE")), hep3_with(sip("INVITE")), hep3_datagram(5))
        assert collector.recv(65_535) == hep3_with(sip("INVITE"))
    assert counters.forwarded == 1


def test_what_came_without_hep_goes_as_its_payload() -> None:
    """A mirrored message is sent as the module sends its buffer."""
    with udp_collector() as collector:
        with Forwarder(to(f"udp:127.0.0.1:{port_of(collector)}"), Counters()) as forwarder:
            message = Message(sip(), BASE_TS_US, "10.0.0.1")
            forwarder.forward(message, Extractor().record(message, 0))
        assert collector.recv(65_535) == sip()


def test_tcp_sends_frames_without_what_trails_them() -> None:
    """A stream is read by its lengths: a datagram's trailing bytes would put its reader out of step."""
    with tcp_collector() as listening:
        counters = Counters()
        with Forwarder(to(f"tcp:127.0.0.1:{port_of(listening)}"), counters) as forwarder:
            send(forwarder, hep3_datagram(0) + hep3_datagram(1) + b"xx", hep3_datagram(2), hep12(sip()))
            connection, _ = listening.accept()
            wanted = b"".join(map(hep3_datagram, range(3)))
            assert received(connection, len(wanted)) == wanted
            connection.close()
    assert (counters.forwarded, counters.forward_dropped) == (2, 1)


def test_tcp_collector_that_restarts_gets_what_comes_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is closed is made again, and no frame is torn."""
    monkeypatch.setattr(forwarding, "FORWARD_RETRY_S", 0.05)
    counters = Counters()
    with tcp_collector() as listening:
        port = port_of(listening)
        forwarder = Forwarder(to(f"tcp:127.0.0.1:{port}"), counters)
        with forwarder:
            send(forwarder, hep3_datagram(0))
            connection, _ = listening.accept()
            assert received(connection, len(hep3_datagram(0))) == hep3_datagram(0)
            connection.close()
            listening.close()
            time.sleep(0.05)
            send(forwarder, hep3_datagram(1), hep3_datagram(2))
            time.sleep(0.2)
            with tcp_collector(port) as again:
                connection, _ = again.accept()
                wanted = hep3_datagram(1) + hep3_datagram(2)
                assert received(connection, len(wanted)) == wanted
                connection.close()
    assert (counters.forwarded, counters.forward_dropped) == (3, 0)


def test_queue_that_is_full_drops_and_counts(monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
    """A collector that does not read costs its own packets; the capture does not wait, the log stays small."""
    monkeypatch.setattr(forwarding, "FORWARD_QUEUE_BYTES", 20_000)
    monkeypatch.setattr(forwarding, "FORWARD_DRAIN_S", 0.2)
    counters = Counters()
    with tcp_collector() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        with Forwarder(to(f"tcp:127.0.0.1:{port_of(listening)}"), counters) as forwarder:
            began_s = time.monotonic()
            for number in range(20_000):
                message = Message(sip_message(number), frame=hep3_datagram(number % 50), hep_version=3)
                forwarder.forward(message, RECORD)
            assert time.monotonic() - began_s < PATIENCE_S
            forwarder.count()
            assert counters.forward_dropped > 10_000
    assert counters.forwarded + counters.forward_dropped == 20_000
    assert 1 <= len([text for text in log.messages if "wait already" in text]) < 4


RECORD = Extractor().record(Message(sip()), 1)


@pytest.mark.parametrize("endpoint", ["udp:no-such-host.invalid:9060", "tcp:127.0.0.1:1"])
def test_collector_that_cannot_be_reached_is_told_and_ends_nothing(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """A name that is gone, or a port that nobody has: the packets count as dropped at the end."""
    monkeypatch.setattr(forwarding, "FORWARD_RETRY_S", 0.05)
    counters = Counters()
    began_s = time.monotonic()
    with Forwarder(to(endpoint), counters) as forwarder:
        send(forwarder, hep3_datagram(0), hep3_datagram(1))
        wait_for(lambda: f"forwarding to {endpoint}" in log.text, "a warning")
    assert (counters.forwarded, counters.forward_dropped) == (0, 2)
    assert time.monotonic() - began_s < PATIENCE_S


def test_udp_collector_that_is_away_for_a_while(log: pytest.LogCaptureFixture) -> None:
    """Datagrams that nobody takes are dropped and counted; those behind them arrive."""
    counters = Counters()
    with udp_collector() as collector:
        port = port_of(collector)
    with Forwarder(to(f"udp:127.0.0.1:{port}"), counters) as forwarder:
        send(forwarder, *map(hep3_datagram, range(9)))
        wait_for(lambda: told(forwarder, counters) == 9, "nine packets")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", port))
            again.settimeout(PATIENCE_S)
            send(forwarder, hep3_datagram(9), hep3_datagram(10))
            assert again.recv(65_535) in (hep3_datagram(9), hep3_datagram(10))
    assert counters.forwarded + counters.forward_dropped == 11
    assert counters.forward_dropped >= 8
    assert "nobody listens there" in log.text


def test_counters_never_fall() -> None:
    """That nobody took a datagram shows after it was sent: until then it is in neither counter, then in one of them."""
    counters = Counters()
    with udp_collector() as collector:
        port = port_of(collector)
    seen: list[tuple[int, int]] = []

    def look() -> int:
        total = told(forwarder, counters)
        seen.append((counters.forwarded, counters.forward_dropped))
        return total

    with Forwarder(to(f"udp:127.0.0.1:{port}"), counters) as forwarder:
        for number in range(30):
            send(forwarder, hep3_datagram(number))
            until_s = time.monotonic() + 0.02
            while time.monotonic() < until_s:
                look()
        wait_for(lambda: look() == 30, "all of them")
    sent, dropped = zip(*seen, strict=True)
    assert list(sent) == sorted(sent)
    assert list(dropped) == sorted(dropped)
    assert (counters.forwarded, counters.forward_dropped) == (0, 30)


def test_datagram_that_is_too_large_is_dropped() -> None:
    """A frame that came over TCP may not fit one datagram of UDP."""
    counters = Counters()
    with udp_collector() as collector:
        with Forwarder(to(f"udp:127.0.0.1:{port_of(collector)}"), counters) as forwarder:
            send(forwarder, hep3_with(sip(body=bytes(65_520 - len(hep3_with(sip()))))), hep3_datagram(0))
        assert collector.recv(65_535) == hep3_datagram(0)
    assert (counters.forwarded, counters.forward_dropped) == (1, 1)


def test_memory_that_is_used_up_for_a_moment_costs_no_packet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that runs has taken it, and gives it back: the thread of the destination goes on."""
    connect = forwarding.Destination._connect
    failures = [MemoryError(), MemoryError()]

    def starved(destination: forwarding.Destination) -> socket.socket:
        if failures:
            raise failures.pop()
        return connect(destination)

    monkeypatch.setattr(forwarding.Destination, "_connect", starved)
    counters = Counters()
    with udp_collector() as collector, Forwarder(to(f"udp:127.0.0.1:{port_of(collector)}"), counters) as forwarder:
        send(forwarder, hep3_datagram(0))
        assert collector.recv(65_535) == hep3_datagram(0)
    assert (failures, counters.forwarded, counters.forward_dropped) == ([], 1, 0)
