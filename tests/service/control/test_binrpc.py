"""BINRPC: recorded bytes (spec/control.md 1), the codec, and the framer of streams."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import BINRPC_VALUES, CONTROL_REQUEST_BYTES
from sipcap.service.control.binrpc import (
    FAULT,
    REPLY,
    REQUEST,
    BinrpcFramer,
    Packet,
    decode_values,
    encode_packet,
    encode_values,
)
from sipcap.service.control.methods import Methods
from sipcap.service.control.sessions import BinrpcSession
from tests.support.controlling import SmallService


def recorded(head: str, *parts: str | bytes) -> bytes:
    """Bytes as the specification writes them: hex, and texts."""
    return bytes.fromhex(head) + b"".join(bytes.fromhex(part) if isinstance(part, str) else part for part in parts)


CHECK = recorded("a1031b6e791abc9112", b"sipcapture.status", "0061", b"check", "00")
ENABLED = recorded("a1130a6e791abc9108", b"Enabled", "00")
ON = recorded("a103181d13ba6e9112", b"sipcapture.status", "0031", b"on", "00")
BOGUS = recorded("a1031b53f8eba89112", b"sipcapture.status", "0061", b"bogus", "00")
BAD = recorded("a1332653f8eba82001f49121", b"Bad parameter (on, off or check)", "00")
NO_WORD = recorded("a103140bdc013e9112", b"sipcapture.status", "00")
NOT_ENOUGH = recorded("a1332e0bdc013e2001f49129", b"Not enough parameters (on, off or check)", "00")
VERSION = recorded("a1030f03b20142910d", b"core.version", "00")
NOPE = recorded("a1030641424344", "51", b"nope", "00")
NOT_FOUND = recorded("a1331c414243442001f49117", b"command nope not found", "00")


def serve(data: bytes, service: SmallService | None = None) -> list[bytes]:
    """The answers to bytes of one client."""
    session = BinrpcSession(Methods(service or SmallService()).call)
    return [answer for job in session.receive_data(data) if (answer := job()) is not None]


def packets(data: bytes, step: int) -> list[Packet]:
    """What a framer gives for bytes that come in pieces."""
    framer = BinrpcFramer()
    return [packet for at in range(0, len(data), step) for packet in framer.receive_data(data[at : at + step])]


@pytest.mark.parametrize(
    ("request_bytes", "reply"),
    [(CHECK, ENABLED), (BOGUS, BAD), (NO_WORD, NOT_ENOUGH), (NOPE, NOT_FOUND)],
)
def test_server_gives_the_bytes_of_kamailio(request_bytes: bytes, reply: bytes) -> None:
    """Recorded between Kamailio 5.6.3 and its clients."""
    assert serve(request_bytes) == [reply]


def test_server_switches_on() -> None:
    """The recorded request does what it says."""
    service = SmallService()
    service.set_capture(None, on=False)
    assert serve(ON, service) == [encode_packet(REPLY, bytes.fromhex("1d13ba6e"), encode_values(["Enabled"]))]
    assert service.capture_is_on()


def test_server_answers_several_requests_of_one_piece() -> None:
    """In their order."""
    assert serve(CHECK + BOGUS + CHECK) == [ENABLED, BAD, ENABLED]


def test_server_gives_a_row_for_statistics() -> None:
    """As recorded: values side by side, no array."""
    payload = encode_values(["stats.get_statistics", "captured_requests", "captured_replies"])
    (answer,) = serve(encode_packet(REQUEST, b"ABCD", payload))
    (packet,) = packets(answer, 1 << 20)
    assert decode_values(packet.payload) == ["sipcapture:captured_requests = 7", "sipcapture:captured_replies = 5"]


def test_encode_struct_has_the_bytes_of_kamailio() -> None:
    """The recorded answer of core.uptime."""
    up = {"now": "Wed Nov 25 21:51:11 2026", "up_since": "Wed Nov 25 21:50:52 2026", "uptime": 19}
    assert encode_packet(REPLY, b"ABCD", encode_values([up])) == bytes.fromhex(
        "a1 13 52 41 42 43 44 03 45 6e 6f 77 00 91 19 57 65 64 20 4e 6f 76 20 32 35 20 32 31 3a 35 31 3a 31 31 20 32 30"
        "32 36 00 95 09 75 70 5f 73 69 6e 63 65 00 91 19 57 65 64 20 4e 6f 76 20 32 35 20 32 31 3a 35 30 3a 35 32 20 32"
        "30 32 36 00 75 75 70 74 69 6d 65 00 10 13 83"
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "00"), (1, "1001"), (255, "10ff"), (500, "2001f4"), (2**31 - 1, "407fffffff"), (-1, "40ffffffff"),
        (True, "1001"), ("", "1100"), ("abcdef", "71" + b"abcdef\0".hex()), ("abcdefg", "9108" + b"abcdefg\0".hex()),
        ("x" * 300, "a1012d" + (b"x" * 300 + b"\0").hex()), (1.5, "2205dc"), (None, "1100"), ({}, "0383"),
        ({"a": [1, 2]}, "03" "256100" "1001" "256100" "1002" "83"), ([], "0383"),
    ],
)  # fmt: skip
def test_encode_value_as_the_specification_has_it(value: Any, written: str) -> None:
    """Sizes up to 7 stand in the first byte, larger ones behind it."""
    assert encode_values([value]) == bytes.fromhex(written)


@pytest.mark.parametrize("number", [2**31, -(2**31), 2**63, 1_767_225_600_012_345])
def test_encode_of_a_large_number_is_its_digits(number: int) -> None:
    """The integers of kamcmd have 32 bits: a counter must not come out wrong."""
    assert decode_values(encode_values([number])) == [str(number)]


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 1e12])
def test_encode_of_a_number_that_does_not_fit_is_text(number: float) -> None:
    """Thousandths in 32 bits do not hold everything."""
    assert decode_values(encode_values([number])) == [str(number)]


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
        | st.integers(-(2**31) + 1, 2**31 - 1)
    )
)
def test_values_come_back(values: list[Any]) -> None:
    """decode(encode(x)) == x for what a request may hold."""
    assert decode_values(encode_values(values)) == values


def test_text_with_a_nul_does_not_end_there() -> None:
    """The rest of a text cannot pass for something else."""
    assert decode_values(encode_values(["a\0b"])) == ["a\ufffdb"]


@pytest.mark.parametrize("data", [CHECK, ENABLED, BAD, NOT_ENOUGH, VERSION, encode_packet(REQUEST, b"x", b"y" * 300)])
def test_framer_waits_for_the_end_of_every_packet(data: bytes) -> None:
    """Cut at every byte, with trailing data, byte by byte: always the same packet."""
    (whole,) = packets(data, len(data))
    for end in range(len(data)):
        framer = BinrpcFramer()
        assert list(framer.receive_data(data[:end])) == []
        assert framer.is_inside is (end > 0)
        assert list(framer.receive_data(data[end:] + data)) == [whole, whole]
    assert packets(data * 3, 1) == [whole] * 3
    assert encode_packet(whole.kind, whole.cookie, whole.payload) == data


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_packet_with_any_cookie_comes_back(size: int) -> None:
    """Clients choose its size."""
    packet = Packet(FAULT, b"\xff" * size, b"p" * 70_000)
    with pytest.raises(DecodeError, match="length"):
        packets(encode_packet(packet.kind, packet.cookie, packet.payload), 1 << 20)
    small = Packet(FAULT, b"\xff" * size, b"")
    assert packets(encode_packet(small.kind, small.cookie, small.payload), 1) == [small]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xb1" + CHECK[1:], "magic"), (b"GET / HTTP/1.1\r\n", "magic"), (b"\xa2", "magic"),
        (b"\xa1\x0f" + b"\xff" * 4, "length"), (b"\xa1\x0b" + (CONTROL_REQUEST_BYTES + 1).to_bytes(3, "big"), "length"),
    ],
)  # fmt: skip
def test_framer_refuses_what_is_no_packet(data: bytes, reason: str) -> None:
    """Before it waits for what a length promises."""
    with pytest.raises(DecodeError) as caught:
        packets(data, 1 << 20)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ("91", "short"), ("9105", "short"), ("21", "short"), ("f1ffffffff", "size"), ("c1ffffffff", "short"),
        ("03", "type"), ("83", "type"), ("15ff", "type"), ("5000000000ff", "size"),
        ("00" * (BINRPC_VALUES + 1), "values"),
    ],
)  # fmt: skip
def test_decode_refuses_what_are_no_values(payload: str, reason: str) -> None:
    """Each with its token."""
    with pytest.raises(DecodeError) as caught:
        decode_values(bytes.fromhex(payload))
    assert caught.value.reason == reason


def test_server_says_what_is_wrong_with_a_request_and_goes_on() -> None:
    """A packet that is whole can be skipped; one without a name, or that is no request, is one."""
    bad = [encode_packet(REQUEST, b"AB", payload) for payload in (b"", b"\x91", encode_values([5]))]
    bad.append(encode_packet(REPLY, b"AB", encode_values(["core.version"])))
    answers = serve(b"".join(bad) + CHECK)
    assert [packets(each, 1 << 20)[0].kind for each in answers] == [FAULT] * 4 + [REPLY]
    reasons = [decode_values(packets(each, 1 << 20)[0].payload)[1] for each in answers[:4]]
    assert reasons == [f"bad request: {reason}" for reason in ("method", "short", "method", "kind")]


def test_server_ends_a_stream_that_is_none() -> None:
    """Where the next packet begins is not known; what came before has its answer."""
    session = BinrpcSession(Methods(SmallService()).call)
    first, last = session.receive_data(CHECK + b"\xff")
    assert first() == ENABLED
    assert session.is_over
    fault = last()
    assert fault is not None
    assert packets(fault, 1 << 20)[0].kind == FAULT


@given(st.binary(max_size=120))
def test_server_any_bytes_are_answered_or_waited_for(data: bytes) -> None:
    """No bytes raise anything, behind a header that is right either."""
    for stream in (data, encode_packet(REQUEST, b"abcd", data)):
        for answer in serve(stream):
            packets(answer, 1 << 20)
