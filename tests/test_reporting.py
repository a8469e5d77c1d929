"""Any record to a report row (spec/sipcapture.md 6.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sipcap.errors import DecodeError
from sipcap.record import ENVELOPE_KEYS, REPORT_COLUMNS, Record, ReportRecord
from sipcap.reporting import ReportMaker
from tests.support.records import records, report_record, sip_record


@given(records)
def test_report_of_any_record_has_its_columns_and_envelope(record: Record) -> None:
    """Nothing of the twelve columns and the envelope is lost, and a report stays what it is."""
    if not record.correlation_id:
        with pytest.raises(DecodeError, match="no_cid"):
            ReportMaker()(record, {})
        return
    made, _ = ReportMaker()(record, {})
    assert isinstance(made, ReportRecord)
    for name in (*REPORT_COLUMNS, *ENVELOPE_KEYS):
        assert getattr(made, name) == getattr(record, name)
    assert not isinstance(record, ReportRecord) or made == record


@given(records, st.binary(min_size=1, max_size=30))
def test_report_with_cid_and_data_has_these(record: Record, data: bytes) -> None:
    """Bytes that are no text are kept exactly, and none of the old message stay."""
    made, _ = ReportMaker("cid", data)(record, {})
    assert made.correlation_id == "cid"
    assert (made.msg.encode() if made.msg_b64 is UNSET else made.msg_b64) == data


def test_report_keeps_unknown_keys_but_no_marks() -> None:
    """Where a record was meant to go does not count."""
    unknown = {"site": "x", "_table": "t", "_mode": "m", "_error": "e"}
    _, kept = ReportMaker()(sip_record(1), unknown)
    assert kept == {"site": "x"}
    assert unknown["_table"] == "t"  # what is not ours is not changed


def test_report_row_by_hand_is_one_as_the_module_writes_it() -> None:
    """Addresses empty, ports and type 0 (design 1.4)."""
    row = ReportMaker("c", b"{}").row(1_700_000_000_000_001, "homer01")
    expected = {name: 0 for name in REPORT_COLUMNS if ReportRecord.__annotations__[name] == "Int64"}
    expected |= {"micro_ts": 1_700_000_000_000_001}
    assert {name: getattr(row, name) for name in expected} == expected
    assert (row.date, row.source_ip, row.destination_ip, row.node) == ("2023-11-14 22:13:20", "", "", "homer01")
    assert report_record().kind == row.kind
