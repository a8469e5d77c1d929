"""Fragments of IP packets to whole packets.

Source: RFC 791 section 3.2 and RFC 815 (IPv4), RFC 8200 section 4.5 and RFC 5722 (IPv6).
"""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict
from typing import Final, NamedTuple

from msgspec.structs import replace

from sipcap.errors import DecodeError
from sipcap.limits import FRAGMENT_TIMEOUT_US, MAX_FRAGMENT_BYTES, MAX_FRAGMENTED_PACKETS, MAX_FRAGMENTS
from sipcap.wire.ip import IpPacket
from sipcap.wire.packet import Carried

MAX_IP_PAYLOAD: Final = 65_535
"""The longest packet that has a length field; what ends behind it is an attack ("ping of death")."""

PIECE_COST: Final = 300
PACKET_COST: Final = 1_500
"""What Python keeps beside the bytes: a piece, and a packet with its addresses (measured by a test)."""

_HEAD_BYTES: Final = 128
"""Kept of a packet that is complete, to know its fragments when they come a second time."""

_Key = tuple[bytes, bytes, bytes, int, int]


class Lost(NamedTuple):
    """A packet that will never be whole.

    ``reason`` is ``fragment`` (pieces are missing, or contradict each other), ``fragment_overlap`` or
    ``fragment_memory``; ``pieces`` the number of its frames that came. ``beginning`` is what the first fragment
    carries; None if that is among the missing, or if the packet came whole before.
    """

    reason: str
    pieces: int
    beginning: Carried | None


class Fragments:
    """Puts IP packets together from their fragments, in whatever order these come.

    Memory is bounded: the packet that has waited longest goes first. ``lost`` collects what has been given up, for
    the caller to take out.

    Of fragments that overlap, IPv4 keeps the bytes that came first; a fragment that says otherwise is noted in ``lost``
    as ``fragment_overlap``, without a beginning. IPv6 forbids overlapping, and the whole packet is lost.
    """

    def __init__(self) -> None:
        self.lost: list[Lost] = []
        self.held_bytes = 0
        self._waiting: OrderedDict[_Key, _Puzzle] = (
            OrderedDict()
        )  # a dict is slow to find its first key behind removed ones
        self._done: OrderedDict[_Key, tuple[int, bytes]] = OrderedDict()

    def add(self, fragment: Carried, packet: IpPacket, ts_us: int) -> Carried | None:
        """Take in a fragment.

        Args:
            fragment: what it carries; ``missing`` bytes of it are cut off.
            packet: its header.
            ts_us: its time.

        Returns:
            What the whole packet carries, if this was the last piece: cut where the first missing byte is.

        Raises:
            DecodeError: ``fragment_length``: a length that no fragment can have.
        """
        begin = packet.fragment_offset
        size = len(fragment.data) + fragment.missing
        is_ip4 = len(fragment.source) == 4
        if packet.more and size % 8:
            if not is_ip4:
                raise DecodeError("fragment_length")  # RFC 8200: to be discarded
            size -= size % 8
        end = begin + size
        if not size or end > MAX_IP_PAYLOAD:
            raise DecodeError("fragment_length")
        key = (
            fragment.scope, fragment.source, fragment.destination, packet.identification,
            fragment.protocol if is_ip4 else 0,
        )  # fmt: skip
        puzzle = self._waiting.get(key)
        if puzzle is not None and _is_over(puzzle.since_us, ts_us):
            self._give_up(key, "fragment")  # its identification has come round
            puzzle = None
        if puzzle is None:
            puzzle = self._waiting[key] = _Puzzle(fragment, ts_us)
            self.held_bytes += PACKET_COST
        before = puzzle.size
        if not puzzle.add(_Piece(begin, end, fragment.data[:size]), fragment.protocol, packet.more):
            self.lost.append(Lost("fragment_overlap", 1, None))
        self.held_bytes += puzzle.size - before
        if puzzle.is_complete:
            return self._complete(key, puzzle, ts_us)
        while self.held_bytes > MAX_FRAGMENT_BYTES or len(self._waiting) > MAX_FRAGMENTED_PACKETS:
            self._give_up(next(iter(self._waiting)), "fragment_memory")
        return None

    def _complete(self, key: _Key, puzzle: _Puzzle, ts_us: int) -> Carried:
        del self._waiting[key]
        self.held_bytes -= puzzle.size + PACKET_COST
        whole = puzzle.whole()
        self._done.pop(key, None)
        self._done[key] = (ts_us, whole.data[:_HEAD_BYTES])
        if len(self._done) > MAX_FRAGMENTED_PACKETS:
            self._done.popitem(last=False)
        return whole

    def _give_up(self, key: _Key, reason: str) -> None:
        puzzle = self._waiting.pop(key)
        self.held_bytes -= puzzle.size + PACKET_COST
        beginning = puzzle.beginning()
        if beginning is not None and self._is_known(key, puzzle.since_us, beginning.data):
            beginning = None  # the same once more, and not whole this time: nothing is lost
        self.lost.append(Lost(puzzle.failure or reason, puzzle.count, beginning))

    def _is_known(self, key: _Key, since_us: int, beginning: bytes) -> bool:
        """Whether a packet that began so was complete shortly before."""
        done_us, head = self._done.get(key, (0, b""))
        return bool(head) and not _is_over(done_us, since_us) and head.startswith(beginning[: len(head)])

    def expire(self, ts_us: int) -> None:
        """Give up what has waited too long; a clock that jumps back ends it, too."""
        while self._waiting:
            key, puzzle = next(iter(self._waiting.items()))
            if not _is_over(puzzle.since_us, ts_us):
                break
            self._give_up(key, "fragment")
        while self._done:
            key, (done_us, _) = next(iter(self._done.items()))
            if not _is_over(done_us, ts_us):
                break
            del self._done[key]

    def finish(self) -> None:
        """Give up everything: nothing more will come."""
        while self._waiting:
            self._give_up(next(iter(self._waiting)), "fragment")
        self._done.clear()


