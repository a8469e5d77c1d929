"""One UDP socket: buffers, peers, the kernel's drops, the last datagrams."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from sipcap.counters import Counters
from sipcap.sources.addresses import PeerFilter, parse_networks
from sipcap.sources.hep_udp import UdpPort

SMALL_BUFFER = 8_192


class Line:
    """A UdpPort and somebody who sends to it."""

    def __init__(self, allow: list[str] | None = None) -> None:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.bind(("127.0.0.1", 0))
        bound.setblocking(False)
        self.stats = Counters()
        self.port = UdpPort(bound, self.stats, PeerFilter(parse_networks(allow)) if allow else None)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.connect(bound.getsockname())

    def send(self, *datagrams: bytes) -> None:
        """Put datagrams into the port's buffer, or lose them there."""
        for datagram in datagrams:
            self.sender.send(datagram)

    def close(self) -> None:
        """Close both ends."""
        self.port.close()
        self.sender.close()


@pytest.fixture
def line() -> Iterator[Line]:
    """A port that hears everybody."""
    made = Line()
    yield made
    made.close()


def numbered(count: int) -> list[bytes]:
    """So many datagrams that differ."""
    return [b"%05d" % number for number in range(count)]


def test_receive_takes_what_waits_in_order(line: Line) -> None:
    """Datagrams come whole and in the order of their arrival, empty ones too."""
    sent = [b"one", b"", b"x" * 65_507, b"four"]
    line.send(*sent)
    assert (line.port.receive(), line.port.empty) == (sent, True)
    assert line.port.receive() == []


def test_receive_stops_at_its_limit(line: Line) -> None:
    """One socket does not keep the others waiting for longer than its batch."""
    line.send(*numbered(10))
    assert (line.port.receive(4), line.port.empty) == (numbered(10)[:4], False)
    assert (line.port.receive(100), line.port.empty) == (numbered(10)[4:], True)


def test_receive_counts_whom_it_does_not_hear() -> None:
    """A datagram of a peer that is not allowed is counted with its size and goes no further."""
    line = Line(["192.0.2.0/24"])
    line.send(b"abc", b"de")
    assert line.port.receive() == []
    stats = line.stats
    assert (stats.received, stats.datagrams, stats.bytes, stats.rejected) == (2, 2, 5, {"not_allowed": 2})
    assert stats.imbalance() == 0
    line.close()


def test_receive_tells_refused_datagrams_from_an_empty_socket() -> None:
    """A batch of which nothing is left does not mean that nothing waits behind it."""
    line = Line(["192.0.2.0/24"])
    line.send(*numbered(10))
    assert (line.port.receive(4), line.port.empty) == ([], False)
    assert (line.port.receive(), line.port.empty) == ([], True)
    line.close()


def test_receive_hears_allowed_peers() -> None:
    """Who is allowed is heard as if there were no list."""
    line = Line(["127.0.0.0/8"])
    line.send(b"a", b"b")
    assert line.port.receive() == [b"a", b"b"]
    line.close()


def test_receive_survives_an_icmp_error() -> None:
    """Where an earlier answer of somebody could not be delivered, the next read says so, once."""

    class Unreachable(socket.socket):
        said = False

        def recv(self, size: int, flags: int = 0) -> bytes:
            if not self.said:
                self.said = True
                raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
            return super().recv(size, flags)

    with Unreachable(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.setblocking(False)
        bound.sendto(b"x", bound.getsockname())
        port = UdpPort(bound, Counters(), None)
        assert (port.receive(), port.empty) == ([], False)
        assert port.receive() == [b"x"]


@pytest.mark.parametrize("wanted", [4_096, 4_097, 65_536, 131_072])
def test_grant_buffer_gives_what_any_system_allows(line: Line, wanted: int) -> None:
    """A modest wish is granted to the byte, as the system counts bytes."""
    assert line.port.grant_buffer(wanted) in (wanted, wanted + 1)
    assert line.port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in (wanted, wanted + 1)


def test_grant_buffer_reports_less_than_asked_for(line: Line) -> None:
    """What the system does not give is not claimed; the largest number that can be asked for does no harm."""
    granted = line.port.grant_buffer(2**31 - 2)
    assert 0 < granted < 2**31
    assert granted == line.port.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def test_count_drops_adds_up_to_what_was_sent(line: Line) -> None:
    """What the kernel could not keep is counted: read plus dropped is sent, over several overflows."""
    line.port.grant_buffer(SMALL_BUFFER)
    read = 0
    for _ in range(3):
        line.send(*numbered(200))
        read += len(line.port.receive(1_000))
        line.port.count_drops()
        line.port.count_drops()
    assert 0 < read < 600
    assert read + line.stats.kernel_dropped == 600


def test_count_drops_counts_what_was_lost_before_the_first_read(line: Line) -> None:
    """A burst between bind and the first read is not forgotten."""
    line.port.grant_buffer(SMALL_BUFFER)
    line.send(*numbered(200))
    again = UdpPort(line.port.socket, line.stats, None)
    read = len(again.receive(1_000))
    again.count_drops()
    assert read + line.stats.kernel_dropped == 200


def test_refuse_more_keeps_what_waits_and_refuses_the_rest(line: Line) -> None:
    """A drain ends although somebody goes on sending; what comes too late is no loss of ours."""
    line.send(*numbered(3))
    line.port.refuse_more()
    line.send(b"late", b"later")
    assert (line.port.receive(), line.port.empty) == (numbered(3), True)
    line.port.count_drops()
    assert line.stats.kernel_dropped == 0


def test_refuse_more_counts_the_drops_before_it(line: Line) -> None:
    """What was lost before the stop is still told."""
    line.port.grant_buffer(SMALL_BUFFER)
    line.send(*numbered(200))
    line.port.refuse_more()
    line.send(*numbered(200))
    assert len(line.port.receive(1_000)) + line.stats.kernel_dropped == 200


def test_discard_counts_what_nobody_looked_at(line: Line) -> None:
    """What is left when the time to drain is over is lost, but not silently."""
    line.send(b"abc", b"", b"de")
    line.port.refuse_more()
    line.port.discard()
    stats = line.stats
    assert (stats.received, stats.datagrams, stats.bytes, stats.dropped) == (3, 3, 5, {"drain_timeout": 3})
    assert stats.imbalance() == 0
    assert line.port.receive() == []
