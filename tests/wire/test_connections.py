"""The bounds of what is kept of TCP connections, and what happens at them."""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from sipcap.limits import (
    TCP_HELD_BYTES,
    TCP_IDLE_US,
    TCP_TOTAL_BYTES,
)
from sipcap.wire import connections as connections_module
from sipcap.wire.connections import Connections
from sipcap.wire.flow import Flow
from sipcap.wire.segments import Piece
from sipcap.wire.stream_messages import StreamMessages
from sipcap.wire.tcp import Segment
from tests.support.packets import DESTINATION
from tests.support.tcp import ACK, FIRST_US, SYN, TLS_DATA, Side, Talk

A = b"INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nCall-ID: 1\r\nContent-Length: 0\r\n\r\n"
OPEN_HEAD = A[:40]
SMALL = 1_024
TCP_OPENING_COST, CONNECTION_COST, TCP_IGNORED_COST = 500, 4_000, 500
"""Bytes that one entry of each table may take, with those that the flood itself takes; limits.py counts on it."""


def talk(number: int, ts_us: int = FIRST_US) -> Talk:
    """A connection of its own for each number."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return Talk(Side(address, 40_000, 1_000), Side(DESTINATION, 5060, 9_000), ts_us)


def payloads(streams: StreamMessages, segments: list[Segment]) -> list[bytes]:
    """Messages of these segments."""
    return [message.payload for segment in segments for message in streams.receive(segment)]


def traced(streams: StreamMessages, segments: Iterator[Segment]) -> int:
    """The most bytes that a flood has the streams allocate."""
    tracemalloc.start()
    try:
        for segment in segments:
            streams.receive(segment)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Tables of a size that a test fills quickly."""
    for name in ("TCP_CONNECTIONS", "TCP_OPENINGS", "TCP_IGNORED"):
        monkeypatch.setattr(connections_module, name, SMALL)
    return SMALL


def test_flood_of_syns_pushes_out_no_connection_and_costs_little(small: int) -> None:
    """Half-open connections take no room of those that carry something."""
    streams = StreamMessages()
    real = talk(0).open().ask(A)
    assert payloads(streams, real.segments) == [A]
    flood = (talk(number).open().segments[0] for number in range(1, 4 * small))
    assert traced(streams, flood) < small * TCP_OPENING_COST
    assert len(streams) == 1
    assert len(streams._connections._openings) == small
    real.segments.clear()
    assert payloads(streams, real.ask(A).segments) == [A]
    assert streams.skipped["tcp_evicted"] == 0


