"""Records as the values of a row."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from msgspec import UNSET
from msgspec.structs import asdict

from sipcap.ndjson import encode_records
from sipcap.record import ENVELOPE_KEYS, REPORT_COLUMNS, SIP_COLUMNS, Record, SipRecord, message_bytes
from sipcap.sinks.base import Row
from sipcap.sinks.rows import REPORT_ROW, SIP_ROW, RowMaker
from tests.support.records import records, report_record, sip_record


def row_of(record: Record, maker: RowMaker | None = None, **unknown: Any) -> dict[str, Any]:
    """The values of a record by their columns."""
    is_sip = isinstance(record, SipRecord)
    maker = maker or RowMaker(SIP_COLUMNS if is_sip else REPORT_COLUMNS)
    return dict(zip(SIP_ROW if is_sip else REPORT_ROW, maker.values(Row(record, unknown)), strict=True))


@given(record=records)
def test_values_hold_everything_that_the_record_holds(record: Record) -> None:
    """The columns are the record's, msg_raw its bytes, envelope the rest: what went in can come out."""
    row = row_of(record)
    keys = asdict(record)
    raw, envelope = row.pop("msg_raw"), row.pop("envelope")
    assert row.pop("msg") == record.msg.replace("\0", "\ufffd")
    assert row.items() <= keys.items()
    assert (record.msg.encode() if raw is None else raw) == message_bytes(record)
    known = json.loads(encode_records([record]))
    expected = {key: known[key] for key in ENVELOPE_KEYS[1:] if key in known}
    assert (json.loads(envelope) if envelope else {}) == expected


@pytest.mark.parametrize(
    ("msg", "b64", "stored", "raw"),
    [
        ("plain", UNSET, "plain", None),
        ("", UNSET, "", None),
        ("a\0b", UNSET, "a\ufffdb", b"a\0b"),
        ("\ufffd", UNSET, "\ufffd", None),
        ("a\ufffd", b"a\xff", "a\ufffd", b"a\xff"),
        ("a\0\ufffd", b"a\0\xff", "a\ufffd\ufffd", b"a\0\xff"),
        ("", b"", "", b""),
    ],
)
def test_values_msg_has_no_nul_and_msg_raw_is_null_where_msg_is_exact(
    msg: str, b64: Any, stored: str, raw: bytes | None
) -> None:
    """Text that SQL functions can read to its end, and the bytes beside it only where they differ."""
    row = row_of(sip_record(msg=msg, msg_b64=b64))
    assert (row["msg"], row["msg_raw"]) == (stored, raw)


@pytest.mark.parametrize("make", [sip_record, report_record])
def test_values_envelope_has_what_is_known_and_unknown_keys(make: Any) -> None:
    """The envelope is JSON of what there is, NULL if there is nothing."""
    assert row_of(make())["envelope"] is None
    assert json.loads(row_of(make(vlan=7, node_name="\u00e4"))["envelope"]) == {"vlan": 7, "node_name": "\u00e4"}
    assert json.loads(row_of(make(), site={"a": None})["envelope"]) == {"site": {"a": None}}
    both = row_of(make(vlan=7, vendor_chunks=[{"vendor": 1, "data": b"\xff"}]), site=2**70)
    assert json.loads(both["envelope"]) == {"vlan": 7, "vendor_chunks": [{"vendor": 1, "data": "/w=="}], "site": 2**70}


def test_values_remembered_envelopes_are_those_of_their_records() -> None:
    """What is remembered for one record never appears in another."""
    maker = RowMaker(SIP_COLUMNS)
    for number in (1, 2, 1, 10**6, 2):
        row = row_of(sip_record(vlan=number % 5_000, tags=str(number)), maker)
        assert json.loads(row["envelope"]) == {"vlan": number % 5_000, "tags": str(number)}
        assert row_of(sip_record(), maker)["envelope"] is None
        assert json.loads(row_of(sip_record(vlan=1), maker, more=number)["envelope"]) == {"vlan": 1, "more": number}


@pytest.mark.parametrize(("count", "size"), [(20_000, 100), (2_000, 60_000)])
def test_values_memory_for_envelopes_is_bounded(count: int, size: int) -> None:
    """Senders whose envelopes never repeat, short or long, do not fill the memory."""
    maker = RowMaker(SIP_COLUMNS)
    tracemalloc.start()
    for number in range(count):
        maker.values(Row(sip_record(tags=f"{number:{size}}"), {}))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 20 << 20
