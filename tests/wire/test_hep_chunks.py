"""Every chunk of HEP revision 37 by itself (spec/sipcapture.md 2.5)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sipcap.record import SipRecord
from sipcap.wire import hep_chunks
from sipcap.wire.message import Message
from tests.support.decoding import message_of, reason_of
from tests.support.messages import chunk, hep3, hep3_with

IP6_A, IP6_B = b"\x20\x01\x0d\xb8" + bytes(11) + b"\1", b"\x20\x01\x0d\xb8" + bytes(11) + b"\2"


@dataclass(frozen=True)
class Basic:
    """A chunk of the basic envelope: its data, the field it sets, and the value."""

    number: int
    data: bytes
    field: str
    value: object


BASIC = (
    Basic(0x01, b"\x0a", "family", 10),
    Basic(0x02, b"\x16", "ip_protocol", 22),
    Basic(0x03, b"\x7f\0\0\1", "source_ip", "127.0.0.1"),
    Basic(0x04, b"\x7f\0\0\2", "destination_ip", "127.0.0.2"),
    Basic(0x05, IP6_A, "source_ip", "2001:db8::1"),
    Basic(0x06, IP6_B, "destination_ip", "2001:db8::2"),
    Basic(0x07, b"\xff\xff", "source_port", 65_535),
    Basic(0x08, b"\x13\xc4", "destination_port", 5060),
    Basic(0x09, b"\xff\xff\xff\xff", "ts_us", 0xFFFF_FFFF * 1_000_000),
    Basic(0x0B, b"\x64", "payload_type", 100),
    Basic(0x0C, b"\xff\xff\xff\xff", "capture_id", 0xFFFF_FFFF),
    Basic(0x0E, b"se\0cret\xff", "auth_key", b"se\0cret\xff"),
    Basic(0x0F, b"\0\xff", "payload", b"\0\xff"),
    Basic(0x11, "Grüße".encode(), "correlation_id", "Grüße"),
)


@pytest.mark.parametrize("basic", BASIC, ids=lambda basic: f"{basic.number:#x}")
def test_chunk_alone_sets_its_field_and_no_other(basic: Basic) -> None:
    """Any chunk may come alone; all other fields keep what they are without it."""
    expected = Message(b"", hep_version=3)
    setattr(expected, basic.field, basic.value)
    if basic.number in (3, 5):
        expected.family = 2 if basic.number == 3 else 10
    assert message_of(hep3(chunk(basic.number, basic.data))) == expected


@dataclass(frozen=True)
class Extra:
    """A rarer chunk: its data, the NDJSON key, and the value."""

    number: int
    data: bytes
    key: str
    value: int | str


EXTRAS = (
    Extra(0x0D, b"\0\x1e", "keep_alive_s", 30),
    Extra(0x12, b"\x0f\xff", "vlan", 4095),
    Extra(0x13, b"node1", "node_name", "node1"),
    Extra(0x14, bytes.fromhex("0000aabbcc010203"), "source_mac", "aa:bb:cc:01:02:03"),
    Extra(0x15, bytes.fromhex("0000aabbcc010204"), "destination_mac", "aa:bb:cc:01:02:04"),
    Extra(0x16, b"\x08\0", "ether_type", 0x800),
    Extra(0x17, b"\x18", "tcp_flags", 0x18),
    Extra(0x18, b"\xb8", "tos", 0xB8),
    Extra(0x20, b"\x01\xa4", "mos", 420),
    Extra(0x21, b"\0\x5d", "r_factor", 93),
    Extra(0x22, b"52.5,13.4", "geo_location", "52.5,13.4"),
    Extra(0x23, b"\0\1\0\0", "jitter", 65_536),
    Extra(0x24, b"call", "transaction_type", "call"),
    Extra(0x25, b"a,b", "payload_json_keys", "a,b"),
    Extra(0x26, b"vip", "tags", "vip"),
    Extra(0x27, b"\0\2", "tag_type", 2),
    Extra(0x28, b"\0\1", "event_type", 1),
    Extra(0x29, b"g1", "group_id", "g1"),
)


@pytest.mark.parametrize("extra", EXTRAS, ids=lambda extra: extra.key)
def test_chunk_of_revision_37_is_kept_by_name(extra: Extra) -> None:
    """Every chunk that the basic envelope has no field for is found under its NDJSON key."""
    assert message_of(hep3_with(b"x", chunk(extra.number, extra.data))).extra == {extra.key: extra.value}


def test_chunks_of_revision_37_are_all_known() -> None:
    """Types 1 to 0x29 without the reserved 0x19 to 0x1f; each name is a key of the record."""
    known = {basic.number for basic in BASIC} | {extra.number for extra in EXTRAS} | {0x0A, 0x10}
    assert known == set(range(1, 0x2A)) - set(range(0x19, 0x20))
    assert {extra.number for extra in EXTRAS} == set(hep_chunks.EXTRA_FIELDS)
    assert {extra.key for extra in EXTRAS} <= set(SipRecord.__struct_fields__)


@pytest.mark.parametrize("number", sorted(hep_chunks.MIN_SIZES))
def test_chunk_of_fixed_size_too_short_is_refused_and_too_long_is_read(number: int) -> None:
    """A short one never borrows from the next chunk; of a long one the first bytes count (spec 2.4)."""
    size = hep_chunks.MIN_SIZES[number]
    for short in range(size):
        assert reason_of(hep3_with(b"x", chunk(number, bytes(short)))) == "chunk_size"
    fields = {basic.number: basic.data for basic in BASIC} | {extra.number: extra.data for extra in EXTRAS}
    data = fields.get(number, bytes(size))
    assert message_of(hep3_with(b"x", chunk(number, data + b"\xee\xee"))) == message_of(
        hep3_with(b"x", chunk(number, data))
    )


def test_chunk_vlan_of_one_byte_and_mac_of_six_are_read() -> None:
    """Revisions 12 to 14 have one byte of VLAN; heplify sends the MAC without HEP's two zero bytes."""
    data = hep3_with(b"x", chunk(0x12, b"\x07"), chunk(0x14, bytes.fromhex("aabbcc010203")))
    assert message_of(data).extra == {"vlan": 7, "source_mac": "aa:bb:cc:01:02:03"}


@pytest.mark.parametrize("number", [0x0E, 0x0F, 0x11, 0x13, 0x22, 0x24, 0x25, 0x26, 0x29])
def test_chunk_of_any_size_may_be_empty(number: int) -> None:
    """Octet strings have no least length."""
    assert message_of(hep3_with(b"x", chunk(number, b""))).hep_version == 3
