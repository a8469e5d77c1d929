"""SCTP packets to the user messages in their DATA chunks: one is one SIP message (RFC 4168 section 5).

Source: RFC 9260 sections 3 and 6.9.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.limits import MAX_FRAGMENT_BYTES, MAX_FRAGMENTED_PACKETS, MAX_FRAGMENTS, SCTP_TIMEOUT_US
from sipcap.wire.ip import SCTP
from sipcap.wire.packet import Carried, Datagram

CHUNK_COST: Final = 1_000
"""What Python keeps beside the bytes of a chunk that waits (measured by a test)."""

_PACKET = struct.Struct(">HHI4x").unpack_from
_CHUNK = struct.Struct(">BBH").unpack_from
_DATA: Final = 0
_DATA_HEADER: Final = 16
_ENDS, _BEGINS = 1, 2
_NUMBERS: Final = 1 << 32
_WINDOW: Final = 1_024
"""Transmission numbers behind the highest of which each is known to have come or not; more are not on the way."""

_Flow = tuple[bytes, bytes, bytes, int, int, int]


class Chunk(NamedTuple):
    """One DATA chunk: its flags and transmission sequence number, and what is there of its user data."""

    flags: int
    number: int
    data: bytes
    missing: int


class LostChunk(NamedTuple):
    """A part of a message that will never be whole; ``beginning`` is None if it is not the first part."""

    reason: str
    beginning: Datagram | None


def data_chunks(packet: bytes, missing: int = 0) -> Iterator[Chunk]:
    """The DATA chunks of an SCTP packet.

    Args:
        packet: from its common header on.
        missing: how many bytes the capture has cut off behind it.

    Raises:
        DecodeError: ``sctp_length``: a chunk is shorter than its header, or longer than the packet.
    """
    offset = 12
    end = len(packet) + missing
    while offset + 4 <= len(packet):
        kind, flags, size = _CHUNK(packet, offset)
        if size < 4 or offset + size > end:
            raise DecodeError("sctp_length")
        if kind == _DATA:
            if size <= _DATA_HEADER:
                raise DecodeError("sctp_length")
            data = packet[offset + _DATA_HEADER : offset + size]
            if offset + 8 <= len(packet):
                number = int.from_bytes(packet[offset + 4 : offset + 8], "big")
                yield Chunk(flags, number, data, size - _DATA_HEADER - len(data))
        offset += (size + 3) & ~3


def _chunks(carried: Carried) -> list[Chunk]:
    """All DATA chunks up to one that is broken, and at least one."""
    chunks = []
    reason = "short" if carried.missing else "sctp"
    try:
        for chunk in data_chunks(carried.data, carried.missing):
            chunks.append(chunk)  # noqa: PERF402  # those before an error are kept
    except DecodeError as error:
        reason = error.reason
    if not chunks:
        raise DecodeError(reason)
    return chunks


class SctpMessages:
    """Makes user messages of chunks, in whatever order these come, and leaves out those sent again.

    Memory is bounded: the chunk that has waited longest goes first, with those next to it. ``lost`` collects what has
    been given up, for the caller to take out.
    """

    def __init__(self) -> None:
        self.lost: list[LostChunk] = []
        self.held_bytes = 0
        self._waiting: OrderedDict[tuple[_Flow, int], tuple[int, Chunk, Datagram]] = OrderedDict()
        # Of the first number of a row (see _put_to_row) the last, and the other way round.
        self._row_ends: dict[tuple[_Flow, int], int] = {}
        self._seen: OrderedDict[_Flow, _Window] = OrderedDict()

    def receive(self, carried: Carried, ts_us: int) -> list[Datagram]:
        """Take in an SCTP packet.

        Returns:
            The messages that are whole with it; none, if its chunks wait for others.

        Raises:
            DecodeError: ``short``, ``sctp`` (no data), ``sctp_again`` (all of its data came before),
                or a reason of ``data_chunks``.
        """
        if len(carried.data) < 12:
            raise DecodeError("short" if carried.missing else "sctp_length")
        source_port, destination_port, tag = _PACKET(carried.data)
        flow = (carried.scope, carried.source, carried.destination, source_port, destination_port, tag)
        empty = Datagram(
            b"", carried.source, source_port, carried.destination, destination_port, carried.header, carried.tos, 0,
            SCTP, carried.scope, carried.depth,
        )  # fmt: skip
        chunks = _chunks(carried)
        new = [chunk for chunk in chunks if self._is_new(flow, chunk.number)]
        if not new:
            raise DecodeError("sctp_again")
        messages = (self._add(flow, chunk, empty, ts_us) for chunk in new)
        return [message for message in messages if message is not None]

    def _is_new(self, flow: _Flow, number: int) -> bool:
        window = self._seen.get(flow)
        if window is None:
            window = self._seen[flow] = _Window(number)
            if len(self._seen) > MAX_FRAGMENTED_PACKETS:
                self._seen.popitem(last=False)
        return window.add(number)

    def _add(self, flow: _Flow, chunk: Chunk, empty: Datagram, ts_us: int) -> Datagram | None:
        if chunk.flags & _BEGINS and chunk.flags & _ENDS:
            return _joined([chunk], empty)
        if (flow, chunk.number) in self._waiting:
            self._give_up((flow, chunk.number), "fragment")  # the flow has begun anew: its numbers come again
        self._waiting[flow, chunk.number] = (ts_us, chunk, empty)
        self.held_bytes += len(chunk.data) + CHUNK_COST
        first, last = self._put_to_row(flow, chunk)
        size = (last - first) % _NUMBERS + 1
        is_whole = self._flags(flow, first) & _BEGINS and self._flags(flow, last) & _ENDS and size <= MAX_FRAGMENTS
        if is_whole:
            return _joined([part for part, _ in self._take_row(flow, first, size)], empty)
        while self.held_bytes > MAX_FRAGMENT_BYTES:
            self._give_up(next(iter(self._waiting)), "fragment_memory")
        return None

    def _put_to_row(self, flow: _Flow, chunk: Chunk) -> tuple[int, int]:
        """The first and the last number of the row that a chunk is in now.

        A row is a message as far as it is there without a gap. Its two ends know each other: whoever sends parts
        without a beginning or an end must not make us walk along all of them for each.
        """
        first = last = chunk.number
        before, behind = (first - 1) % _NUMBERS, (last + 1) % _NUMBERS
        if not chunk.flags & _BEGINS and not self._flags(flow, before, _ENDS) & _ENDS:
            first = self._row_ends.pop((flow, before))
        if not chunk.flags & _ENDS and not self._flags(flow, behind, _BEGINS) & _BEGINS:
            last = self._row_ends.pop((flow, behind))
        self._row_ends[flow, first] = last
        self._row_ends[flow, last] = first
        return first, last

    def _flags(self, flow: _Flow, number: int, default: int = 0) -> int:
        """The flags of a chunk that waits."""
        waiting = self._waiting.get((flow, number))
        return default if waiting is None else waiting[1].flags

    def _take_row(self, flow: _Flow, first: int, size: int) -> list[tuple[Chunk, Datagram]]:
        """Take a whole row out."""
        row = []
        for number in range(first, first + size):
            _, chunk, empty = self._waiting.pop((flow, number % _NUMBERS))
            self.held_bytes -= len(chunk.data) + CHUNK_COST
            row.append((chunk, empty))
        del self._row_ends[flow, first]
        self._row_ends.pop((flow, (first + size - 1) % _NUMBERS), None)  # the same, if it is alone
        return row

    def _give_up(self, key: tuple[_Flow, int], reason: str) -> None:
        """Give up a chunk, and with it all that it is in a row with: without it they will never be whole."""
        flow, first = key
        while not self._flags(flow, first) & _BEGINS and not self._flags(flow, (first - 1) % _NUMBERS, _ENDS) & _ENDS:
            first = (first - 1) % _NUMBERS
        size = (self._row_ends[flow, first] - first) % _NUMBERS + 1
        for chunk, empty in self._take_row(flow, first, size):
            self.lost.append(LostChunk(reason, _joined([chunk], empty) if chunk.flags & _BEGINS else None))

    def expire(self, ts_us: int) -> None:
        """Give up what has waited too long; a clock that jumps back ends it, too."""
        while self._waiting:
            key, (since_us, _, _) = next(iter(self._waiting.items()))
            if abs(ts_us - since_us) <= SCTP_TIMEOUT_US:
                break
            self._give_up(key, "fragment")

    def finish(self) -> None:
        """Give up everything: nothing more will come."""
        while self._waiting:
            self._give_up(next(iter(self._waiting)), "fragment")
        self._seen.clear()


class _Window:
    """Which of the last transmission numbers of a flow have come, as IPsec does it (RFC 4303 3.4.3)."""

    def __init__(self, number: int) -> None:
        self._highest = number
        self._mask = 0

    def add(self, number: int) -> bool:
        """Note a number; False if it came before."""
        ahead = (number - self._highest) % _NUMBERS
        if ahead < _NUMBERS // 2:
            self._mask = (self._mask << min(ahead, _WINDOW)) & ((1 << _WINDOW) - 1)
            self._highest = number
            bit = 1
        elif _NUMBERS - ahead < _WINDOW:
            bit = 1 << (_NUMBERS - ahead)
        else:  # from another time: the flow has begun anew
            self._highest, self._mask, bit = number, 0, 1
        if self._mask & bit:
            return False
        self._mask |= bit
        return True


def _joined(parts: list[Chunk], empty: Datagram) -> Datagram:
    """One message of its chunks, up to the first byte that the capture has cut off."""
    payload = bytearray()
    total = sum(len(part.data) + part.missing for part in parts)
    for part in parts:
        payload += part.data
        if part.missing:
            break
    return Datagram(
        bytes(payload), empty.source, empty.source_port, empty.destination, empty.destination_port, empty.header,
        empty.tos, total - len(payload), SCTP, empty.scope, empty.depth,
    )  # fmt: skip
