"""The rows between the stages, from received bytes to a line and back (design 1.5)."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from sipcap.extract import Extractor
from sipcap.ndjson import decode_record, encode_records
from sipcap.record import (
    ENVELOPE_KEYS,
    REPORT_COLUMNS,
    SIP_COLUMNS,
    Record,
    ReportRecord,
    SipRecord,
    date_text,
    message_bytes,
)
from tests.support.decoding import message_of
from tests.support.messages import chunk, hep3, hep3_with, sip, usual_chunks

RECORD = Extractor().record


def from_line(line: bytes) -> Record:
    """Read a line that lacks nothing."""
    record, unknown = decode_record(line, lambda _: pytest.fail("a column was absent"))
    assert unknown == {}
    return record


def test_record_fields_are_the_columns_and_one_envelope() -> None:
    """44 and 12 columns behind v and kind; what follows is the same in both kinds of record."""
    assert SipRecord.__struct_fields__ == ("v", "kind", *SIP_COLUMNS, *ENVELOPE_KEYS)
    assert ReportRecord.__struct_fields__ == ("v", "kind", *REPORT_COLUMNS, *ENVELOPE_KEYS)
    assert (len(SIP_COLUMNS), len(REPORT_COLUMNS), ENVELOPE_KEYS[0]) == (44, 12, "msg_b64")
    sip_types, report_types = SipRecord.__annotations__, ReportRecord.__annotations__
    assert {key: sip_types[key] for key in ENVELOPE_KEYS} == {key: report_types[key] for key in ENVELOPE_KEYS}


def test_record_line_of_a_usual_message_is_as_short_as_it_can_be() -> None:
    """No key that is not known, no second copy of the message."""
    line = encode_records([RECORD(message_of(hep3_with(sip())), 0)])
    keys = json.loads(line)
    assert list(keys) == ["v", "kind", *SIP_COLUMNS, "payload_type", "hep_version", "capture_id"]
    assert line.startswith(
        b'{"v":1,"kind":"sip","date":"2023-11-14 22:13:20","micro_ts":1700000000123456,"method":"INVITE"'
    )


def test_record_line_of_a_report_has_its_own_columns() -> None:
    """A report's keys are the twelve, then the envelope."""
    data = hep3(*usual_chunks(payload_type=100), chunk(0x13, b"n1"), chunk(15, b"log"))
    keys = json.loads(encode_records([RECORD(message_of(data), 0)]))
    assert list(keys) == ["v", "kind", *REPORT_COLUMNS, "payload_type", "hep_version", "capture_id", "node_name"]
    assert (keys["kind"], keys["msg"], keys["node_name"]) == ("report", "log", "n1")


_utf8 = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(str.encode)


_odd = st.lists(
    st.sampled_from([
        b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "\ufffd".encode(), "\U0001f4de".encode(), b"\0",
        b"\x1b", b'"', b"\\", b"\r\n", b"\x7f", "\u2028".encode(),
    ])
).map(b"".join)  # fmt: skip


@given(body=st.binary(max_size=60) | _utf8 | _odd, payload_type=st.sampled_from([1, 100]))
@example(body="\ufffd".encode(), payload_type=1)
def test_record_of_any_bytes_survives_its_line_exactly(body: bytes, payload_type: int) -> None:
    """What was received comes back byte by byte; msg_b64 is there only if msg does not tell it."""
    payload = sip(body=body)
    data = hep3(*usual_chunks(payload_type=payload_type), chunk(15, payload))
    record = RECORD(message_of(data), 0)
    line = encode_records([record])
    assert from_line(line) == record
    assert message_bytes(from_line(line)) == payload
    keys = json.loads(line)
    try:
        payload.decode()
    except UnicodeDecodeError:
        assert base64.b64decode(keys["msg_b64"]) == payload
    else:
        assert "msg_b64" not in keys
    assert not any("\ud800" <= character <= "\udfff" for character in keys["msg"])


def test_record_with_every_field_of_hep_survives_its_line_exactly() -> None:
    """Vendor chunks keep their bytes, numbers stay numbers."""
    numbers = [
        chunk(number, b"\0\0\xaa\xbb\xcc\1\2\3") for number in (0x0D, 0x12, *range(0x14, 0x19), *range(0x20, 0x2A))
    ]
    record = RECORD(message_of(hep3_with(sip(), *numbers, chunk(7, b"\0\xff", vendor=5), chunk(0x11, b"c"))), 0)
    assert [key for key in ENVELOPE_KEYS if getattr(record, key) is UNSET] == [
        "msg_b64", "node_name", "ip_protocol", "original_ts_us",
    ]  # fmt: skip
    assert record.vendor_chunks == [{"vendor": 5, "type": 7, "data": b"\0\xff"}]
    assert from_line(encode_records([record])) == record


@given(seconds=st.integers(0, 2**32))
@example(951_782_400)
def test_date_text_is_utc(seconds: int) -> None:
    """The form of design 1.5, whatever the machine's zone."""
    assert date_text(seconds) == datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


@given(micro_ts=st.integers(-(2**63), 2**63 - 1))
def test_date_text_of_any_64_bits_is_text(micro_ts: int) -> None:
    """No number that a record can hold is an error."""
    assert len(date_text(micro_ts // 1_000_000)) >= 14
