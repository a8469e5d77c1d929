"""One direction of a TCP connection: segments in any order to the bytes that were sent.

Source: RFC 9293 sections 3.4 (sequence numbers) and 3.8.4 (keep-alives). Of bytes that come twice the first
ones count, as they do for most receivers.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any, Final, NamedTuple

from sipcap.limits import TCP_GAP_US, TCP_HELD_BYTES, TCP_PIECE_BYTES, TCP_REORDER_US, TCP_WINDOW_BYTES

_MASK: Final = 0xFFFF_FFFF
_HALF: Final = 0x8000_0000
_REMEMBERED: Final = 2
"""Segments handed on of which a retransmission can be compared."""


class Piece(NamedTuple):
    """The next bytes of a stream.

    Args:
        ts_us: when their packet was captured.
        data: at least one byte, or none where only a loss is told.
        fields: of their packet's envelope.
        lost: bytes missing before them.
    """

    ts_us: int
    data: bytes
    fields: dict[str, Any]
    lost: int = 0


class _Held(NamedTuple):
    at: int
    data: bytes
    ts_us: int
    fields: dict[str, Any]
    missing: int


class Reassembly:
    """Puts the segments of one direction in order.

    Positions count bytes; they do not wrap, as sequence numbers do. Without a SYN, nobody knows whether the first
    segment seen is the first one sent: it waits ``TCP_REORDER_US`` for one before it.

    Attributes:
        next: the position wanted next; 0 = no segment was seen.
        first: where the stream begins.
        has_begun: the beginning was seen.
        is_anchored: the beginning is known, and bytes before it are none of this stream.
        end: position of FIN; 0 = not seen.
        cost: bytes held, with what holding them costs.
        conflicts: retransmissions that differ from what came first.
        gaps: holes that were given up.
        lost: bytes in them.
    """

    __slots__ = (
        "_held", "_last", "_since_us", "conflicts", "cost", "end", "first", "gaps", "has_begun", "is_anchored", "lost",
        "next",
    )  # fmt: skip

    def __init__(self) -> None:
        self.next = 0
        self.first = 0
        self.has_begun = False
        self.is_anchored = False
        self.end = 0
        self.cost = 0
        self.conflicts = 0
        self.gaps = 0
        self.lost = 0
        self._held: list[_Held] = []
        self._since_us = 0
        self._last: list[tuple[int, int, int]] = []  # position, bytes and hash; a deque takes 600 bytes

    @property
    def is_waiting(self) -> bool:
        """Whether segments wait for one before them."""
        return bool(self._held)

    @property
    def has_ended(self) -> bool:
        """Whether all bytes up to FIN have been handed on."""
        return bool(self.end) and self.next >= self.end and not self._held

    def position(self, sequence: int) -> int:
        """A sequence number as the position next to what is wanted."""
        if not self.next:
            return sequence + _MASK + 1
        return self.next + ((sequence - self.next + _HALF) & _MASK) - _HALF

    def is_far(self, sequence: int) -> bool:
        """Tell whether a sequence number cannot belong to this stream."""
        return bool(self.next) and abs(self.position(sequence) - self.next) > TCP_WINDOW_BYTES

    def is_next(self, sequence: int) -> bool:
        """Tell whether a segment is the one wanted, and nothing else waits or is to be done."""
        return sequence == self.next & _MASK and self.is_anchored and not self._held and not self.end

    def pass_by(self, data: bytes) -> None:
        """Take the payload of a segment that ``is_next`` and was handed on already."""
        self._remember(self.next, data)
        self.next += len(data)

    def _remember(self, at: int, data: bytes) -> None:
        last = self._last
        last.append((at, len(data), hash(data)))
        if len(last) > _REMEMBERED:
            del last[0]

    def can_begin_at(self, sequence: int) -> bool:
        """Tell whether a SYN whose stream begins with this number can be this stream's."""
        if not self.next:
            return True
        at = self.position(sequence)
        return at == self.first if self.is_anchored else at <= self._held[0].at

    def anchor(self, sequence: int) -> list[Piece]:
        """A SYN says that the stream begins with this number; see ``can_begin_at``.

        Returns:
            What can be handed on now.
        """
        if self.is_anchored:
            return []
        self.next = self.first = self.position(sequence)
        self.is_anchored = self.has_begun = True
        return self._drain(0)

    def add(self, sequence: int, data: bytes, ts_us: int, fields: dict[str, Any], missing: int = 0) -> list[Piece]:
        """Take a segment's payload.

        Args:
            sequence: number of its first byte.
            data: what is there of it.
            ts_us: when it was captured.
            fields: of its envelope.
            missing: bytes behind it that the capture has cut off: they are lost, and nobody waits for them.

        Returns:
            What can be handed on now.
        """
        at = self.position(sequence)
        if at == self.next and self.is_anchored and not self._held:
            return self._hand_on(at, data, ts_us, fields, missing)
        if not self.next:
            self.next = self.first = at
        if self.is_anchored and at < self.next:
            old = self.next - at
            self._compare(at, data)
            if old >= len(data) + missing:
                return []
            missing -= max(old - len(data), 0)
            at, data = self.next, data[old:]
        self._hold(at, data, ts_us, fields, missing)
        if not self.is_anchored:
            self.next = self._held[0].at if self._held else self.next
            return self._anchor_lowest() if self.cost > TCP_HELD_BYTES else []
        pieces = self._drain(0)
        while self.cost > TCP_HELD_BYTES:
            pieces += self._skip()
        return pieces

    def _hand_on(self, at: int, data: bytes, ts_us: int, fields: dict[str, Any], missing: int) -> list[Piece]:
        self.next = at + len(data) + missing
        self._remember(at, data)
        pieces = [Piece(ts_us, data, fields)] if data else []
        if missing:
            self.lost += missing
            pieces.append(Piece(ts_us, b"", fields, missing))
        return pieces

    def _compare(self, at: int, data: bytes) -> None:
        """Count a retransmission with other content; only one cut as the first transmission can be told."""
        for known_at, size, known in self._last:
            if known_at == at and size == len(data) and known != hash(data):
                self.conflicts += 1

    def _hold(self, at: int, data: bytes, ts_us: int, fields: dict[str, Any], missing: int) -> None:
        """Keep what nobody has sent before."""
        held = self._held
        end = at + len(data)
        index = bisect_right(held, at, key=_begin)
        if index and held[index - 1].at + len(held[index - 1].data) > at:
            index -= 1
        fresh: list[_Held] = []
        position = at
        while index < len(held) and held[index].at < end:
            known = held[index]
            if known.at > position:
                fresh.append(_Held(position, data[position - at : known.at - at], ts_us, fields, 0))
            begin, known_end = max(position, known.at), min(known.at + len(known.data), end)
            if data[begin - at : known_end - at] != known.data[begin - known.at : known_end - known.at]:
                self.conflicts += 1
            position = max(position, known.at + len(known.data))
            index += 1
        if position < end or (missing and position == end):
            fresh.append(_Held(position, data[position - at :], ts_us, fields, missing))
        if fresh and not held:
            self._since_us = ts_us
        for each in fresh:
            held.insert(bisect_right(held, each.at, key=_begin), each)
            self.cost += len(each.data) + TCP_PIECE_BYTES

    def _drain(self, lost: int) -> list[Piece]:
        """Hand on what follows without a hole; ``lost`` bytes were given up before it."""
        pieces: list[Piece] = []
        held = self._held
        count = 0
        for each in held:
            if each.at > self.next:
                break
            count += 1
            old = self.next - each.at  # only what the capture has cut off can have been passed by already
            if old and old >= len(each.data):
                continue
            pieces += self._hand_on(self.next, each.data[old:], each.ts_us, each.fields, each.missing)
        self.cost -= sum(len(each.data) + TCP_PIECE_BYTES for each in held[:count])
        del held[:count]
        if held and count:
            self._since_us = held[0].ts_us
        if lost:
            first = pieces[0]
            pieces[0] = first._replace(lost=lost + first.lost)
        return pieces

    def _skip(self) -> list[Piece]:
        """Give up the hole before what is held."""
        lost = self._held[0].at - self.next
        self.next = self._held[0].at
        self.gaps += 1
        self.lost += lost
        return self._drain(lost)

    def _anchor_lowest(self) -> list[Piece]:
        self.next = self.first = self._held[0].at
        self.is_anchored = True
        return self._drain(0)

    def expire(self, now_us: int, acknowledged: int = -1) -> list[Piece]:
        """Give up holes that were waited for long enough.

        Args:
            now_us: the packets' time.
            acknowledged: the next byte that the receiver waits for. It has had all before: what is not here of
                that, the capture has lost.

        Returns:
            What can be handed on now.
        """
        pieces: list[Piece] = []
        while self._held:
            waited_us = abs(now_us - self._since_us)  # a clock that was set back ends the waiting, too
            if not self.is_anchored:
                if waited_us < TCP_REORDER_US:
                    break
                pieces += self._anchor_lowest()
                continue
            is_lost = acknowledged >= 0 and self.position(acknowledged) > self.next
            if waited_us < (TCP_REORDER_US if is_lost else TCP_GAP_US):
                break
            pieces += self._skip()
        return pieces

    def flush(self) -> list[Piece]:
        """Hand on everything that is held."""
        pieces: list[Piece] = []
        while self._held:
            pieces += self._skip() if self.is_anchored else self._anchor_lowest()
        return pieces


def _begin(held: _Held) -> int:
    return held.at
