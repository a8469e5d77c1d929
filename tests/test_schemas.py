"""The tables of each schema, where the user names none."""

from __future__ import annotations

import pytest

from sipcap.extract import Extractor
from sipcap.record import ReportRecord, SipRecord
from sipcap.routing import Router
from sipcap.schemas import SCHEMAS, hep_type, transaction_method
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record, sip_record

CALL = ("INVITE", "UPDATE", "BYE", "ACK", "PRACK", "REFER", "CANCEL", "INFO")
OTHER = ("OPTIONS", "SUBSCRIBE", "MESSAGE", "PUBLISH", "X-OWN", "invite", "")


def _request(method: str, *headers: str) -> SipRecord:
    head = "\r\n".join([f"{method or 'X'} sip:a@b SIP/2.0", f"CSeq: 1 {method}", *headers])
    record = Extractor().record(Message(f"{head}\r\n\r\n".encode(), ts_us=BASE_TS_US), 0)
    assert isinstance(record, SipRecord)
    return record


def _reply(cseq: str) -> SipRecord:
    payload = f"SIP/2.0 200 OK\r\nCSeq: {cseq}\r\n\r\n".encode()
    record = Extractor().record(Message(payload, ts_us=BASE_TS_US), 0)
    assert isinstance(record, SipRecord)
    return record


def _report(kind: int) -> ReportRecord:
    record = Extractor().record(Message(b"{}", ts_us=BASE_TS_US, payload_type=kind), 0)
    assert isinstance(record, ReportRecord)
    return record


@pytest.mark.parametrize("method", CALL)
@pytest.mark.parametrize("is_reply", [False, True])
def test_methods_of_calls_have_their_table(method: str, is_reply: bool) -> None:
    """A reply goes where its request went, by the method in CSeq."""
    record = _reply(f"1 {method}") if is_reply else _request(method)
    assert transaction_method(record) == method
    assert Router(schema="homer5").table_of(record) == "sip_capture_call_20231114"
    assert Router(schema="homer7").table_of(record) == "hep_proto_1_call"


@pytest.mark.parametrize("record", [_request("REGISTER"), _reply("9 REGISTER"), _reply(" 9\t REGISTER  ")])
def test_registrations_have_their_table(record: SipRecord) -> None:
    """Registrations would bury the calls."""
    assert Router(schema="homer5").table_of(record) == "sip_capture_registration_20231114"
    assert Router(schema="homer7").table_of(record) == "hep_proto_1_registration"


@pytest.mark.parametrize(
    "record", [*map(_request, OTHER), *(_reply(f"1 {method}") for method in OTHER), _reply("REGISTER"), _reply("")]
)
def test_everything_else_has_its_table(record: SipRecord) -> None:
    """Other methods, and replies that do not tell, are stored as well."""
    assert Router(schema="homer5").table_of(record) == "sip_capture_rest_20231114"
    assert Router(schema="homer7").table_of(record) == "hep_proto_1_default"


@pytest.mark.parametrize(
    ("headers", "table"),
    [
        (("Event: refer;id=1",), "call"),
        (("o: Refer;id=1",), "call"),
        (("Event: refer",), "rest"),
        (("Event: presence",), "rest"),
        ((), "rest"),
    ],
)
def test_notify_belongs_to_a_call_if_it_is_about_a_transfer(headers: tuple[str, ...], table: str) -> None:
    """HOMER 5's script looks at Event; HOMER 7 takes every NOTIFY as part of a call."""
    record = _request("NOTIFY", *headers)
    assert Router(schema="homer5").table_of(record) == f"sip_capture_{table}_20231114"
    assert Router(schema="homer7").table_of(record) == "hep_proto_1_call"


def test_notify_whose_message_is_no_sip_is_stored() -> None:
    """A line made by hand may have anything in msg."""
    record = sip_record(method="NOTIFY", msg="", micro_ts=BASE_TS_US)
    assert Router(schema="homer5").table_of(record) == "sip_capture_rest_20231114"


@pytest.mark.parametrize(
    ("ts_us", "day"),
    [
        (1_704_067_199_999_999, "20231231"),
        (1_704_067_200_000_000, "20240101"),
        (1_709_164_800_000_000, "20240229"),
        (1_711_846_799_999_999, "20240331"),  # an hour before Europe's clocks change
        (-1, "19691231"),
    ],
)
def test_days_are_those_of_the_message_in_utc(ts_us: int, day: str) -> None:
    """The table's day is the message's, also at the end of a year and when clocks change."""
    record = _request("INVITE")
    record.micro_ts = ts_us
    assert Router(schema="homer5").table_of(record) == f"sip_capture_call_{day}"


@pytest.mark.parametrize("kind", [2, 5, 32, 34, 35, 38, 50, 53, 54, 56, 81, 86, 99, 100, 200, 255])
@pytest.mark.parametrize("schema", SCHEMAS)
def test_reports_of_all_hep_types_have_a_table(kind: int, schema: str) -> None:
    """RTCP and logs have their own in all schemas, DNS and ISUP in that of HOMER 7."""
    expected = {
        "sipcapture": {5: "rtcp_capture", 100: "logs_capture"}.get(kind, "report_capture"),
        "homer5": {5: "rtcp_capture_all", 100: "logs_capture_all"}.get(kind, "report_capture_all") + "_20231114",
        "homer7": f"hep_proto_{kind if kind in (5, 53, 54, 100) else 35}_default",
    }
    assert Router(schema=schema).table_of(_report(kind)) == expected[schema]


@pytest.mark.parametrize(("kind", "expected"), [(3, 5), (2, 32), (4, 99), (5, 100), (0, 0), (34, 34)])
def test_hep_type_not_told_is_that_of_the_modules_type(kind: int, expected: int) -> None:
    """A line with the module's columns alone finds its table."""
    assert hep_type(report_record(type=kind)) == expected
    assert hep_type(report_record(type=kind, payload_type=7)) == 7


def test_tables_that_are_named_win_over_those_of_homer5() -> None:
    """--table and --report-table go with HOMER 5's columns."""
    router = Router(("mine_%Y",), "all", schema="homer5")
    assert router.table_of(_request("REGISTER")) == "mine_2023"
    assert router.table_of(_report(5)) == "all"
