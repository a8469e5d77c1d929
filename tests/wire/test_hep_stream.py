"""HEPv3 over a byte stream."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import STREAM_RESYNC_BYTES
from sipcap.wire.hep_stream import HepFramer

Outcome = list[bytes | str]


def frame(data: bytes = b"", magic: bytes = b"HEP3") -> bytes:
    """One frame with a payload chunk, or without any chunk."""
    chunk = b"\0\0\0\x0f" + (len(data) + 6).to_bytes(2, "big") + data if data else b""
    return magic + (len(chunk) + 6).to_bytes(2, "big") + chunk


def drain(framer: HepFramer) -> Outcome:
    """Every frame and every refusal that is there now."""
    seen: Outcome = []
    while True:
        try:
            found = framer.next_frame()
        except DecodeError as error:
            seen.append(error.reason)
            continue
        if found is None:
            return seen
        seen.append(found)


def feed(pieces: Iterable[bytes]) -> tuple[Outcome, bool, int]:
    """What a stream in these pieces gives, whether the framer died, and what it still holds."""
    framer = HepFramer()
    seen: Outcome = []
    for piece in pieces:
        framer.receive_data(piece)
        seen += drain(framer)
    return seen, framer.dead, framer.pending


def single_bytes(stream: bytes) -> Iterable[bytes]:
    """The stream one byte at a time."""
    return (stream[at : at + 1] for at in range(len(stream)))


A, B, C = frame(b"INVITE sip:a"), frame(b"BYE sip:bbbbbbbb", b"EEP1"), frame(b"c" * 700, b"EEP3")
EMPTY = frame()
CASES: dict[str, tuple[bytes, Outcome, int]] = {
    "one frame": (A, [A], 0),
    "all identifiers": (A + B + C + A, [A, B, C, A], 0),
    "frames without chunks": (EMPTY + A + EMPTY, [EMPTY, A, EMPTY], 0),
    "nothing": (b"", [], 0),
    "beginning of a magic": (A + b"HE", [A], 2),
    "header alone": (A + b"HEP3\0\x40", [A], 6),
    "cut in the payload": (A + B[:-1], [A], len(B) - 1),
    "garbage before": (b"\r\n\r\nHELLO" + A, ["magic", A], 0),
    "garbage between": (A + b"xxHEPxx" + B + b"yyEEEP" + C, [A, "magic", B, "magic", C], 0),
    "garbage behind": (A + B + b"rubbish without end", [A, B, "magic"], 0),
    "garbage that ends like a magic": (A + b"rubbish HEP", [A, "magic"], 0),
    "zero length": (b"HEP3\0\0" + A, ["length", A], 0),
    "length 5": (b"HEP3\0\5" + A, ["length", A], 0),
    "only zero lengths": (b"HEP3\0\0" * 9, ["length"], 0),
    "zero length between": (A + b"EEP1\0\0rest" + B, [A, "length", B], 0),
    "magic in the garbage": (b"User-Agent: HEP3 by ear, long enough" + A, ["magic", A], 0),
    "magic twice": (b"?HEP3" + A, ["magic", A], 0),
    "frame without chunks behind garbage": (b"?" + EMPTY + A, ["magic", EMPTY, A], 0),
    "impossible short frame behind garbage": (b"?HEP3\0\x09abc" + A, ["magic", A], 0),
    "HEPv2": (bytes.fromhex("0210021113c513c60a0101010a020202") + A, ["magic", A], 0),
    "chunk longer than its frame": (b"HEP3\0\x0c\0\0\0\x0f\xff\xff" + A, [b"HEP3\0\x0c\0\0\0\x0f\xff\xff", A], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_framer_fed_whole_bytewise_or_split_once_gives_the_same(name: str) -> None:
    """Frames and refusals do not depend on how the stream was cut."""
    stream, outcome, pending = CASES[name]
    assert feed([stream]) == (outcome, False, pending)
    assert feed(single_bytes(stream)) == (outcome, False, pending)
    for cut in range(1, min(len(stream), 80)):
        assert feed([stream[:cut], stream[cut:]]) == (outcome, False, pending)


noise = st.lists(
    st.one_of(
        st.sampled_from([A, B, C, EMPTY, b"HEP3", b"HEP3\0\0", b"HE", b"EEP", b"HEP3\0\x40", b"E"]),
        st.binary(max_size=20),
    ),
    max_size=12,
).map(b"".join)


@given(stream=noise, cuts=st.lists(st.integers(0, 1_000), max_size=8))
def test_framer_any_bytes_in_any_pieces_gives_the_same_as_whole(stream: bytes, cuts: list[int]) -> None:
    """No bytes raise anything but DecodeError, and splits change nothing."""
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in pairwise(edges)]
    assert feed(pieces) == feed([stream]) == feed(single_bytes(stream))


@given(datas=st.lists(st.binary(min_size=1, max_size=300), max_size=10))
def test_framer_frames_one_after_another_come_out_as_they_went_in(datas: list[bytes]) -> None:
    """Concatenated frames are found again, whatever they carry."""
    frames: Outcome = [frame(data) for data in datas]
    assert feed([b"".join(frame(data) for data in datas)]) == (frames, False, 0)


@pytest.mark.parametrize("total", [6, 12, 13, 255, 256, 257, 65_534, 65_535])
def test_framer_every_length_is_framed(total: int) -> None:
    """The total length may be anything that 16 bits hold, from 6 on."""
    one = b"HEP3" + total.to_bytes(2, "big") + bytes(total - 6)
    assert feed([one + A]) == ([one, A], False, 0)


def test_framer_skipped_too_much_is_dead_and_holds_nothing() -> None:
    """A peer that sends no HEP is given up after the bound, however it cuts its bytes."""
    rubbish = b"x" * (STREAM_RESYNC_BYTES + 1)
    for pieces in ([rubbish + A], [rubbish, b"y" * 9, A], [rubbish[:1_000]] * 80, single_bytes(rubbish + A)):
        assert feed(pieces) == (["magic"], True, 0)


def test_framer_skipped_up_to_the_bound_finds_the_next_frame() -> None:
    """The bound itself may be skipped, and a frame found gives a new allowance."""
    rubbish = b"x" * STREAM_RESYNC_BYTES
    assert feed([rubbish + A + rubbish + B]) == (["magic", A, "magic", B], False, 0)
    assert feed([rubbish, A, rubbish, B]) == (["magic", A, "magic", B], False, 0)


def test_framer_several_bad_places_share_one_allowance() -> None:
    """Headers that turn out wrong do not reset what may be skipped."""
    assert feed([b"HEP3\0\0" * STREAM_RESYNC_BYTES]) == (["length"], True, 0)


def test_framer_large_frame_in_drips_takes_linear_time() -> None:
    """A 64 KB frame byte by byte, looked at after every byte, costs no more than the bytes do."""
    one = b"HEP3\xff\xff" + bytes(65_529)
    began = time.perf_counter()
    assert feed(single_bytes(one)) == ([one], False, 0)
    assert time.perf_counter() - began < 2


def test_framer_large_read_takes_linear_time() -> None:
    """A read of many megabytes is cut without moving the rest for each frame."""
    stream = EMPTY * 500_000
    began = time.perf_counter()
    outcome, _, _ = feed([stream])
    assert len(outcome) == 500_000
    assert time.perf_counter() - began < 5


def test_framer_drained_after_each_read_holds_less_than_a_frame() -> None:
    """Memory is bounded by one frame, also while skipping."""
    framer = HepFramer()
    for piece in [b"z" * 500, *[C] * 50, b"HEP3\xff\xff" + bytes(100), C * 900, *[bytes(60_000)] * 9]:
        framer.receive_data(piece)
        drain(framer)
        assert len(framer._buffer) < 65_535
