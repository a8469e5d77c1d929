"""SIP over WebSocket frames."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.limits import MAX_SIP_MESSAGE_BYTES
from sipcap.wire.websocket import WebSocketFramer
from sipcap.wire.websocket_frame import begins_sip_frame, is_upgrade
from tests.support.framing import CUT, Outcome, feed
from tests.support.tcp import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MASK,
    PING,
    PONG,
    SWITCHED,
    UPGRADE,
    single_bytes,
    ws_deflated,
    ws_fragments,
    ws_frame,
)

A = b"INVITE sip:b@example.com SIP/2.0\r\nCall-ID: 1\r\n\r\n" + b"a=" * 60
B = b"SIP/2.0 200 OK\r\nCall-ID: 1\r\n\r\n"
FA, FB = ws_frame(A, mask=MASK), ws_frame(B)
HUGE = ws_frame(b"", BINARY)[:1] + b"\x7f" + struct.pack(">Q", 1 << 40)
BIG = b"x" * (MAX_SIP_MESSAGE_BYTES + 1)

CASES: dict[str, tuple[bytes, Outcome]] = {
    "masked": (FA, [A]),
    "unmasked": (FB + FB, [B, B]),
    "binary": (ws_frame(A, BINARY, mask=MASK), [A]),
    "empty": (ws_frame(b"") + FB, [b"", B]),
    "64 KB": (ws_frame(A + b"x" * 70_000, mask=MASK) + FB, [A + b"x" * 70_000, B]),
    "fragments": (b"".join(ws_fragments(A, [1, 30, 31], mask=MASK)) + FB, [A, B]),
    "ping, pong and close between": (
        ws_frame(b"hi", PING) + FB + ws_frame(b"", PONG) + FA + ws_frame(b"\x03\xe8", CLOSE),
        [B, A],
    ),
    "ping among fragments": (ws_frame(A[:9], final=False) + ws_frame(b"hi", PING) + ws_frame(A[9:], CONTINUATION), [A]),
    "deflated with one window": (b"".join(ws_deflated([A, B, A, A], mask=MASK)), [A, B, A, A]),
    "deflated and plain": (ws_deflated([A])[0] + FB + ws_deflated([A])[0], [A, B, A]),
    "deflated rubbish": (ws_frame(b"\xff\xff\xff", deflated=True) + FB, ["inflate", B]),
    "deflated bomb": (ws_deflated([BIG])[0] + FB, ["inflate", B]),
    "continuation of nothing": (ws_frame(A, CONTINUATION) + FB, ["websocket", B]),
    "cut in a header": (FB + FA[:5], [B, "incomplete"]),
    "cut in a payload": (FB + FA[:-9], [B, CUT, A[:-9]]),
    "cut between fragments": (ws_frame(A[:70], final=False), [CUT, A[:70]]),
    "cut in a ping": (FB + ws_frame(b"hello", PING)[:-1], [B]),
}


@pytest.mark.parametrize("name", CASES)
def test_framer_fed_whole_bytewise_or_split_gives_the_same(name: str) -> None:
    """Messages and refusals do not depend on how the stream was cut."""
    stream, outcome = CASES[name]
    assert feed(WebSocketFramer(), [stream]) == outcome
    assert feed(WebSocketFramer(), single_bytes(stream)) == outcome
    for at in range(1, min(len(stream), 400)):
        assert feed(WebSocketFramer(), [stream[:at], stream[at:]]) == outcome, at


@pytest.mark.parametrize(
    "bad",
    [
        b"\xb1\x00",
        b"\x83\x00",
        b"\x8f\x00",
        b"\x09\x00",
        b"\x89\x7e\x00\x7f",
        b"\x81\x7e\x00\x05",
        b"\x81\x7f" + bytes(7) + b"\x09",
        b"\x81\x7f\x80" + bytes(7),
        b"\xc8\x00",
    ],
)
def test_framer_frame_that_cannot_be_is_refused_and_the_next_piece_looked_at(bad: bytes) -> None:
    """Reserved bits and opcodes, long or split control frames, lengths in a longer form than needed."""
    assert feed(WebSocketFramer(), [FB + bad, b"rest", FA]) == [B, "websocket", A]


def test_framer_message_beyond_the_bound_is_stepped_over() -> None:
    """A long frame is not waited for, and neither are endless fragments."""
    framer = WebSocketFramer()
    assert feed(framer, [FB + ws_frame(BIG) + FB]) == [B, "too_long", B]
    assert feed(framer, [ws_frame(BIG)[:2_000], ws_frame(BIG)[2_000:] + FB]) == ["too_long", B]
    piece = ws_frame(b"x" * 60_000, CONTINUATION, final=False)
    framer = WebSocketFramer()
    framer.receive_data(ws_frame(A, final=False))
    assert feed(framer, [*[piece] * 30, ws_frame(b"", CONTINUATION) + FB]) == ["too_long", B]
    assert feed(WebSocketFramer(), [HUGE, b"x" * 99]) == ["too_long"]
    empty = ws_frame(A, final=False) + ws_frame(b"", CONTINUATION, final=False) * 5_000
    assert feed(WebSocketFramer(), [empty + ws_frame(b"", CONTINUATION) + FB]) == ["too_long", B]


GAPS: dict[str, tuple[list[bytes | int], Outcome]] = {
    "in a payload": ([FA[:60], 20, FA[80:] + FB], [CUT, A[:52], B]),
    "to the end of a payload": ([FA[:60], len(FA) - 60, FB], [CUT, A[:52], B]),
    "beyond a payload": ([FA[:60], len(FA) - 50, FB[10:], FB], [CUT, A[:52], B]),
    "in a header": ([FA[:1], 3, FA[4:], FB], ["gap", B]),
    "between messages": ([FB, len(FA), FB], [B, B]),
    "in a ping": ([ws_frame(b"hello", PING)[:4], 2, b"o" + FB], [B]),
    "in a ping among fragments": (
        [ws_frame(A[:9], final=False) + ws_frame(b"hello", PING)[:4], 3, ws_frame(A[9:], CONTINUATION) + FB],
        [A, B],
    ),
    "in a fragment": (
        [ws_frame(A[:70], final=False)[:40], 32, ws_frame(A[70:], CONTINUATION) + FB],
        [CUT, A[:38], B],
    ),
    "between fragments": ([ws_frame(A[:70], final=False), 9, b"xx", FB], [CUT, A[:70], B]),
    "two": ([FA[:60], 20, FA[80:90], 10, FA[100:] + FB], [CUT, A[:52], B]),
}


@pytest.mark.parametrize("name", GAPS)
def test_framer_gap_keeps_what_is_there_and_finds_the_next_frame(name: str) -> None:
    """A frame's length tells where the next one begins; where it does not, the next piece is looked at."""
    pieces, outcome = GAPS[name]
    assert feed(WebSocketFramer(), pieces) == outcome


