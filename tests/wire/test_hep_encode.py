"""Messages to HEP datagrams, and back."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sipcap.wire import hep_chunks as c
from sipcap.wire.address import ip_text
from sipcap.wire.hep import decode_datagram, looks_like_hep
from sipcap.wire.hep_encode import EncodeError, encode_hep
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US, chunk, hep3, sip, usual_chunks

VECTOR_V1 = bytes.fromhex("0110021113c513c60a0101010a020202") + b"PAYLOAD"
VECTOR_V2 = bytes.fromhex("0210021113c513c60a0101010a02020200f1536540e201004d000000") + b"PAYLOAD"
VECTOR_V2_IP6 = bytes.fromhex(
    "02280a1113c513c6" "20010db8000000000000000000000001" "20010db8000000000000000000000002"
    "00f1536540e201004d000000"
) + b"P"  # fmt: skip
VECTOR_V3 = bytes.fromhex(
    "48455033006b" "00000001000702" "00000002000711" "00000003000a0a010101" "00000004000a0a020202"
    "00000007000813c5" "00000008000813c6" "00000009000a6553f100" "0000000a000a0001e240" "0000000b000701"
    "0000000c000a000007d1" "00000011000743" "0000000f000758"
)  # fmt: skip
"""spec/sipcapture.md 2.10: made by the real module and siptrace."""

BASE = Message(
    b"PAYLOAD", BASE_TS_US, "10.1.1.1", 5061, "10.2.2.2", 5062, ip_protocol=17, family=2, hep_version=3, capture_id=77
)


def back(data: bytes) -> Message:
    """The one message of a datagram."""
    messages: list[Message] = []
    decode_datagram(data, messages, BASE_TS_US)
    (message,) = messages
    return message


def refusal(message: Message, version: int = 3, *, auth_key: bytes | None = None) -> str:
    """Why a message cannot be encoded."""
    with pytest.raises(EncodeError) as caught:
        encode_hep(message, version, auth_key=auth_key)
    return caught.value.reason


def test_encode_hep1_gives_the_vector() -> None:
    """HEPv1 is what siptrace sends, byte for byte."""
    assert encode_hep(BASE, 1) == VECTOR_V1


def test_encode_hep2_gives_the_vectors() -> None:
    """HEPv2 is what siptrace sends, for IPv4 and IPv6."""
    assert encode_hep(BASE, 2) == VECTOR_V2
    ip6 = replace(BASE, payload=b"P", source_ip="2001:db8::1", destination_ip="2001:db8::2", family=10)
    assert encode_hep(ip6, 2) == VECTOR_V2_IP6


def test_encode_hep3_gives_the_vector() -> None:
    """HEPv3 is what siptrace sends, chunk by chunk."""
    message = replace(BASE, payload=b"X", capture_id=2001, correlation_id="C")
    assert encode_hep(message) == VECTOR_V3


def test_encode_hep3_keeps_the_order_of_siptrace() -> None:
    """Correlation id, key, rarer fields and vendor chunks stand between chunk 12 and the payload."""
    extra = {"vlan": 100, "tos": 8, "vendor_chunks": [{"vendor": 2, "type": 1, "data": b"v"}]}
    message = replace(BASE, correlation_id="C", extra=extra)
    expected = hep3(
        *usual_chunks(capture_id=77),
        chunk(0x11, b"C"),
        chunk(0x0E, b"key"),
        chunk(0x12, b"\0\x64"),
        chunk(0x18, b"\x08"),
        chunk(1, b"v", vendor=2),
        chunk(0x0F, b"PAYLOAD"),
    )
    assert encode_hep(message, auth_key=b"key") == expected


IP_TEXTS = st.one_of(
    st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: ip_text(ip.packed)), st.just("")
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
UNSIGNED = {size: st.integers(0, 256**size - 1) for size in (1, 2, 4)}


def values_of(field: c.Field) -> st.SearchStrategy[Any]:
    """What a rarer field can hold."""
    if field.form == "uint":
        return UNSIGNED[field.size]
    return st.binary(min_size=6, max_size=6).map(lambda mac: mac.hex(":")) if field.form == "mac" else TEXTS


KNOWN_TYPES = {c.AUTH_KEY, c.COMPRESSED_PAYLOAD, c.CORRELATION_ID, *c.MIN_SIZES, *c.EXTRA_FIELDS, c.PAYLOAD, 0}
VENDOR_CHUNKS = st.lists(
    st.tuples(st.integers(0, 65_535), st.integers(0, 65_535), st.binary(max_size=20))
    .filter(lambda chunk: chunk[0] != 0 or chunk[1] not in KNOWN_TYPES)
    .map(lambda chunk: {"vendor": chunk[0], "type": chunk[1], "data": chunk[2]}),
    min_size=1,
    max_size=4,
)
EXTRAS = st.fixed_dictionaries(
    {}, optional={field.name: values_of(field) for field in c.EXTRA_FIELDS.values()} | {"vendor_chunks": VENDOR_CHUNKS}
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message that the decoder can yield."""
    source = draw(IP_TEXTS)
    return Message(
        draw(st.binary(max_size=300)),
        draw(st.one_of(st.just(0), st.integers(1_000_000, 2**32 * 1_000_000 - 1))),
        source,
        draw(UNSIGNED[2]),
        draw(IP_TEXTS),
        draw(UNSIGNED[2]),
        draw(UNSIGNED[1]),
        draw(UNSIGNED[1]) if not source else 10 if ":" in source else 2,
        draw(UNSIGNED[1]),
        3,
        draw(UNSIGNED[4]),
        draw(st.none() | TEXTS),
        draw(st.none() | st.binary(max_size=20)),
        draw(EXTRAS) or None,
    )


