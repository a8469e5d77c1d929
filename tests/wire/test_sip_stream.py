"""SIP over a byte stream."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import MAX_SIP_MESSAGE_BYTES, MAX_SIP_START_LINE_BYTES
from sipcap.wire import sip_start
from sipcap.wire.sip_head import content_length, head_end, is_one_message
from sipcap.wire.sip_stream import SipFramer
from tests.support.framing import CUT, Outcome, drain, feed
from tests.support.tcp import cut, single_bytes

HEAD = b"Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\nCall-ID: 1@x\r\nCSeq: 1 INVITE\r\n"


def message(
    body: bytes = b"", *, start: bytes = b"INVITE sip:b@example.com SIP/2.0", length: bytes | None = None
) -> bytes:
    """A message; ``length`` overrides the whole line of Content-Length."""
    line = b"Content-Length: %d\r\n" % len(body) if length is None else length
    return start + b"\r\n" + HEAD + line + b"\r\n" + body


SDP = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"
A, B = message(SDP), message(start=b"SIP/2.0 200 OK")
C = message(b"no line end", start=b"MESSAGE sip:b@example.com SIP/2.0")
TYPED = b"Content-Type: application/sdp\r\n"
OPEN = message(SDP, length=TYPED)
BARE = message(length=b"")
EMBEDDED = message(b"SIP/2.0 180 Ringing\r\n", start=b"NOTIFY sip:b@example.com SIP/2.0")
LF = message(b"abc").replace(b"\r\n", b"\n")
ABSURD = b"Content-Length: 99999999999999999999\r\n"

CASES: dict[str, tuple[bytes, Outcome]] = {
    "one message": (A, [A]),
    "nothing": (b"", []),
    "several": (A + B + C + A, [A, B, C, A]),
    "keep-alives before, between, behind": (b"\r\n\r\n" + A + b"\r\n" + B + b"\r\n\r\n\r\n\r\n", [A, B]),
    "zeros and blanks between": (A + b"\0\0 \t\r\n" + B, [A, B]),
    "compact length": (message(b"abc", length=b"l:3\r\n") + B, [message(b"abc", length=b"l:3\r\n"), B]),
    "length in capitals": (
        message(b"abc", length=b"CONTENT-LENGTH:3\r\n") + B,
        [message(b"abc", length=b"CONTENT-LENGTH:3\r\n"), B],
    ),
    "blank before the colon": (
        message(b"abc", length=b"L \t: 3 \r\n") + B,
        [message(b"abc", length=b"L \t: 3 \r\n"), B],
    ),
    "folded length": (
        message(b"abc", length=b"Content-Length:\r\n 3\r\n") + B,
        [message(b"abc", length=b"Content-Length:\r\n 3\r\n"), B],
    ),
    "several lengths": (
        message(b"abc", length=b"l: 3\r\nContent-Length: 9\r\n") + B,
        [message(b"abc", length=b"l: 3\r\nContent-Length: 9\r\n"), B],
    ),
    "no number, then a number": (
        message(b"abc", length=b"Content-Length: x\r\nl: 3\r\n") + B,
        [message(b"abc", length=b"Content-Length: x\r\nl: 3\r\n"), B],
    ),
    "negative length": (message(length=b"Content-Length: -9\r\n") + B, [message(length=b"Content-Length: -9\r\n"), B]),
    "leading zeros": (
        message(b"abc", length=b"Content-Length: 0000000000003\r\n") + B,
        [message(b"abc", length=b"Content-Length: 0000000000003\r\n"), B],
    ),
    "length in the body": (
        message(b"\r\nContent-Length: 99\r\n", length=b"l:22\r\n") + B,
        [message(b"\r\nContent-Length: 99\r\n", length=b"l:22\r\n"), B],
    ),
    "bare line feeds": (LF + LF + B, [LF, LF, B]),
    "no length, no body": (BARE + B + BARE, [BARE, B, BARE]),
    "no length, a body, a message behind it": (OPEN + B, [OPEN, B]),
    "no length, a body without line end": (message(b"<x/>", length=TYPED) + A, [message(b"<x/>", length=TYPED), A]),
    "no length, a body, the end": (B + OPEN, [B, OPEN]),
    "no length, a body without a type": (BARE + SDP + B, [BARE, "not_sip", B]),
    "status line in a body": (EMBEDDED + A, [EMBEDDED, A]),
    "status line in a body without length": (
        message(b"SIP/2.0 180 Ringing\r\n", length=b"c: message/sipfrag\r\n") + A,
        [message(b"SIP/2.0 180 Ringing\r\n", length=b"c: message/sipfrag\r\n"), A],
    ),
    "absurd length": (message(SDP, length=ABSURD) + A, [CUT, message(length=ABSURD), A]),
    "length too small": (
        message(b"abcdef", length=b"l: 3\r\n") + A,
        [message(b"abc", length=b"l: 3\r\n"), "not_sip", A],
    ),
    "garbage before": (b"HELLO WORLD\r\n" + A, ["not_sip", A]),
    "garbage between": (A + b"\x80\x81\x82" + B + b"rubbish\r\n" + C, [A, "not_sip", B, "not_sip", C]),
    "garbage behind": (A + b"rubbish\r\nwithout end", [A, "not_sip"]),
    "garbage with a Via in it": (b"?\r\nVia: SIP/2.0/TCP x\r\nA: b\r\n" + A, ["not_sip", A]),
    "unknown method": (
        message(start=b"NEWMETHOD sip:a@b SIP/2.0") + B,
        [message(start=b"NEWMETHOD sip:a@b SIP/2.0"), B],
    ),
    "cut in the start line": (A + b"INVITE sip:", [A, "incomplete"]),
    "cut in the head": (A + B[:-2], [A, "incomplete"]),
    "cut in the body": (B + A[:-3], [B, CUT, A[:-3]]),
}


@pytest.mark.parametrize("name", CASES)
def test_framer_fed_whole_bytewise_or_split_gives_the_same(name: str) -> None:
    """Messages and refusals do not depend on how the stream was cut."""
    stream, outcome = CASES[name]
    assert feed(SipFramer(), [stream]) == outcome
    assert feed(SipFramer(), single_bytes(stream)) == outcome
    for at in range(1, len(stream)):
        assert feed(SipFramer(), [stream[:at], stream[at:]]) == outcome, at


@pytest.mark.parametrize("name", CASES)
def test_framer_stream_that_ends_anywhere_ends_without_more_messages(name: str) -> None:
    """A stream that ends early gives the beginning of what the whole gives, and one outcome more at most."""
    stream, outcome = CASES[name]
    for at in range(len(stream)):
        seen = feed(SipFramer(), [stream[:at]])
        whole = [each for each in seen if isinstance(each, bytes)]
        assert len(whole) <= len([each for each in outcome if isinstance(each, bytes)]) + 1
        assert all(each in stream[:at] for each in whole)


noise = st.lists(
    st.one_of(
        st.sampled_from([A, B, C, OPEN, BARE, b"\r\n\r\n", b"SIP/2.0", b"INVITE sip:", b"\n", b"l: 3\r\n\r\n", A[:60]]),
        st.binary(max_size=12),
    ),
    max_size=8,
).map(b"".join)


@given(stream=noise, cuts=st.lists(st.integers(0, 1_500), max_size=8), searching=st.booleans())
def test_framer_any_bytes_in_any_pieces_gives_the_same_as_whole(
    stream: bytes, cuts: list[int], searching: bool
) -> None:
    """No bytes raise anything but DecodeError, and splits change nothing."""
    edges = [0, *sorted(min(each, len(stream)) for each in cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in pairwise(edges)]
    whole = feed(SipFramer(searching=searching), [stream])
    assert feed(SipFramer(searching=searching), pieces) == whole
    assert feed(SipFramer(searching=searching), single_bytes(stream)) == whole


@given(pieces=st.lists(st.one_of(noise, st.integers(1, 3_000)), max_size=8))
def test_framer_any_bytes_and_gaps_end_in_messages_or_reasons(pieces: list[bytes | int]) -> None:
    """Whatever is missing, only what was there comes out."""
    there = b"\x01".join(piece for piece in pieces if isinstance(piece, bytes))
    for each in feed(SipFramer(), pieces):
        if isinstance(each, bytes):
            assert each.replace(b"\x01", b"") in there.replace(b"\x01", b"")


@given(bodies=st.lists(st.binary(max_size=300), max_size=8))
def test_framer_messages_one_after_another_come_out_as_they_went_in(bodies: list[bytes]) -> None:
    """Concatenated messages are found again, whatever they carry."""
    messages: Outcome = [message(body) for body in bodies]
    assert feed(SipFramer(), [b"".join(message(body) for body in bodies)]) == messages


GAPS: dict[str, tuple[list[bytes | int], Outcome]] = {
    "in a body": ([A[:-30], 10, A[-20:] + B], [CUT, A[:-30], B]),
    "to the end of a body": ([A[:-30], 30, B], [CUT, A[:-30], B]),
    "of a body and a half message": ([A[:-30], 40, B[10:] + B], [CUT, A[:-30], "gap", B]),
    "in a head": ([A[:60], 10, A[70:] + B], ["gap", B]),
    "between messages, of whole ones": ([A, len(B), C], [A, C]),
    "between messages, of the next one's beginning": ([A, 20, B[20:] + C], [A, "gap", C]),
    "two in one body": ([A[:-30], 10, A[-20:-10], 5, A[-5:] + B], [CUT, A[:-30], B]),
    "two in one body, the second too long": ([A[:-30], 10, A[-20:-10], 15, B[5:] + C], [CUT, A[:-30], "gap", C]),
    "in a body without length": ([OPEN[:-9], 5, OPEN[-4:] + B], [CUT, OPEN[:-9], B]),
    "while looking": ([b"rubbish\r\n", 9, b"more\r\n" + B], ["not_sip", B]),
    "behind keep-alives": ([A, b"\r\n", 2, B], [A, B]),
    "before a word that is the end of a method": (
        [A, 3, b"ITE sip:b@example.com SIP/2.0\r\n" + HEAD + b"\r\n" + B],
        [A, "gap", B],
    ),
    "at the end": ([A, B[:-5], 5], [A, "gap"]),
}


@pytest.mark.parametrize("name", GAPS)
def test_framer_gap_keeps_what_has_a_whole_head_and_finds_the_next_message(name: str) -> None:
    """A message with a whole head is kept without its end, any other counts as lost, and the stream goes on."""
    pieces, outcome = GAPS[name]
    assert feed(SipFramer(), pieces) == outcome
    bytewise = [part for piece in pieces for part in ([piece] if isinstance(piece, int) else single_bytes(piece))]
    assert feed(SipFramer(), bytewise) == outcome


@pytest.mark.parametrize("at", range(len(A)))
def test_framer_picked_up_anywhere_in_a_message_finds_the_next(at: int) -> None:
    """A capture that begins within a message tells of its tail once, and loses no other."""
    outcome = [A, B] if at == 0 else ["mid_stream", B] if A[at:].strip() else [B]
    assert feed(SipFramer(searching=True), [A[at:] + B]) == outcome
    assert feed(SipFramer(searching=True), single_bytes(A[at:] + B)) == outcome


def test_framer_offsets_are_those_of_the_stream() -> None:
    """Offsets count every byte: keep-alives, garbage, what was lost."""
    framer = SipFramer()
    offsets = []
    for piece in (b"\r\n", A, B[:40], B[40:], b"?\r\n", C):
        framer.receive_data(piece)
        while True:
            try:
                frame = framer.next_message()
            except DecodeError:
                continue
            if frame is None:
                break
            offsets.append(frame.offset)
    assert offsets == [2, 2 + len(A), 5 + len(A + B)]
    assert framer.gap(100) is None
    framer.receive_data(A)
    frame = framer.next_message()
    assert frame is not None
    assert frame.offset == 5 + len(A + B + C) + 100


def test_framer_message_without_length_settles_when_nothing_comes() -> None:
    """The last message of a quiet stream does not wait for ever."""
    framer = SipFramer()
    framer.receive_data(OPEN)
    assert framer.next_message() is None
    assert framer.is_open
    frame = framer.settle()
    assert frame is not None
    assert (frame.payload, frame.is_truncated) == (OPEN, False)
    assert framer.settle() is None


def test_framer_head_without_end_is_given_up_at_the_bound() -> None:
    """A head that never ends holds no more than one message may have."""
    framer = SipFramer()
    framer.receive_data(b"INVITE sip:a@b SIP/2.0\r\n")
    line = b"X: " + b"x" * 1_000 + b"\r\n"
    with pytest.raises(DecodeError, match="too_long"):
        for _ in range(2 * MAX_SIP_MESSAGE_BYTES // len(line)):
            framer.receive_data(line)
            assert framer.next_message() is None
            assert framer.pending <= MAX_SIP_MESSAGE_BYTES + len(line)
    framer.receive_data(A)
    assert framer.next_message() == (A, 24 + len(line) * ((MAX_SIP_MESSAGE_BYTES - 24) // len(line) + 1), False)


def test_framer_garbage_without_end_is_dead_and_holds_nothing() -> None:
    """A stream that is no SIP is given up after the bound, and costs one line until then."""
    framer = SipFramer()
    framer.receive_data(b"x" * 1_000)
    assert framer.next_message() is None
    seen: Outcome = []
    for _ in range(MAX_SIP_MESSAGE_BYTES // 1_000 + 12):
        framer.receive_data(b"x" * 1_000)
        try:
            assert framer.next_message() is None
        except DecodeError as error:
            seen.append(error.reason)
        assert framer.pending <= MAX_SIP_START_LINE_BYTES + 2_000
    assert seen == ["not_sip"]
    assert framer.dead
    assert framer.pending == 0


def test_framer_start_line_too_long_is_no_start_line() -> None:
    """A line without end is not waited for."""
    line = b"INVITE sip:" + b"a" * MAX_SIP_START_LINE_BYTES
    assert feed(SipFramer(), [line + b" SIP/2.0\r\n" + A]) == ["not_sip", A]


def test_framer_large_message_in_drips_takes_linear_time() -> None:
    """A message of 300 KB in pieces of 10 bytes costs no more than its bytes do."""
    large = message(b"x" * 300_000)
    began = time.perf_counter()
    assert feed(SipFramer(), [large[at : at + 10] for at in range(0, len(large), 10)]) == [large]
    assert time.perf_counter() - began < 10


def test_framer_many_messages_in_one_piece_take_linear_time() -> None:
    """A piece of many megabytes is cut without moving the rest for each message."""
    began = time.perf_counter()
    assert len(feed(SipFramer(), [A * 30_000])) == 30_000
    assert time.perf_counter() - began < 10


def test_framer_start_line_that_is_refused_is_not_found_again() -> None:
    """The check and the search agree: what one refuses (a line too long, with blanks) the other does not find."""
    line = b"INVITE sip:a " + b"b" * 2_100 + b" SIP/2.0"
    assert feed(SipFramer(), [message(SDP, start=line) + A]) == ["not_sip", A]
    assert feed(SipFramer(searching=True), [b"x\n" + message(SDP, start=line) + A]) == ["mid_stream", A]


@pytest.mark.parametrize("before", [b"x ", b"INVITE sip:a SIP/2.0\r\nc: x\r\n\r\n"], ids=["searching", "in a body"])
@pytest.mark.parametrize("unit", [b"SIP/2.0", b"AB SIP/2.0", b"INVITE sip:SIP/2.0"])
def test_framer_line_full_of_versions_is_looked_at_once(
    before: bytes, unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a line has the version, the search for a method goes over its bytes once, not once for each."""
    searched = 0

    def search(data: bytearray, begin: int, end: int) -> re.Match[bytes] | None:
        nonlocal searched
        searched += end - begin
        return known_method(data, begin, end)

    known_method = sip_start._KNOWN_METHOD
    monkeypatch.setattr(sip_start, "_KNOWN_METHOD", search)
    framer = SipFramer(searching=before == b"x ")
    framer.receive_data(before + unit * (60_000 // len(unit)))
    drain(framer)
    assert searched < 3 * 60_000


@pytest.mark.parametrize("size", [4_094, 4_095, 4_096, 4_097, 8_190, 8_191, 8_192])
@pytest.mark.parametrize("end", [b"\n\r\n", b"\n\n"])
def test_head_end_is_found_wherever_it_is(size: int, end: bytes) -> None:
    """At the edges of what is searched at a time, too; the first one counts."""
    assert head_end(b"x" * size + end + b"y\n\ny\n\r\n") == size + len(end)
    assert head_end(b"x" * size + end, 17) == size + len(end)
    assert head_end(b"x" * size) == 0


@pytest.mark.parametrize("at", range(1, len(A)))
def test_is_one_message_is_false_for_parts(at: int) -> None:
    """What is quickly taken for one message is exactly one."""
    assert is_one_message(A)
    assert not is_one_message(A[:at])
    assert not is_one_message(A[at:])
    assert not is_one_message(A + A[:at])


@given(name=st.sampled_from([b"Content-Length", b"content-length", b"l", b"L"]), number=st.integers(0, 10**9 - 1))
def test_content_length_usual_and_odd_spellings_are_read_alike(name: bytes, number: int) -> None:
    """The quick way and the regular expression agree."""
    head = b"INVITE sip:a SIP/2.0\r\n" + name + b": %d\r\n\r\n" % number
    assert content_length(head) == number
    assert content_length(head.replace(b": ", b":")) == number


def test_cut_pieces_are_the_whole() -> None:
    """The helper of these tests loses nothing."""
    assert b"".join(cut(A, 3, 50)) == A
