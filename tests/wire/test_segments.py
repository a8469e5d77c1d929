"""One direction of a TCP connection."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.limits import TCP_GAP_US, TCP_HELD_BYTES, TCP_PIECE_BYTES, TCP_REORDER_US, TCP_WINDOW_BYTES
from sipcap.wire.segments import Piece, Reassembly

NOTHING: dict[str, Any] = {}
STREAM = bytes(range(256))
BEGINS = (0, 1_000, 0x7FFF_FFF0, 0xFFFF_FFF0, 0xFFFF_FFFF)
"""Where streams begin: also so that their numbers wrap around."""


def anchored(begin: int = 1_000) -> Reassembly:
    """A direction whose SYN was seen."""
    segments = Reassembly()
    assert segments.anchor(begin) == []
    return segments


def told(pieces: Iterable[Piece]) -> list[bytes | int]:
    """Pieces as bytes, losses as numbers."""
    seen: list[bytes | int] = []
    for piece in pieces:
        seen += [piece.lost] if piece.lost else []
        seen += [piece.data] if piece.data else []
    return seen


def joined(pieces: Iterable[Piece]) -> bytes:
    """Pieces of which none is lost."""
    assert not any(piece.lost for piece in pieces)
    return b"".join(piece.data for piece in pieces)


@st.composite
def transmissions(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """A stream cut into segments in any order, with any overlaps and retransmissions, nothing left out."""
    stream = draw(st.binary(min_size=1, max_size=120))
    edges = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=10))})
    parts = list(pairwise(edges))
    parts += draw(st.lists(st.tuples(st.integers(0, len(stream) - 1), st.integers(1, len(stream))), max_size=8))
    return [(begin, stream[begin:end]) for begin, end in draw(st.permutations(parts)) if begin < end]


def whole(sent: list[tuple[int, bytes]]) -> bytes:
    """The stream that these segments are of."""
    size = max(begin + len(data) for begin, data in sent)
    stream = bytearray(size)
    for begin, data in sent:
        stream[begin : begin + len(data)] = data
    return bytes(stream)


@given(sent=transmissions(), begin=st.sampled_from(BEGINS))
def test_reassembly_any_order_and_overlap_gives_the_stream(sent: list[tuple[int, bytes]], begin: int) -> None:
    """With the SYN seen, order, cuts, overlaps and retransmissions change nothing, and nothing is left over."""
    segments = anchored(begin)
    pieces: list[Piece] = []
    for number, (at, data) in enumerate(sent):
        pieces += segments.add((begin + at) & 0xFFFF_FFFF, data, number, NOTHING)
    assert joined(pieces) == whole(sent)
    assert (segments.cost, segments.conflicts, segments.is_waiting) == (0, 0, False)


@given(sent=transmissions(), begin=st.sampled_from(BEGINS))
def test_reassembly_picked_up_gives_the_stream_from_the_lowest_segment(
    sent: list[tuple[int, bytes]], begin: int
) -> None:
    """Without a SYN, segments wait for those before them, for a bounded time."""
    segments = Reassembly()
    for number, (at, data) in enumerate(sent):
        assert segments.add((begin + at) & 0xFFFF_FFFF, data, number, NOTHING) == []
    assert segments.expire(TCP_REORDER_US - 1) == []
    assert joined(segments.expire(TCP_REORDER_US)) == whole(sent)
    assert segments.cost == 0


@given(sent=transmissions(), place=st.integers(0, 20))
def test_reassembly_late_syn_anchors_what_waits(sent: list[tuple[int, bytes]], place: int) -> None:
    """A SYN captured behind the data that follows it changes nothing."""
    segments = Reassembly()
    pieces: list[Piece] = []
    for number, (at, data) in enumerate(sent):
        if number == min(place, len(sent) - 1):
            assert segments.can_begin_at(1_000)
            pieces += segments.anchor(1_000)
        pieces += segments.add(1_000 + at, data, number, NOTHING)
    assert joined(pieces) == whole(sent)


def test_reassembly_of_bytes_sent_twice_keeps_the_first_and_counts() -> None:
    """A retransmission with other content changes nothing, whether the first was handed on or waits."""
    segments = anchored()
    assert told(segments.add(1_000, b"first", 1, NOTHING)) == [b"first"]
    assert segments.add(1_000, b"FIRST", 2, NOTHING) == []
    assert segments.conflicts == 1
    assert segments.add(1_000, b"first", 3, NOTHING) == []
    assert segments.conflicts == 1
    assert segments.add(1_008, b"wait", 4, NOTHING) == []
    assert told(segments.add(1_005, b"---WAIT++", 5, NOTHING)) == [b"---", b"wait", b"++"]
    assert segments.conflicts == 2


def test_reassembly_keep_alive_byte_before_the_next_is_nothing() -> None:
    """A keep-alive repeats a byte that was sent, with any content (RFC 9293 3.8.4)."""
    segments = anchored()
    segments.add(1_000, b"abc", 1, NOTHING)
    assert segments.add(1_002, b"\0", 2, NOTHING) == []
    assert told(segments.add(1_003, b"def", 3, NOTHING)) == [b"def"]
    assert segments.conflicts == 0


def test_reassembly_hole_is_given_up_when_time_is_over() -> None:
    """Nobody waits longer for what the capture lacks than a retransmission takes."""
    segments = anchored()
    assert segments.add(1_010, b"behind", 50, NOTHING) == []
    assert segments.expire(50 + TCP_GAP_US - 1) == []
    assert told(segments.expire(50 + TCP_GAP_US)) == [10, b"behind"]
    assert (segments.gaps, segments.lost, segments.cost) == (1, 10, 0)
    assert segments.add(1_000, b"too late", 60, NOTHING) == []


def test_reassembly_hole_that_the_receiver_has_is_given_up_soon() -> None:
    """An acknowledgement beyond a hole proves that the capture has lost it; one up to it proves nothing."""
    segments = anchored()
    segments.add(1_010, b"behind", 50, NOTHING)
    assert segments.expire(50 + TCP_REORDER_US, 1_000) == []
    assert segments.expire(50 + TCP_REORDER_US - 1, 1_016) == []
    assert told(segments.expire(50 + TCP_REORDER_US, 1_016)) == [10, b"behind"]


def test_reassembly_clock_that_is_set_back_ends_the_waiting() -> None:
    """Packet times may jump: nobody waits until the old time comes again."""
    segments = anchored()
    segments.add(1_010, b"behind", 10 * TCP_GAP_US, NOTHING)
    assert told(segments.expire(5)) == [10, b"behind"]


def test_reassembly_more_than_may_wait_gives_up_the_hole() -> None:
    """Bytes that wait are bounded, and so is the number of small segments."""
    segments = anchored()
    piece = bytes(1_000)
    at = 1_010
    seen: list[Piece] = []
    while not seen:
        seen = segments.add(at, piece, 1, NOTHING)
        at += len(piece)
        assert segments.cost <= TCP_HELD_BYTES
    assert told(seen)[0] == 10
    assert at - 1_010 > TCP_HELD_BYTES // 2
    segments = anchored()
    count = 0
    while not segments.add(1_010 + 2 * count, b"x", 1, NOTHING):
        count += 1
        assert segments.cost <= TCP_HELD_BYTES
    assert count <= TCP_HELD_BYTES // TCP_PIECE_BYTES


def test_reassembly_bytes_cut_off_by_the_capture_are_lost_at_once() -> None:
    """What a snap length has cut off is not waited for, and the stream goes on behind it."""
    segments = anchored()
    assert told(segments.add(1_000, b"abc", 1, NOTHING, 7)) == [b"abc", 7]
    assert told(segments.add(1_010, b"next", 2, NOTHING)) == [b"next"]
    assert segments.add(1_000, b"abc", 3, NOTHING, 7) == []
    assert segments.add(1_020, b"wait", 4, NOTHING, 6) == []
    assert told(segments.add(1_014, b"sixsix", 5, NOTHING)) == [b"sixsix", b"wait", 6]


def test_reassembly_flush_hands_on_everything_with_its_holes() -> None:
    """At the end, what waits comes out with what is missing between."""
    segments = anchored()
    for at, data in ((1_005, b"b"), (1_002, b"a"), (1_009, b"c")):
        segments.add(at, data, 1, NOTHING)
    assert told(segments.flush()) == [2, b"a", 2, b"b", 3, b"c"]
    assert (segments.cost, segments.gaps) == (0, 3)


@pytest.mark.parametrize("begin", BEGINS)
def test_reassembly_end_comes_when_all_before_it_is_there(begin: int) -> None:
    """FIN counts once nothing before it is missing."""
    segments = anchored(begin)
    segments.end = segments.position((begin + 6) & 0xFFFF_FFFF)
    segments.add((begin + 3) & 0xFFFF_FFFF, b"def", 1, NOTHING)
    assert not segments.has_ended
    segments.add(begin, b"abc", 2, NOTHING)
    assert segments.has_ended


def test_reassembly_numbers_far_away_are_told() -> None:
    """A number outside any window belongs to another connection."""
    segments = anchored()
    assert not segments.is_far(1_000 + TCP_WINDOW_BYTES)
    assert segments.is_far(1_001 + TCP_WINDOW_BYTES)
    assert segments.is_far((999 - TCP_WINDOW_BYTES) & 0xFFFF_FFFF)


@given(
    sent=st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=40), st.integers(0, 30)), max_size=30),
    begin=st.sampled_from(BEGINS),
    is_anchored=st.booleans(),
)
def test_reassembly_any_segments_add_up(sent: list[tuple[int, bytes, int]], begin: int, is_anchored: bool) -> None:
    """Whatever comes, bytes and losses handed on are as many as the stream has moved, and nothing stays held."""
    segments = anchored(begin) if is_anchored else Reassembly()
    pieces: list[Piece] = []
    for number, (at, data, missing) in enumerate(sent):
        if data or missing:
            pieces += segments.add((begin + at) & 0xFFFF_FFFF, data, number, NOTHING, missing)
    pieces += segments.flush()
    assert segments.cost == 0
    assert sum(len(piece.data) + piece.lost for piece in pieces) == segments.next - segments.first