def test_framer_gap_in_a_deflated_message_keeps_its_beginning_and_begins_a_new_window() -> None:
    """What was inflated up to the gap is kept; what refers to it later is refused by name."""
    first, second, _ = ws_deflated([A * 9, A * 9, B])
    kept = feed(WebSocketFramer(), [first[:-12], 12, FB])
    assert kept[0] == CUT
    assert isinstance(kept[1], bytes)
    assert (A * 9).startswith(kept[1])
    assert len(kept[1]) > 20
    assert kept[2:] == [B]
    assert feed(WebSocketFramer(), [first, len(second), ws_deflated([A])[0]]) == [A * 9, A]


noise = st.lists(
    st.one_of(
        st.sampled_from(
            [FA, FB, *ws_deflated([A, B]), *ws_fragments(A, [20]), ws_frame(b"x", PING), b"\x81", b"\x81\xfe"]
        ),
        st.binary(max_size=12),
    ),
    max_size=8,
).map(b"".join)


@given(stream=noise, cuts=st.lists(st.integers(0, 800), max_size=6))
def test_framer_any_bytes_in_any_pieces_give_messages_or_reasons(stream: bytes, cuts: list[int]) -> None:
    """Nothing but DecodeError is raised, and up to the first bad frame the cuts change nothing."""
    edges = [0, *sorted(min(each, len(stream)) for each in cuts), len(stream)]
    seen = feed(WebSocketFramer(), [stream[begin:end] for begin, end in pairwise(edges)])
    whole = feed(WebSocketFramer(), [stream])
    end = whole.index("websocket") if "websocket" in whole else len(whole)
    assert seen[:end] == whole[:end]


@given(pieces=st.lists(st.one_of(noise, st.integers(1, 300)), max_size=8))
def test_framer_any_bytes_and_gaps_end_in_messages_or_reasons(pieces: list[bytes | int]) -> None:
    """Whatever is missing, nothing but DecodeError is raised, and nothing is held at the end."""
    framer = WebSocketFramer()
    feed(framer, pieces)
    assert not framer._buffer or framer._searching or framer._drop


@pytest.mark.parametrize(
    "data", [FA, FB, FA[:60], ws_deflated([A], mask=MASK)[0], ws_frame(A, BINARY), ws_fragments(A, [70])[0]]
)
def test_begins_sip_frame_knows_frames_in_the_middle_of_a_stream(data: bytes) -> None:
    """Masked or not, deflated or not, whole or not."""
    assert begins_sip_frame(data)


@pytest.mark.parametrize(
    "data",
    [b"", A, B, FA[:4], ws_frame(b'{"id":1}'), ws_frame(b"x", PING), b"\x81\xff" * 30, ws_frame(A, CONTINUATION)],
)
def test_begins_sip_frame_takes_nothing_else_for_one(data: bytes) -> None:
    """SIP without frames, frames without SIP, and frames that do not begin a message are none."""
    assert not begins_sip_frame(data)


def test_upgrade_is_told_from_other_http() -> None:
    """Only requests and responses that change to WebSocket count, in any spelling."""
    assert is_upgrade(UPGRADE)
    assert is_upgrade(SWITCHED)
    assert is_upgrade(UPGRADE.replace(b"Upgrade: websocket", b"UPGRADE:WebSocket"))
    assert not is_upgrade(UPGRADE.replace(b"websocket", b"h2c"))
    assert not is_upgrade(b"HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n")
    assert not is_upgrade(A)
