"""TCP headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.wire.packet import Carried
from sipcap.wire.tcp import ACK, Segment, decode_tcp
from tests.support.decoding import outcome
from tests.support.tcp import PSH, tcp

FIELDS = {"vlan": 7}


def carried(data: bytes, missing: int = 0) -> Carried:
    """TCP in an IPv4 packet."""
    return Carried(6, b"\xc0\0\2\1", b"\xc0\0\2\2", 0, data, missing, b"", b"scope", 0)


def decode(data: bytes, missing: int = 0) -> Segment | str:
    """The segment, or why there is none."""
    return outcome(lambda each: decode_tcp(carried(each, missing), 5, FIELDS), data)


@pytest.mark.parametrize("options", [b"", b"\1\1\1\0", bytes(40)])
@pytest.mark.parametrize("payload", [b"", b"x", b"INVITE sip:a SIP/2.0\r\n\r\n"])
def test_segment_has_what_was_sent(options: bytes, payload: bytes) -> None:
    """Numbers, flags and payload are found behind any options."""
    data = tcp(payload, 1, 65_535, sequence=0xFFFF_FFFF, acknowledgement=7, flags=PSH | ACK, options=options)
    expected = Segment(
        5, b"\xc0\0\2\1", 1, b"\xc0\0\2\2", 65_535, b"scope", 0xFFFF_FFFF, PSH | ACK, payload, 0, FIELDS, 7
    )
    assert decode(data) == expected


def test_segment_cut_by_the_capture_says_what_is_missing() -> None:
    """A frame that the capture has cut short has a payload, a part of it, or none; a header it must have."""
    data = tcp(b"payload", options=bytes(8))
    for end in range(len(data)):
        segment = decode(data[:end], len(data) - end)
        if end < 20:
            assert segment == "short"
        else:
            assert isinstance(segment, Segment)
            assert segment.payload == data[28:end]
            assert len(segment.payload) + segment.missing == 7


@pytest.mark.parametrize(
    "data", [b"", tcp()[:19], tcp(offset=4), tcp(offset=0), tcp(offset=6), tcp(b"1234567", offset=15)]
)
def test_segment_with_lengths_that_cannot_be_is_refused(data: bytes) -> None:
    """A header shorter than 20 bytes or longer than its packet is none."""
    assert decode(data) == "tcp_length"


@given(data=st.binary(max_size=80), missing=st.integers(0, 3_000))
def test_segment_any_bytes_give_a_value_or_a_reason(data: bytes, missing: int) -> None:
    """Nothing but DecodeError is raised, and no byte is counted twice."""
    segment = decode(data, missing)
    assert isinstance(segment, Segment) or segment in ("short", "tcp_length")
    if isinstance(segment, Segment):
        assert len(segment.payload) + segment.missing <= len(data) + missing - 20
