"""HEPv1 and HEPv2 (spec/sipcapture.md 2.2, 2.3, 2.10)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.wire.hep12 import decode_hep12
from sipcap.wire.message import Message
from tests.support.decoding import cut_everywhere, message_of, messages_of, outcome, reason_of
from tests.support.messages import BASE_TS_US, hep12, sip, time_block

SECONDS, MICROSECONDS = divmod(BASE_TS_US, 1_000_000)

V1 = bytes.fromhex("0110021113c513c60a0101010a0202025041594c4f4144")
V2 = bytes.fromhex("0210021113c513c60a0101010a02020200f1536540e201004d0000005041594c4f4144")
V2_IP6 = bytes.fromhex(
    "02280a1113c513c6 20010db8 0000000000000000000000 01 20010db8 0000000000000000000000 02 00f1536540e201004d000000 50"
)


def test_hep1_vector_of_the_spec_decodes_to_its_fields() -> None:
    """The vector of spec 2.10; HEPv1 has neither time nor capture id."""
    assert message_of(V1) == Message(
        b"PAYLOAD", 0, "10.1.1.1", 5061, "10.2.2.2", 5062, ip_protocol=17, family=2, hep_version=1
    )


def test_hep2_vector_of_the_spec_decodes_to_its_fields() -> None:
    """The vector of spec 2.10, with time and capture id."""
    assert message_of(V2) == Message(
        b"PAYLOAD", BASE_TS_US, "10.1.1.1", 5061, "10.2.2.2", 5062, 17, 2, hep_version=2, capture_id=77
    )


def test_hep2_ipv6_vector_of_the_spec_decodes_to_its_fields() -> None:
    """The IPv6 vector of spec 2.10."""
    assert message_of(V2_IP6) == Message(
        b"P", BASE_TS_US, "2001:db8::1", 5061, "2001:db8::2", 5062, 17, 10, hep_version=2, capture_id=77
    )


@pytest.mark.parametrize(("data", "head"), [(V1, 16), (V2, 28), (V2_IP6, 52)])
def test_hep12_cut_anywhere_is_short_or_a_shorter_payload(data: bytes, head: int) -> None:
    """A cut in the head is refused, a cut behind it cannot be told from a short message."""
    seen = cut_everywhere(decode_hep12, data)
    assert seen[:head] == ["short"] * head
    assert [m.payload for m in seen[head:] if isinstance(m, Message)] == [
        data[head:end] for end in range(head, len(data) + 1)
    ]


@pytest.mark.parametrize("protocol", [0, 6, 17, 22, 132, 255])
def test_hep12_any_protocol_is_kept_as_sent(protocol: int) -> None:
    """The IANA number goes on, also 22, which stands for TLS; mapping it is the record's business."""
    assert message_of(hep12(b"x", protocol=protocol)).ip_protocol == protocol


def test_hep12_length_byte_is_not_looked_at() -> None:
    """Senders fill the byte called length differently; Kamailio never checks it (spec 2.2)."""
    assert message_of(V1[:1] + b"\x63" + V1[2:]).payload == b"PAYLOAD"


@pytest.mark.parametrize("family", [0, 1, 3, 9, 11, 28, 255])
def test_hep12_other_family_is_refused(family: int) -> None:
    """Only Linux' numbers for IPv4 and IPv6 tell how long the addresses are."""
    assert reason_of(hep12(b"x" * 99, family=family)) == "family"


def test_hep2_without_time_has_none() -> None:
    """Zero seconds mean that the sender had no time, whatever the microseconds say."""
    assert message_of(hep12(b"x", version=2, block=time_block(0, 5, 7))).ts_us == 0


LAYOUTS = {
    "little endian, 12 bytes": ("<", b"\0\0"),
    "little endian, 12 bytes, padding not zero": ("<", b"\xfe\x7f"),
    "little endian, 10 bytes": ("<", b""),
    "big endian, 12 bytes": (">", b"\0\0"),
    "big endian, 10 bytes": (">", b""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "start", [b"INVITE sip:a@b", b"ACK sip:a@b", b"BYE tel:1", b"SIP/2.0 200 OK", b"PUBLISH sip:x"]
)
def test_hep2_time_block_of_any_layout_is_told_by_its_content(layout: str, start: bytes) -> None:
    """Kamailio and sngrep write 12 bytes little endian, heplify's readers expect 10 bytes big endian (spec 2.3)."""
    order, padding = LAYOUTS[layout]
    block = time_block(SECONDS, MICROSECONDS, 300, order=order, padding=padding)
    message = message_of(hep12(start, version=2, block=block))
    assert (message.payload, message.ts_us, message.capture_id) == (start, BASE_TS_US, 300)


@pytest.mark.parametrize("padding", [b"\0\0", b""])
def test_hep2_unknown_method_still_tells_the_block_length(padding: bytes) -> None:
    """A method that sipcap does not know looks like a request at both places; the earlier one is right."""
    block = time_block(SECONDS, MICROSECONDS, 300, padding=padding)
    assert message_of(hep12(b"SERVICE sip:a@b SIP/2.0", version=2, block=block)).payload[:8] == b"SERVICE "


def test_hep2_payload_that_is_no_sip_takes_the_usual_block() -> None:
    """Without a start line, 12 bytes are the sane guess: all senders seen write them."""
    assert message_of(hep12(b"\r\n\r\n", version=2, block=time_block(1, 2, 3))).payload == b"\r\n\r\n"


@pytest.mark.parametrize("order", "<>")
def test_hep2_time_plausible_both_ways_is_the_one_nearer_to_arrival(order: str) -> None:
    """Zero microseconds tell nothing; then the clock of the receiver decides."""
    data = hep12(sip(), version=2, block=time_block(SECONDS, 0, 1, order=order))
    (message,) = messages_of(data, received_us=BASE_TS_US + 3_000_000)
    assert message.ts_us == SECONDS * 1_000_000


def test_hep2_time_plausible_both_ways_without_arrival_is_little_endian() -> None:
    """Little endian is what Kamailio, captagent and sngrep write."""
    assert message_of(hep12(sip(), version=2, block=time_block(SECONDS, 0, 1))).ts_us == SECONDS * 1_000_000


def test_hep2_time_absurd_both_ways_is_still_read() -> None:
    """Microseconds beyond a second are added as sent (spec 2.5)."""
    data = hep12(sip(), version=2, block=time_block(1, 0xFFFF_FFFF, 1))
    assert message_of(data).ts_us == 1_000_000 + 0xFFFF_FFFF


def test_hep12_other_version_is_refused() -> None:
    """The version byte is 1 or 2."""
    assert outcome(decode_hep12, b"\3" + V1[1:]) == "version"


@given(data=st.binary(max_size=80), version=st.sampled_from([1, 2]), received_us=st.integers(0, 2**62))
def test_hep12_any_bytes_give_a_message_or_a_reason(data: bytes, version: int, received_us: int) -> None:
    """Total: no bytes raise anything but DecodeError."""
    outcome(lambda each: messages_of(each, received_us), bytes((version,)) + data)
