"""What went in comes out: record to row to record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from sipcap.calls.readers.base import Layout
from sipcap.calls.rebuild import rebuild_with
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, Record, ReportRecord, SipRecord
from sipcap.sinks.base import Row
from sipcap.sinks.rows import REPORT_ROW, SIP_ROW, RowMaker
from tests.calls.helpers import at, find, store
from tests.support.records import report_record, report_records, rows_of, sip_record, sip_records

SIP = Layout("t", "sip", SIP_ROW, "micro_ts", "rowid")
REPORT = Layout("t", "report", REPORT_ROW, "micro_ts", "rowid")
UNKNOWN = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key not in SipRecord.__struct_fields__),
    st.recursive(st.none() | st.booleans() | st.integers(-9, 2**63 - 1) | st.text(max_size=9), st.lists, max_leaves=4),
    max_size=3,
)  # fmt: skip


def stored(record: Record, unknown: dict[str, Any]) -> tuple[Any, ...]:
    """The row of a record as a table with all columns holds it, behind its time and key."""
    columns = SIP_COLUMNS if isinstance(record, SipRecord) else REPORT_COLUMNS
    return (record.micro_ts, 1, *RowMaker(columns).values(Row(record, unknown)))


def with_payload(record: Record, payload: bytes) -> Record:
    """A record whose message is these bytes, as a capture makes it."""
    record.msg = payload.decode("utf-8", "replace")
    record.msg_b64 = payload if record.msg.encode() != payload else UNSET
    return record


@given(record=sip_records, payload=st.binary(max_size=30), unknown=UNKNOWN)
def test_sip_record_comes_back_as_it_was(record: SipRecord, payload: bytes, unknown: dict[str, Any]) -> None:
    """Any columns, any bytes, any envelope, any unknown keys."""
    record.payload_type = 1
    with_payload(record, payload)
    assert rebuild_with(SIP)(stored(record, unknown)) == (record, unknown)


@given(record=report_records, payload=st.binary(max_size=30), unknown=UNKNOWN)
def test_report_comes_back_as_it_was(record: ReportRecord, payload: bytes, unknown: dict[str, Any]) -> None:
    """Any columns, any bytes, any envelope, any unknown keys; those of SIP are unknown to a report."""
    with_payload(record, payload)
    unknown |= {"callid": "x"}
    assert rebuild_with(REPORT)(stored(record, unknown)) == (record, unknown)


@pytest.mark.parametrize(
    "payload", [b"a\0b", b"\xff\0\xfe", b"\0", b"\xef\xbf\xbd", b"\xef\xbf\xbd\xff", "ü?".encode(), b""]
)
def test_message_comes_back_to_the_byte(payload: bytes) -> None:
    """NUL, bad UTF-8, and replacement characters that were in the message itself."""
    record = with_payload(sip_record(), payload)
    assert rebuild_with(SIP)(stored(record, {})).record == record


@pytest.mark.parametrize(("msg", "raw"), [("abc", b"abc"), ("edited", b"\xffabc"), ("", b"abc"), ("abcd", b"ab")])
def test_bytes_beside_another_text_stay_both(msg: str, raw: bytes) -> None:
    """What a user put into msg_b64 is not thrown away, whether it is needed or contradicts msg."""
    record = sip_record(msg=msg, msg_b64=raw)
    assert rebuild_with(SIP)(stored(record, {})).record == record


@pytest.mark.parametrize(("msg", "held"), [("grüße", "gr??e"), ("a😀b", "a\ufffdb"), ("x" * 300 + "😀", "x" * 200)])
def test_text_that_a_table_cannot_hold_is_read_from_the_bytes(msg: str, held: str) -> None:
    """A narrow character set or column keeps the bytes beside it."""
    row = list(stored(sip_record(), {}))
    row[2 + SIP_ROW.index("msg")], row[2 + SIP_ROW.index("msg_raw")] = held, msg.encode()
    record = rebuild_with(SIP)(tuple(row)).record
    assert (record.msg, record.msg_b64) == (msg, UNSET)


def test_report_in_a_table_of_sip_comes_back_as_report() -> None:
    """Its envelope tells; a row with SIP in it stays SIP."""
    report = report_record(payload_type=5)
    values = dict(zip(REPORT_ROW, stored(report, {})[2:], strict=True))
    row = [values.get(name, "" if name in {"envelope", "msg_raw"} or name not in values else 0) for name in SIP_ROW]
    row[SIP_ROW.index("msg_raw")] = None
    for name in ("contact_port", "originator_port"):
        row[SIP_ROW.index(name)] = 0
    assert rebuild_with(SIP)((report.micro_ts, 1, *row)).record == report
    odd = sip_record(payload_type=5)
    assert rebuild_with(SIP)(stored(odd, {})).record == odd


def test_foreign_table_is_read_as_far_as_it_goes() -> None:
    """Missing columns are empty, NULL is empty, other types are converted, the date follows from the time."""
    layout = Layout("t", "sip", ("callid", "source_port", "from_user", "proto", "msg", "date"), "micro_ts", "rowid")
    row = (1_700_000_000_000_000, 7, b"c\xff", "5060", None, "udp", b"\xffmsg", 2460000.5)
    record = rebuild_with(layout)(row).record
    assert isinstance(record, SipRecord)
    assert (record.callid, record.source_port, record.from_user, record.proto) == ("c\ufffd", 5060, "", 0)
    assert (record.msg, record.msg_b64) == ("\ufffdmsg", b"\xffmsg")
    assert (record.date, record.micro_ts) == ("2023-11-14 22:13:20", 1_700_000_000_000_000)


@pytest.mark.parametrize("envelope", ["", "no", "[1]", "1", '{"vlan":', "[" * 9_999, b"\xff", 7, 2.5])
def test_foreign_envelope_that_is_none_is_ignored(envelope: Any) -> None:
    """The column may be somebody else's."""
    row = (*stored(sip_record(), {})[:-1], envelope)
    assert rebuild_with(SIP)(row) == (sip_record(), {})


def test_foreign_envelope_cannot_forge_columns() -> None:
    """Keys that are columns, and values of a wrong type, are not believed."""
    row = (*stored(sip_record(), {})[:-1], '{"callid":"x","kind":"report","msg_b64":"eA==","vlan":"x","tos":3,"new":1}')
    assert rebuild_with(SIP)(row) == (sip_record(tos=3), {"new": 1})


@pytest.mark.parametrize("more", [{}, {"payload_type": 5}, {"vlan": 7}])
def test_report_in_a_table_of_sip_comes_back_as_it_went_in(db_path: Path, more: dict[str, Any]) -> None:
    """Whether or not it has a HEP type: hand-made ones have none. In a table of reports nothing is added for that."""
    record = report_record(1, **more)
    store(db_path, {"mixed": [at(0), record]})
    found = find(db_path, "mixed")
    reports = [one.record for one in found if one.record.kind == "report"]
    assert reports == [record]
    assert len(found) == 2
    assert not any(one.unknown for one in found)


def test_report_in_a_table_of_reports_has_no_envelope_of_its_own(db_path: Path) -> None:
    """What nothing is known of is NULL (design 1.6)."""
    store(db_path, {"report_capture": [report_record(1)]})
    assert rows_of(db_path, "report_capture", ["envelope"]) == [(None,)]
