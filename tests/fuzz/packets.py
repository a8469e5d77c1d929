"""Targets that take packets: what is captured on a wire."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Any

from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.limits import MAX_FRAGMENT_BYTES, TCP_TOTAL_BYTES
from sipcap.sources.packet_decoder import PacketDecoder
from sipcap.sources.passed_over import TcpCounts
from sipcap.wire.fragments import Fragments
from sipcap.wire.ip import SCTP, IpPacket
from sipcap.wire.link import LINK_TYPES
from sipcap.wire.message import Message
from sipcap.wire.packet import Carried
from sipcap.wire.sctp import SctpMessages
from sipcap.wire.stream_messages import StreamMessages
from sipcap.wire.tcp import Segment
from tests.fuzz.cutting import one_of, parts_of, reason_of, records_of

LINKS = sorted(LINK_TYPES)
_FIRST_US = 1_700_000_000_000_000
_STEPS_US = (1, 1_000, 50_001, 2_100_000, 11_000_000, 700_000_000, -300_000_000, -3)
_PORTS = (None, range(5_060, 5_063))
_BATCH = 5


def packets(data: bytes) -> None:
    """Packets of any link type give messages; all that was received is accounted for, and nothing stays behind.

    With and without the compiled twin it is the same.

    The first byte is the link type, the second the time between packets and the port filter, then come packets
    with their lengths.
    """
    if len(data) < 2:
        return
    assert _decoded(data, twins=True) == _decoded(data, twins=False)


def _decoded(data: bytes, *, twins: bool) -> tuple[list[Message], dict[str, Any], Counter[str]]:
    stats, skipped, tcp = Counters(), Counter[str](), TcpCounts()
    decoder = PacketDecoder(stats, skipped, one_of(_PORTS, data[1] >> 3), tcp)
    if not twins:
        decoder._usual = None
    link = LINK_TYPES[one_of(LINKS, data[0])]
    step_us = one_of(_STEPS_US, data[1])
    captured = [(_FIRST_US + at * step_us, frame, link) for at, frame in enumerate(parts_of(data[2:]))]
    messages: list[Message] = []

    def keep(found: list[Message]) -> None:
        assert len(found) == len(decoder.packet_times)
        messages.extend(found)

    for begin in range(0, len(captured), _BATCH):
        keep(decoder.decode(captured[begin : begin + _BATCH]))
    keep(decoder.expire(decoder.last_us + 3_000_000))
    keep(decoder.finish())
    stats.stored += len(messages)
    assert stats.imbalance() == 0
    assert stats.packets == len(captured)
    assert min([*skipped.values(), *tcp.without_sip.values(), *tcp.events.values()], default=1) > 0
    assert tcp.without_sip.total() <= tcp.packets <= stats.packets
    assert not decoder._streams.held
    assert not decoder._sctp.held_bytes
    assert not decoder._unwrapper.fragments.held_bytes
    return messages, stats.as_dict(), skipped


_FRAGMENT = struct.Struct(">BHBB")


def fragments(data: bytes) -> None:
    """Fragments of any place and order give packets that IP can have, within the bound, and none stays behind."""
    puzzles = Fragments()
    ts_us = _FIRST_US
    for record in records_of(data, _FRAGMENT.size):
        flags, place, size, fill = _FRAGMENT.unpack(record)
        ts_us += one_of(_STEPS_US, flags >> 5)
        address = bytes((flags & 1,)) * (16 if flags & 2 else 4)
        more, missing = bool(flags & 4), size if flags & 8 else 0
        offset = (place & 0x1FFF) * 8 if flags & 16 else (place & 15) * 8
        body = bytes((fill & 3,)) * (size * (8 if place & 0x8000 else 1))
        packet = IpPacket(17, address, address, 0, 0, len(body), missing, 1, offset, more)
        try:
            whole = puzzles.add(Carried(17, address, address, 0, body, missing, b"", b"", 0), packet, ts_us)
        except DecodeError as error:
            reason_of(error)
            continue
        if whole is not None:
            assert 0 < len(whole.data) + whole.missing <= 65_535
        assert 0 <= puzzles.held_bytes <= MAX_FRAGMENT_BYTES
        if fill & 4:
            puzzles.expire(ts_us)
    puzzles.finish()
    assert puzzles.held_bytes == 0
    assert all(lost.pieces > 0 for lost in puzzles.lost)


_SEGMENT = struct.Struct(">BBhBB")


def segments(data: bytes) -> None:
    """TCP segments in any order give messages; nothing is held at the end, and meanwhile no more than is allowed.

    Two bytes say how long the text is that the segments are cut from, at any place of it.
    """
    size = int.from_bytes(data[:2], "big")
    text, rest = data[2 : 2 + size], data[2 + size :]
    streams = StreamMessages(one_of(_PORTS, size >> 8))
    ts_us, sequences = _FIRST_US, [[1_000, 2**32 - 9], [2**31, 7]]
    for record in records_of(rest, _SEGMENT.size):
        which, flags, ahead, at, length = _SEGMENT.unpack(record)
        ts_us += one_of(_STEPS_US, which >> 4)
        one, other = bytes((10, 0, 0, which & 1)), bytes((10, 0, 0, 9))
        ends = [(one, 40_000), (other, 5_060)]
        side = which >> 1 & 1
        (source, source_port), (destination, destination_port) = ends[side], ends[1 - side]
        payload = text[at * 8 : at * 8 + length]
        base = sequences[which & 1]
        sequence = (base[side] + (ahead << 16 if which & 4 else ahead >> 8)) & 0xFFFF_FFFF
        if ahead & 0xFF < 0xC0:
            sequence = base[side]
            base[side] = (base[side] + len(payload) + bool(flags & 3)) & 0xFFFF_FFFF
        streams.receive(
            Segment(
                ts_us, source, source_port, destination, destination_port, b"", sequence, flags, payload,
                length if which & 8 else 0, {}, base[1 - side],
            )
        )  # fmt: skip
        assert 0 <= streams.held <= TCP_TOTAL_BYTES
    streams.finish()
    assert streams.held == 0
    assert len(streams) == 0


def streams(data: bytes) -> None:
    """A connection whose sides speak in turn gives messages, whatever they say, and is forgotten at its end.

    The first byte tells how it begins, then come the pieces with their lengths, one of each side in turn.
    """
    messages = StreamMessages()
    sequences = [1_000, 900_000]
    ends = [(b"\x0a\0\0\1", 40_000), (b"\x0a\0\0\2", 443)]
    ts_us, mode = _FIRST_US, data[0] if data else 0

    def send(side: int, flags: int, payload: bytes = b"") -> None:
        (source, port), (destination, other_port) = ends[side], ends[1 - side]
        messages.receive(
            Segment(
                ts_us, source, port, destination, other_port, b"", sequences[side], flags, payload, 0, {},
                sequences[1 - side],
            )
        )  # fmt: skip
        sequences[side] += len(payload) + bool(flags & 3)

    if mode & 1:
        send(0, 2)
        send(1, 18)
    for number, part in enumerate(parts_of(data[1:])):
        ts_us += 1_000 if mode & 2 else 2_500_000
        side = number & 1 if mode & 4 else 0
        if mode & 8 and number % 5 == 4:
            sequences[side] += len(part)  # the capture has lost it
            continue
        send(side, 16, part)
    if mode & 16:
        send(0, 17)
        send(1, 17)
    messages.finish()
    assert messages.held == 0
    assert len(messages) == 0


_CHUNK = struct.Struct(">BBB")


def sctp(data: bytes) -> None:
    """DATA chunks of any number and flags give messages, and none stays behind."""
    user = SctpMessages()
    ts_us = _FIRST_US
    for record in records_of(data, 3 * _CHUNK.size):
        chunks = []
        for flags, number, size in _CHUNK.iter_unpack(record):
            ahead = number | (1 << 31 if flags & 4 else 0) | (0xFFFF_FF00 if flags & 8 else 0)
            user_data = b"x" * (size & 0x0F)
            chunk = struct.pack(">BBHIHHI", 0, flags & 3, 16 + len(user_data), ahead, 0, 0, 0) + user_data
            chunks.append(chunk + bytes(-len(chunk) % 4))
        ts_us += one_of(_STEPS_US, record[0] >> 5)
        packet = struct.pack(">HHII", 5_060, 5_060, record[0] >> 4 & 1, 0) + b"".join(chunks)
        missing = 8 if record[2] & 0x80 else 0
        try:
            user.receive(Carried(SCTP, b"\1" * 4, b"\2" * 4, 0, packet, missing, b"", b"\0\0", 0), ts_us)
        except DecodeError as error:
            reason_of(error)
        assert 0 <= user.held_bytes <= MAX_FRAGMENT_BYTES
        if record[2] & 0x40:
            user.expire(ts_us)
    user.finish()
    assert user.held_bytes == 0
    assert not user._row_ends
