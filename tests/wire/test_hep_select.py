"""Chunks by the module's selectors (spec/sipcapture.md 7.5)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.wire.hep import attach_frames, decode_datagram, whole_frames
from sipcap.wire.hep_select import chunk_value, hep_version, selected_chunk
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US, chunk, hep3, hep3_with, hep12, sip, time_block, usual_chunks


def received(data: bytes) -> list[Message]:
    """The messages of a datagram, with their frames."""
    messages: list[Message] = []
    decode_datagram(data, messages)
    attach_frames(data, messages)
    return messages


def test_version_tells_what_came() -> None:
    """1, 2, 3 for EEP1 too, and -1 for what came without HEP."""
    two = hep12(sip(), version=2, block=time_block(1, 2, 3))
    eep1 = hep3(*usual_chunks(), chunk(15, sip()), magic=b"EEP1")
    versions = [hep_version(received(data)[0]) for data in (hep12(sip()), two, hep3_with(sip()), eep1)]
    assert [*versions, hep_version(Message(sip()))] == [1, 2, 3, 3, -1]


@pytest.mark.parametrize(("selector", "number"), [
    ("0x011", 17), ("0X00F", 15), ("00017", 17), ("65535", 65_535), ("0xfff", 4_095), (17, 17), (65_535, 65_535),
])  # fmt: skip
def test_selector_names_a_chunk(selector: int | str, number: int) -> None:
    """Five characters: 0x and three hexadecimal digits of any case, or five decimal ones; or a number."""
    assert selected_chunk(selector) == number


@pytest.mark.parametrize("selector", [
    "", "17", "0x11", "0x0011", "000017", "0x000", "00000", "65536", "99999", "0x01g", " 0x01", "src_ip", "Version",
    "-0017", "+0017", "0_017", "\u0661\u0661\u0661\u0661\u0661", 0, -1, 65_536,
])  # fmt: skip
def test_selector_that_names_none_is_refused(selector: int | str) -> None:
    """The module does not start with them."""
    with pytest.raises(ValueError, match="unknown hep name"):
        selected_chunk(selector)


CHUNKS = (
    (0x012, b"\0\x64", 100), (0x013, b"node1\0x", "node1"), (0x014, b"\0\0\1\2\3\4\5\6", "01:02:03:04:05:06"),
    (0x00E, b"k\0y", b"k\0y"), (0x010, b"zip", b"zip"), (0x011, b"id\0tail", "id"), (0x029, b"g", "g"),
    (0x02A, b"?", b"?"), (0x023, b"\0\0\0\7", 7),
)  # fmt: skip


@pytest.mark.parametrize(("number", "data", "value"), CHUNKS)
def test_chunk_has_its_value_where_the_module_has_none(number: int, data: bytes, value: object) -> None:
    """Numbers, texts and bytes, also of chunks for which the module says -1."""
    (message,) = received(hep3_with(sip(), chunk(number, data)))
    assert chunk_value(message, number) == value


def test_chunks_of_the_envelope_are_numbers_and_addresses() -> None:
    """As in the module: 1, 2, 7 to 12 decimal, 3 to 6 as text, the payload as it is; what is not there is None."""
    (message,) = received(hep3_with(sip()))
    values = [chunk_value(message, number) for number in range(1, 17)]
    seconds, microseconds = divmod(BASE_TS_US, 1_000_000)
    assert values == [2, 17, "10.1.1.1", "10.2.2.2", None, None, 5061, 5062, seconds, microseconds, 1, 2001, None, None,
                      sip(), None]  # fmt: skip


def test_chunk_the_first_one_counts_and_vendors_have_their_own() -> None:
    """The module searches the first chunk of vendor 0; another vendor's can be asked for, as bytes."""
    more = (chunk(17, b"first"), chunk(17, b"second"), chunk(17, b"theirs", vendor=3))
    (message,) = received(hep3_with(sip(), *more))
    assert (chunk_value(message, 17), chunk_value(message, 17, vendor=3)) == ("first", b"theirs")
    assert chunk_value(message, 17, vendor=4) is None


def test_chunk_of_each_frame_in_a_datagram_is_its_own() -> None:
    """Several frames share a datagram; none sees the chunks of another."""
    data = b"".join(hep3_with(sip(), chunk(17, name)) for name in (b"a", b"bb", b"ccc"))
    messages = received(data + b"trailing")
    assert [chunk_value(message, 17) for message in messages] == ["a", "bb", "ccc"]
    assert all(message.frame is messages[0].frame for message in messages)


def test_head_of_old_versions_answers_under_the_chunks_types() -> None:
    """HEPv1 has no time and no id; v2 has; the family tells where the addresses stand."""
    (one,) = received(hep12(sip()))
    assert [chunk_value(one, number) for number in (1, 2, 3, 4, 5, 7, 9, 10, 12, 15, 17)] == [
        2, 17, "10.1.1.1", "10.2.2.2", None, 5061, None, None, None, sip(), None,
    ]  # fmt: skip
    addresses = {"source": (bytes(15) + b"\1", 5061), "destination": (bytes(15) + b"\2", 5062)}
    (two,) = received(hep12(sip(), version=2, family=10, block=time_block(7, 5, 3), **addresses))  # type: ignore[arg-type]
    assert [chunk_value(two, number) for number in (3, 5, 9, 10, 12)] == [None, "::1", 7, 5, 3]
    assert chunk_value(two, 12, vendor=1) is None


def test_packet_without_hep_answers_with_what_its_headers_said() -> None:
    """A hook works on a mirror port too."""
    message = Message(sip(), BASE_TS_US, "10.0.0.1", 5060, "10.0.0.2", 5080, 17, 2, extra={"vlan": 7})
    values = [chunk_value(message, number) for number in (3, 8, 15, 12, 0x12, 0x18, 17)]
    assert values == ["10.0.0.1", 5080, sip(), None, 7, None, None]


@pytest.mark.parametrize(("data", "size"), [
    (hep3_with(b"x"), 0), (hep3_with(b"x") * 3, 0), (hep3_with(b"x") + b"HEP3", 4), (hep3_with(b"x") + b"\0\0", 2),
    (hep3_with(b"x") + b"HEP3\xff\xff", 6), (hep3_with(b"x") + b"HEP3\0\5", 6), (hep12(sip()), len(hep12(sip()))),
    (b"", 0),
])  # fmt: skip
def test_whole_frames_leave_out_what_is_none(data: bytes, size: int) -> None:
    """Behind the whole frames stand so many bytes that a stream must not get."""
    assert whole_frames(data) == len(data) - size


@given(
    st.one_of(
        st.binary(max_size=80),
        st.binary(max_size=60).map(lambda data: b"HEP3" + struct.pack(">H", len(data) + 6) + data),
    )
)
def test_chunks_of_any_bytes_are_values(data: bytes) -> None:
    """Whatever was decoded can be asked for any chunk."""
    assert 0 <= whole_frames(data) <= len(data)
    try:
        messages = received(data)
    except DecodeError:
        return
    for message in messages:
        for number in (*range(1, 45), 65_535):
            for vendor in (0, 1):
                value = chunk_value(message, number, vendor)
                assert value is None or isinstance(value, int | str | bytes)
