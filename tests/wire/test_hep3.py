"""HEPv3: one frame to a message (spec/sipcapture.md 2.4, 2.5, 2.10)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipcap.limits import MAX_VENDOR_CHUNKS
from sipcap.wire import hep3 as hep3_module
from sipcap.wire.hep3 import decode_hep3
from sipcap.wire.message import Message
from tests.support.decoding import TRAILING, cut_everywhere, message_of, messages_of, outcome, reason_of
from tests.support.messages import BASE_TS_US, chunk, hep3, hep3_with, sip, usual_chunks

SPEC_VECTOR = bytes.fromhex(
    "48455033006b 00000001000702 00000002000711 00000003000a0a010101 00000004000a0a020202 00000007000813c5"
    "00000008000813c6 00000009000a6553f100 0000000a000a0001e240 0000000b000701 0000000c000a000007d1"
    "00000011000743 0000000f000758"
)
HEP37_EXAMPLE = bytes.fromhex(
    "484550330071 00000001000702 00000002000711 00000003000ad4ca0001 00000004000a527400d3 0000000700082eea"
    "00000008000813c4 00000009000a4e4982cb 0000000a000a0001d4c0 0000000b000701 0000000c000a000000e4"
    "0000000f0014 494e56495445207369703a626f62"
)
IP6_A, IP6_B = b"\x20\x01\x0d\xb8" + bytes(11) + b"\1", b"\x20\x01\x0d\xb8" + bytes(11) + b"\2"


def test_vector_of_the_spec_decodes_to_its_fields() -> None:
    """The vector of spec 2.10, with a correlation id before the payload."""
    assert message_of(SPEC_VECTOR) == Message(
        b"X", BASE_TS_US, "10.1.1.1", 5061, "10.2.2.2", 5062, 17, 2, 1, 3, 2001, correlation_id="C"
    )


def test_example_of_hep37_decodes_to_its_fields() -> None:
    """The specification's own example, whose payload is a cut request."""
    assert message_of(HEP37_EXAMPLE) == Message(
        b"INVITE sip:bob", 1_313_440_459_120_000, "212.202.0.1", 12010, "82.116.0.211", 5060, 17, 2, 1, 3, 228
    )


@pytest.mark.parametrize("data", [SPEC_VECTOR, HEP37_EXAMPLE, hep3_with(sip(), chunk(0x13, b"node"))])
def test_frame_cut_anywhere_is_refused(data: bytes) -> None:
    """No part of a frame is taken for a whole one."""
    seen = cut_everywhere(message_of, data)
    assert seen[:5] == ["empty", "short", "short", "short", "short"]
    assert seen[5] == "short"
    assert seen[6:-1] == ["length"] * (len(data) - 6)
    assert isinstance(seen[-1], Message)


@pytest.mark.parametrize("trailing", TRAILING)
def test_frame_with_bytes_behind_decodes_as_without(trailing: bytes) -> None:
    """The total length counts, what follows is ignored (spec 2.4)."""
    assert message_of(SPEC_VECTOR + trailing) == message_of(SPEC_VECTOR)


@pytest.mark.parametrize("magic", [b"HEP3", b"EEP1", b"EEP3"])
def test_frame_of_any_identifier_decodes(magic: bytes) -> None:
    """HEP37 names HEP3 and EEP3, the draft of 2013 EEP1."""
    assert message_of(magic + SPEC_VECTOR[4:]) == message_of(SPEC_VECTOR)


@pytest.mark.parametrize("total", [0, 1, 2, 3, 4, 5, 108, 65_535])
def test_frame_total_outside_the_datagram_is_refused(total: int) -> None:
    """A total below the header or beyond the datagram is never trusted."""
    assert reason_of(hep3(*usual_chunks(), chunk(15, b"x"), total=total)) == "length"


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("number", [1, 9, 15, 17, 0x1234])
def test_chunk_length_below_its_header_is_refused(number: int, length: int) -> None:
    """Such lengths would stand still or go backwards; the frame has no further place to trust."""
    assert reason_of(hep3(chunk(number, b"abcd", length=length))) == "chunk_length"
    assert reason_of(hep3_with(b"x", chunk(number, b"abcd", length=length))) == "chunk_length"


@pytest.mark.parametrize("number", [1, 9, 15, 17, 0x1234])
def test_chunk_longer_than_the_frame_is_refused(number: int) -> None:
    """One byte beyond the frame is too much, also if the datagram goes on."""
    assert reason_of(hep3(chunk(number, b"abcd", length=11)) + b"more") == "chunk_length"
    assert reason_of(hep3(*usual_chunks(), chunk(number, b"abcd", length=11)) + b"more") == "chunk_length"


@pytest.mark.parametrize("rest", [1, 2, 3, 4, 5])
def test_chunk_header_cut_by_the_frame_is_refused(rest: int) -> None:
    """Fewer than six bytes at the end are no chunk (spec 2.4)."""
    assert reason_of(hep3(*usual_chunks(), chunk(15, b"x"), bytes(rest))) == "chunk_length"


def test_chunk_of_generic_type_zero_is_refused() -> None:
    """Type 0 of vendor 0 is no chunk; of another vendor it is (spec 2.4)."""
    assert reason_of(hep3_with(b"x", chunk(0, b"abc"))) == "chunk_type"
    assert message_of(hep3_with(b"x", chunk(0, b"abc", vendor=9))).payload == b"x"


