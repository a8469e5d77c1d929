"""Any bytes to a record: total, exact, and in time that grows with the message only."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.extract import Extractor
from sipcap.ndjson import encode_records
from sipcap.record import SIP_COLUMNS, Record, SipRecord, message_bytes
from sipcap.wire.message import Message
from tests.support.messages import sip, sip_message

EXTRACTORS = (Extractor(), Extractor(aleg_headers=("Via", "f"), custom_headers=("To", "m", "v"), require_headers=True))


def record_or_reason(payload: bytes, payload_type: int = 1) -> Record | str:
    """What the plain extractor makes of a payload."""
    try:
        return EXTRACTORS[0].record(Message(payload, 1_000_000, payload_type=payload_type), 0)
    except DecodeError as error:
        return error.reason


def _check(payload: bytes) -> None:
    seen = record_or_reason(payload)
    assert seen == record_or_reason(payload)
    if isinstance(seen, str):
        assert seen in ("not_sip", "no_payload")
        return
    assert isinstance(seen, SipRecord)
    assert message_bytes(seen) == payload
    for name in SIP_COLUMNS:
        value = getattr(seen, name)
        # NUL and invalid bytes are U+FFFD in every column but msg (design 1.5).
        assert not isinstance(value, str) or name == "msg" or "\0" not in value, name
    assert 0 <= seen.contact_port < 65_536
    assert 0 <= seen.originator_port < 65_536
    encode_records([seen])
    try:
        EXTRACTORS[1].record(Message(payload), 0)
    except DecodeError as error:
        assert error.reason == "missing_header"


@given(payload=st.binary(max_size=200), payload_type=st.integers(0, 255))
def test_record_of_any_bytes_is_a_record_or_a_reason(payload: bytes, payload_type: int) -> None:
    """Behind a start line or without one, as SIP or as a report."""
    _check(payload)
    _check(b"INVITE sip:a@b SIP/2.0\r\n" + payload)
    record_or_reason(payload, payload_type)


@given(number=st.integers(0, 11), changes=st.lists(st.tuples(st.integers(0, 700), st.binary(max_size=3)), max_size=5))
def test_record_of_a_damaged_message_is_a_record_or_a_reason(number: int, changes: list[tuple[int, bytes]]) -> None:
    """Bytes replaced anywhere in a realistic message."""
    payload = bytearray(sip_message(number))
    for at, data in changes:
        payload[at : at + len(data)] = data
    _check(bytes(payload))


@pytest.mark.parametrize("number", range(12))
def test_record_of_a_message_cut_anywhere_is_a_record_or_a_reason(number: int) -> None:
    """Only a cut in the start line can make it unreadable."""
    payload = sip_message(number)
    for end in range(len(payload)):
        _check(payload[:end])
    assert isinstance(record_or_reason(payload[: payload.index(b"\r\n")]), SipRecord)


HEADERS = (
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "P-Asserted-Identity",
    "Authorization",
    "X-OIP",
    "Unknown",
)
PIECES = (
    b'"',
    b"<",
    b">",
    b":",
    b"\\",
    b";",
    b",",
    b"@",
    b" ",
    b"\0",
    b"\r\n ",
    b"\n",
    b"\xff",
    b'"\\',
    b"<sip:",
    b";tag=",
)


@pytest.mark.parametrize("piece", PIECES)
def test_record_of_64_kb_of_one_thing_takes_linear_time(piece: bytes) -> None:
    """Wherever a hostile sender puts it: bare, in the start line, or in any header."""
    run = piece * (64_000 // len(piece))
    payloads = [run, b"INVITE " + run, b"INVITE sip:" + run + b" SIP/2.0\r\n", b"SIP/2.0 200 " + run]
    payloads += [sip(headers={header: "x"}).replace(b": x\r\n", b": " + run + b"\r\n") for header in HEADERS]
    for payload in payloads:
        began = time.perf_counter()
        record_or_reason(payload)
        assert time.perf_counter() - began < 1