def test_flood_of_connections_is_bounded_and_those_in_use_stay(small: int) -> None:
    """Where the table is full, those silent longest are given up, and counted."""
    streams = StreamMessages()
    real = talk(0).open()
    payloads(streams, real.segments)

    def flood() -> Iterator[Segment]:
        for number in range(1, 2 * small):
            if number % (small // 4) == 0:
                real.ts_us = FIRST_US + number
                real.segments.clear()
                yield from real.ask(A).segments
            yield from talk(number, FIRST_US + number).ask(OPEN_HEAD).segments

    assert traced(streams, flood()) < small * CONNECTION_COST
    assert len(streams) <= small
    real.segments.clear()
    assert payloads(streams, real.ask(A).segments) == [A]
    streams.finish()
    assert streams.skipped["tcp_evicted"] >= small - 1
    assert streams.rejected["incomplete"] == 2 * small - 1
    assert streams.held == 0


@pytest.mark.parametrize("hole", [False, True])
def test_flood_of_unfinished_messages_holds_a_bounded_number_of_bytes(hole: bool) -> None:
    """Bytes are bounded over all streams, be they segments behind a hole or messages without end."""
    streams = StreamMessages()
    big = b"Content-Length: 1000000\r\n\r\n" + b"x" * 60_000

    def flood() -> Iterator[Segment]:
        for number in range(1_500):
            one = talk(number, FIRST_US + number).open()
            yield from (one.lose(9) if hole else one).ask(A.replace(b"Content-Length: 0\r\n\r\n", big), big).segments

    assert traced(streams, flood()) < 2 * TCP_TOTAL_BYTES
    assert streams.held <= TCP_TOTAL_BYTES
    assert streams.held > TCP_TOTAL_BYTES // 2
    streams.finish()
    assert streams.held == 0
    assert streams.skipped["tcp_evicted"] > 0


def test_flood_of_single_bytes_counts_what_they_cost() -> None:
    """Tiny segments behind a hole are bounded by what holding them costs."""
    streams = StreamMessages()
    one = talk(1).open().lose(5)

    def flood() -> Iterator[Segment]:
        for number in range(20_000):
            one.segments.clear()
            one.ts_us = FIRST_US + number
            yield from one.ask(b"x").lose(1).segments

    assert traced(streams, flood()) < 4 * TCP_HELD_BYTES
    assert streams.held <= 2 * TCP_HELD_BYTES


def test_connections_of_no_sip_are_ignored_at_a_bounded_cost(small: int) -> None:
    """Of a connection known to be no SIP, no byte is kept, and no more than so many are remembered."""
    streams = StreamMessages()

    def flood() -> Iterator[Segment]:
        for number in range(small):
            yield from talk(number).open().ask(TLS_DATA).segments

    traced(StreamMessages(), flood())  # fills the bounded caches of addresses, which all share
    assert traced(streams, flood()) < small * TCP_IGNORED_COST
    assert (streams.held, len(streams)) == (0, 0)
    assert len(streams._connections._ignored) == small
    assert streams.skipped["tls"] == small


def test_connection_without_traffic_is_forgotten_and_picked_up_again() -> None:
    """A connection that was silent for long begins anew, without its SYN."""
    streams = StreamMessages()
    one = talk(1).open().ask(A)
    payloads(streams, one.segments)
    streams.expire(one.ts_us + TCP_IDLE_US + 1_000_000)
    assert len(streams) == 0
    one.segments.clear()
    one.wait(2 * TCP_IDLE_US / 1_000_000).ask(A, A)
    assert payloads(streams, one.segments) == []
    assert [message.payload for message in streams.finish()] == [A, A]


def test_connection_that_has_ended_takes_late_copies_for_what_they_are() -> None:
    """A retransmission captured behind the end does not pass for a new connection."""
    streams = StreamMessages()
    one = talk(1).open().ask(A).close()
    assert payloads(streams, [*one.segments, one.segments[3]]) == [A]
    streams.expire(one.ts_us + 60_000_000)
    assert len(streams) == 0


def test_connections_of_two_networks_with_the_same_addresses_are_two() -> None:
    """The scope of VLANs and tunnels belongs to a connection."""
    streams = StreamMessages()
    one = talk(1).open().ask(A[:50], A[50:])
    other = [segment._replace(scope=b"vlan 7") for segment in one.segments]
    both = [segment for pair in zip(one.segments, other, strict=True) for segment in pair]
    assert payloads(streams, both) == [A, A]


def test_times_that_jump_lose_no_message() -> None:
    """Packet times are whatever the capture says: backwards, far ahead, all the same."""
    chance = random.Random(7)
    streams = StreamMessages()
    one = talk(1).open().ask(*[A] * 300)
    jumping = [each._replace(ts_us=chance.choice((1, FIRST_US, 2 * FIRST_US, each.ts_us))) for each in one.segments]
    got = payloads(streams, jumping) + [message.payload for message in streams.finish()]
    assert got == [A] * 300


class _Silent:
    """Wants everything, keeps nothing."""

    def __init__(self) -> None:
        self.taken = 0

    def take_whole(self, flow: Flow, segment: Segment) -> bool:
        """See ``User``."""
        return flow.is_gone and bool(segment.missing)

    def take(self, flow: Flow, pieces: list[Piece]) -> None:
        """See ``User``."""
        self.taken += sum(len(piece.data) for piece in pieces) + flow.is_gone

    def settle(self, flow: Flow) -> None:
        """See ``User``."""

    def close(self, flow: Flow) -> None:
        """See ``User``."""


def test_segments_of_random_flags_and_numbers_are_accounted_for() -> None:
    """What is held is the sum over what is followed, whatever comes, and nothing is left at the end."""
    chance = random.Random(3)
    user = _Silent()
    connections = Connections(user)
    for number in range(20_000):
        ends = [(bytes((10, 0, 0, chance.randrange(4))), 40_000), (b"\xc0\0\2\2", 5060)]
        chance.shuffle(ends)
        flags = chance.choice((ACK, ACK, ACK, SYN, SYN | ACK, ACK | 1, 4, 0))
        size = chance.choice((0, 1, 100))
        sequence = chance.choice((0, 0xFFFF_FF00, 1_000)) + chance.randrange(500)
        connections.receive(
            Segment(
                FIRST_US + number * 1_000, *ends[0], *ends[1], b"", sequence & 0xFFFF_FFFF, flags, b"x" * size,
                chance.choice((0, 0, 0, 7)), {}, chance.randrange(1 << 32),
            )
        )  # fmt: skip
        if number % 500 == 0:
            flows = list(connections._flows.values())
            assert connections.held == sum(flow.cost for flow in flows) == sum(flow.segments.cost for flow in flows)
    connections.finish()
    assert (connections.held, len(connections), len(connections._waiting)) == (0, 0, 0)
    assert user.taken


def test_many_waiting_streams_cost_linear_time() -> None:
    """Each segment costs the same, however many streams wait for something."""
    streams = StreamMessages()
    began = time.perf_counter()
    for number in range(8_000):
        one = talk(number, FIRST_US + number * 10).open().lose(9).ask(A)
        for segment in one.segments:
            streams.receive(segment)
    assert time.perf_counter() - began < 20