def test_chunks_of_vendors_are_kept_apart() -> None:
    """Vendor chunks and unknown generic ones never touch the envelope, whatever their type says."""
    data = hep3_with(b"x", chunk(3, b"\1\2", vendor=2), chunk(0x1F, b"?"), chunk(9, b"", vendor=0xFFFF))
    message = message_of(data)
    assert message.source_ip == "10.1.1.1"
    assert message.extra == {
        "vendor_chunks": [
            {"vendor": 2, "type": 3, "data": b"\1\2"},
            {"vendor": 0, "type": 0x1F, "data": b"?"},
            {"vendor": 0xFFFF, "type": 9, "data": b""},
        ]
    }


def test_chunks_of_vendors_beyond_the_bound_are_left_out() -> None:
    """A packet full of them is still a message; what is kept of it is bounded."""
    extra = message_of(hep3_with(b"x", *[chunk(7, b"v", vendor=5)] * 900)).extra
    assert extra is not None
    assert len(extra["vendor_chunks"]) == MAX_VENDOR_CHUNKS


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"abc", "abc"), (b"abc\0", "abc"), (b"abc\0def", "abc"), (b"", ""), (b"\0", ""), (b"a\xffb", "a\ufffdb"),
    ],
)  # fmt: skip
def test_correlation_id_ends_at_the_first_nul(data: bytes, text: str) -> None:
    """Some agents append a NUL (spec 2.5.2); an empty one is an id as well, and not None."""
    assert message_of(hep3_with(b"x", chunk(0x11, data), chunk(9, b"VEND", vendor=0x4142))).correlation_id == text
    assert message_of(hep3(*usual_chunks(), chunk(15, b"x"), chunk(0x11, data))).correlation_id == text


def test_time_without_seconds_is_none() -> None:
    """Microseconds alone are no time (spec 2.8), and seconds may come last."""
    assert message_of(hep3(chunk(10, b"\0\0\0\5"))).ts_us == 0
    assert message_of(hep3(chunk(10, b"\0\0\0\5"), chunk(9, b"\0\0\0\1"))).ts_us == 1_000_005
    late = hep3(*usual_chunks(ts_us=5), chunk(9, b"\0\0\0\1"), chunk(15, b"x"))
    assert message_of(late).ts_us == 1_000_005


def test_chunks_given_twice_the_later_one_wins() -> None:
    """Addresses of either family, ports and payloads replace those before them (spec 2.5)."""
    message = message_of(hep3_with(b"x", chunk(5, IP6_A), chunk(8, b"\0\1"), chunk(15, b"y"), chunk(12, b"\0\0\0\1")))
    assert (message.source_ip, message.family, message.destination_port) == ("2001:db8::1", 10, 1)
    assert (message.payload, message.capture_id) == (b"x", 1)


def test_addresses_of_both_families_take_that_of_the_source() -> None:
    """The address chunks tell the family, not chunk 1 (spec 2.5, 2.7)."""
    message = message_of(hep3(chunk(1, b"\2"), chunk(5, IP6_A), chunk(4, b"\1\2\3\4"), chunk(15, b"x")))
    assert (message.source_ip, message.destination_ip, message.family) == ("2001:db8::1", "1.2.3.4", 10)


_usual = st.builds(
    usual_chunks,
    ts_us=st.integers(0, 2**32 - 1).map(lambda seconds: seconds * 1_000_000 + 7),
    capture_id=st.integers(0, 2**32 - 1),
    protocol=st.integers(0, 255),
    payload_type=st.integers(0, 255),
    source=st.sampled_from([(b"\x0a\0\0\1", 5060), (IP6_A, 5061)]),
    destination=st.sampled_from([(b"\x0a\0\0\2", 5060), (IP6_B, 5061)]),
)
_any_chunk = st.builds(
    chunk,
    st.sampled_from([0, *range(1, 0x2B), 0x1234]),
    st.binary(max_size=20),
    vendor=st.sampled_from([0, 0, 0, 2]),
    length=st.sampled_from([None] * 9 + [0, 6, 40]),
)


@given(usual=_usual, more=st.lists(_any_chunk, max_size=4), change=st.integers(0, 116), cut=st.integers(0, 40))
@example(usual=usual_chunks(), more=[], change=0, cut=0)
@example(usual=usual_chunks(), more=[chunk(15, b"")], change=0, cut=0)
def test_usual_head_reads_as_the_loop_does(usual: list[bytes], more: list[bytes], change: int, cut: int) -> None:
    """The fast path is only that: for every frame, it gives what the loop over the chunks gives."""
    data = bytearray(hep3(*usual, *more))
    if change >= 6:
        data[min(change, len(data) - 1)] ^= 1
    data = data[: len(data) - cut]
    data[4:6] = struct.pack(">H", len(data))
    frame = bytes(data)

    def reference(frame: bytes) -> Message:
        message = Message(b"", hep_version=3)
        hep3_module._decode_chunks(frame, 6, len(frame), message)
        return message

    expected = outcome(reference, frame)
    seen = outcome(decode_hep3, frame)
    assert seen == (expected if isinstance(expected, str) else (expected, len(frame)))


@given(head=st.binary(max_size=30), chunks=st.lists(_any_chunk, max_size=8), tail=st.binary(max_size=30))
def test_any_bytes_give_messages_or_a_reason(head: bytes, chunks: list[bytes], tail: bytes) -> None:
    """Total: no bytes raise anything but DecodeError, and decoding twice gives the same."""
    for data in (head, b"HEP3" + head, hep3(*chunks) + tail, hep3(*chunks, head, total=len(head) + 9)):
        assert outcome(messages_of, data) == outcome(messages_of, data)