def _is_over(since_us: int, ts_us: int) -> bool:
    return abs(ts_us - since_us) > FRAGMENT_TIMEOUT_US


class _Piece(NamedTuple):
    """The bytes ``begin`` to ``end`` of a packet; ``data`` is shorter if the capture has cut it."""

    begin: int
    end: int
    data: bytes

    def part(self, begin: int, end: int) -> _Piece:
        return _Piece(begin, end, self.data[begin - self.begin : end - self.begin])


class _Puzzle:
    """The pieces of one packet, sorted and without overlap."""

    def __init__(self, first_seen: Carried, since_us: int) -> None:
        self.since_us = since_us
        self.count = 0
        self.size = 0
        self.failure = ""
        self._carried = replace(first_seen, data=b"")
        self._is_strict = len(first_seen.source) == 16
        self._pieces: list[_Piece] = []
        self._covered = 0
        self._total = -1

    @property
    def is_complete(self) -> bool:
        return self._covered == self._total and not self.failure

    def add(self, piece: _Piece, protocol: int, more: bool) -> bool:
        """Take in a piece; False if others have said otherwise of its bytes."""
        self.count += 1
        if not piece.begin:
            # IPv6: what the first fragment says is next, is next.
            self._carried.protocol = protocol
        parts, overlaps, contradicts = self._news(piece)
        if overlaps and self._is_strict and piece not in self._pieces:
            self.failure = self.failure or "fragment_overlap"
        if not self._is_end_consistent(piece.end, more) or len(self._pieces) + len(parts) > MAX_FRAGMENTS:
            self.failure = self.failure or "fragment"
        if self.failure:
            self._drop_all_but_the_first(parts)
            return True
        for part in parts:
            insort(self._pieces, part)
            self._covered += part.end - part.begin
            self.size += len(part.data) + PIECE_COST
        return not contradicts

    def _is_end_consistent(self, end: int, more: bool) -> bool:
        if not more:
            if self._total not in (-1, end):
                return False
            self._total = end
        last = self._pieces[-1].end if self._pieces else 0
        return self._total == -1 or max(end, last) <= self._total

    def _news(self, piece: _Piece) -> tuple[list[_Piece], bool, bool]:
        """The parts of a piece that are not there yet; whether it overlaps, and whether with other bytes."""
        parts = []
        begin = piece.begin
        overlaps = contradicts = False
        for old in self._pieces:
            if old.end <= begin:
                continue
            if old.begin >= piece.end:
                break
            overlaps = True
            there = max(old.begin, begin), min(old.end, piece.end)
            contradicts = contradicts or _differ(old.part(*there).data, piece.part(*there).data)
            if old.begin > begin:
                parts.append(piece.part(begin, old.begin))
            begin = old.end
        if begin < piece.end:
            parts.append(piece.part(begin, piece.end))
        return parts, overlaps, contradicts

    def _drop_all_but_the_first(self, parts: list[_Piece]) -> None:
        """Keep what tells what the packet would have been."""
        self._pieces = [piece for piece in (*self._pieces, *parts) if not piece.begin][:1]
        self.size = sum(len(piece.data) + PIECE_COST for piece in self._pieces)

    def beginning(self) -> Carried | None:
        """What the first fragment carries, if it came."""
        if not self._pieces or self._pieces[0].begin:
            return None
        first = self._pieces[0]
        return replace(self._carried, data=first.data, missing=max(self._total - len(first.data), 1))

    def whole(self) -> Carried:
        """What the complete packet carries, up to the first byte that the capture has cut off."""
        data = bytearray()
        for piece in self._pieces:
            data += piece.data
            if len(data) < piece.end:
                break
        return replace(self._carried, data=bytes(data), missing=self._total - len(data))


def _differ(old: bytes, new: bytes) -> bool:
    """Whether bytes contradict each other; the capture may have cut either."""
    size = min(len(old), len(new))
    return old[:size] != new[:size]