@given(messages())
def test_hep3_round_trip_is_exact(message: Message) -> None:
    """What is encoded decodes to the same message, whatever fields it has."""
    data = encode_hep(message)
    assert looks_like_hep(data)
    assert back(data) == message


@given(messages(), st.sampled_from([1, 2]))
def test_hep12_round_trip_keeps_what_fits(message: Message, version: int) -> None:
    """Versions 1 and 2 keep addresses, ports, protocol and payload; version 2 time and 16 bits of capture id."""
    sent = replace(message, payload=sip(), payload_type=1)
    if not sent.source_ip or (":" in sent.source_ip) != (":" in sent.destination_ip) or not sent.destination_ip:
        assert refusal(sent, version) == "address"
        return
    seconds, microseconds = divmod(sent.ts_us, 1_000_000)
    sent.ts_us = (seconds and BASE_TS_US // 1_000_000) * 1_000_000 + (microseconds if seconds else 0)
    received = back(encode_hep(sent, version))
    expected = Message(
        sent.payload, 0, sent.source_ip, sent.source_port, sent.destination_ip, sent.destination_port,
        sent.ip_protocol, sent.family, 1, version,
    )  # fmt: skip
    if version == 2:
        expected = replace(expected, ts_us=sent.ts_us, capture_id=sent.capture_id & 0xFFFF)
    assert received == expected


def test_hep3_keeps_microseconds_beyond_a_million() -> None:
    """The last second that 32 bits hold may have more microseconds, as the decoder adds them up."""
    message = replace(BASE, ts_us=(2**32 - 1) * 1_000_000 + 2**32 - 1)
    assert back(encode_hep(message)) == message


def test_the_own_key_goes_out_unless_another_is_given() -> None:
    """A captured authentication key is kept, and replaced by the one that is asked for."""
    message = replace(BASE, auth_key=b"old")
    assert back(encode_hep(message)).auth_key == b"old"
    assert back(encode_hep(message, auth_key=b"new")).auth_key == b"new"


def test_names_that_are_no_chunk_are_left_out() -> None:
    """What sipcap notes for itself does not travel in HEP."""
    assert back(encode_hep(replace(BASE, extra={"clock_skew_us": 5}))) == BASE


@pytest.mark.parametrize("version", [1, 2, 3])
def test_the_largest_message_fits_and_one_byte_more_does_not(version: int) -> None:
    """A datagram has 65,535 bytes at most, and what is larger is refused by name."""
    room = 65_535 - len(encode_hep(replace(BASE, payload=b""), version))
    assert len(encode_hep(replace(BASE, payload=b"x" * room), version)) == 65_535
    assert refusal(replace(BASE, payload=b"x" * (room + 1)), version) == "too_big"
    assert refusal(replace(BASE, payload=b"x" * 1_000_000), version) == "too_big"


def test_a_field_that_fills_the_frame_is_too_big() -> None:
    """It does not matter which chunk is too large."""
    assert refusal(replace(BASE, correlation_id="x" * 70_000)) == "too_big"
    assert refusal(BASE, auth_key=b"x" * 70_000) == "too_big"
    assert refusal(replace(BASE, extra={"node_name": "x" * 70_000})) == "too_big"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ts_us": -1}, "time"),
        ({"ts_us": 2**32 * 1_000_000 + 2**32}, "time"),
        ({"source_ip": "nonsense"}, "address"),
        ({"destination_ip": "10.0.0.256"}, "address"),
        ({"source_port": 65_536}, "field"),
        ({"capture_id": 2**32}, "field"),
        ({"ip_protocol": 256}, "field"),
        ({"payload_type": -1}, "field"),
        ({"extra": {"vlan": 65_536}}, "field"),
        ({"extra": {"vlan": -1}}, "field"),
        ({"extra": {"vlan": "1"}}, "field"),
        ({"extra": {"node_name": 1}}, "field"),
        ({"extra": {"source_mac": "02:00"}}, "field"),
        ({"extra": {"source_mac": "no MAC"}}, "field"),
        ({"extra": {"vlan": [1]}}, "field"),
        ({"extra": {"vendor_chunks": [{"type": 1}]}}, "field"),
        ({"extra": {"vendor_chunks": [{"vendor": 70_000, "type": 1, "data": b""}]}}, "field"),
    ],
)
def test_values_that_do_not_fit_are_refused_by_name(changes: dict[str, Any], expected: str) -> None:
    """A value outside of its chunk's range is an EncodeError with a fixed reason, never a wrong number."""
    assert refusal(replace(BASE, **changes)) == expected


@pytest.mark.parametrize("version", [1, 2])
def test_only_sip_fits_versions_1_and_2(version: int) -> None:
    """RTCP, logs and the like need version 3."""
    assert refusal(replace(BASE, payload_type=5), version) == "not_sip"
    assert refusal(replace(BASE, source_port=65_536), version) == "field"
    assert refusal(replace(BASE, destination_ip="::1"), version) == "address"


def test_there_is_no_version_4() -> None:
    """An unknown version is the caller's mistake, not a message's."""
    with pytest.raises(ValueError, match="version 4"):
        encode_hep(BASE, 4)


def test_hep3_without_addresses_has_no_address_chunks() -> None:
    """An unknown address is left out and stays unknown."""
    data = encode_hep(replace(BASE, source_ip="", destination_ip="", family=2))
    assert struct.pack(">HHH", 0, 3, 10) not in data
    assert back(data).source_ip == ""
