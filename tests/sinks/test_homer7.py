"""Records as rows of HOMER 7's tables."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from sipcap.extract import Extractor
from sipcap.record import Record
from sipcap.sinks.base import Row
from sipcap.sinks.homer7 import COLUMNS, Homer7Row, create_date, homer7_row, time_text
from sipcap.sinks.homer7_form import Homer7Form, Homer7Shape
from sipcap.sinks.shape import Charset, Column, Kind, Tally
from sipcap.wire.message import Message
from tests.support.records import records, report_record, sip_record

INVITE = (
    b"INVITE sip:bob@biloxi.com:5070 SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n"
    b"From: <sip:alice@atlanta.com>;tag=f\r\nTo: <sip:bob@biloxi.com>;tag=t\r\n"
    b"Call-ID: abc123@host \r\nCSeq: 1 INVITE\r\nUser-Agent: UA/1\r\n"
    b'P-Asserted-Identity: <sip:pai@x>\r\nAuthorization: Digest username="auth"\r\n\r\n'
)
ENVELOPE: dict[str, Any] = {
    "ts_us": 1_700_000_000_000_007, "source_ip": "192.0.2.1", "source_port": 5060, "destination_ip": "192.0.2.2",
    "destination_port": 5070, "ip_protocol": 17, "family": 2, "hep_version": 3, "capture_id": 2001,
}  # fmt: skip
NUMBERS = {"protocolFamily", "protocol", "srcPort", "dstPort", "timeSeconds", "timeUseconds", "payloadType"}


def _record(payload: bytes = INVITE, **changes: Any) -> Record:
    return Extractor().record(Message(payload, **(ENVELOPE | changes)), 0)


def _headers(row: Homer7Row) -> tuple[dict[str, Any], dict[str, Any]]:
    return json.loads(row.protocol_header), json.loads(row.data_header)


def _row(record: Record) -> Homer7Row:
    return homer7_row(Row(record, {}))


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's time zone, which must not matter."""
    with monkeypatch.context() as changes:
        changes.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def test_sip_row_is_heplify_servers() -> None:
    """All keys in their order, numbers as numbers, captureId a text."""
    row = _row(_record())
    assert row.sid == "abc123@host"
    assert row.create_date == "2023-11-14 22:13:20.000007"
    assert row.protocol_header == (
        '{"protocolFamily":2,"protocol":17,"srcIp":"192.0.2.1","dstIp":"192.0.2.2","srcPort":5060,"dstPort":5070,'
        '"timeSeconds":1700000000,"timeUseconds":7,"payloadType":1,"captureId":"2001","correlation_id":"abc123@host"}'
    )
    assert row.data_header == (
        '{"ruri_user":"bob","ruri_domain":"biloxi.com","from_user":"alice","from_tag":"f","to_user":"bob","to_tag":"t",'
        '"callid":"abc123@host","cseq":"1 INVITE","method":"INVITE","user_agent":"UA/1","pid_user":"pai",'
        '"auth_user":"auth"}'
    )
    assert row.raw == INVITE.decode()
    assert not (row.is_truncated or row.is_sanitised)


def test_reply_has_its_status_as_method() -> None:
    """The method of a reply is its status code, as a text."""
    _, data = _headers(_row(_record(b"SIP/2.0 200 OK\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n")))
    assert (data["method"], data["cseq"], data["callid"]) == ("200", "1 INVITE", "x")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"family": 10, "source_ip": "2001:db8::1"}, 10),
        ({"family": 0, "source_ip": "2001:db8::1"}, 10),
        ({"family": 0}, 2),
        ({"family": 1, "hep_version": 1}, 2),
    ],
)
def test_family_is_2_or_10_always(changes: dict[str, Any], expected: int) -> None:
    """Where the agent told none, or its HEP version, the address does."""
    assert _headers(_row(_record(**changes)))[0]["protocolFamily"] == expected


@pytest.mark.parametrize("protocol", [6, 17, 22, 132])
def test_protocol_is_the_number_that_was_sent(protocol: int) -> None:
    """TLS comes as 22 and goes as 22."""
    assert _headers(_row(_record(ip_protocol=protocol)))[0]["protocol"] == protocol
    assert _headers(_row(sip_record(proto=1, ip_protocol=protocol)))[0]["protocol"] == protocol
    assert _headers(_row(sip_record(proto=9)))[0]["protocol"] == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"node_name": 'a "quoted" \\ name', "capture_id": 7}, 'a "quoted" \\ name'),
        ({"node_name": "", "capture_id": 7}, "7"),
        ({"capture_id": 0}, "0"),
        ({}, "homer01"),
    ],
)
def test_capture_id_is_a_text_that_names_the_agent(changes: dict[str, Any], expected: str) -> None:
    """The agent's name, its number, else the name that sipcap captures under; quotes do no harm."""
    protocol, _ = _headers(_row(sip_record(node="homer01", **changes)))
    assert protocol["captureId"] == expected
    protocol, data = _headers(_row(report_record(node="homer01", payload_type=5, **changes)))
    assert protocol["captureId"] == data["node"] == expected


@pytest.mark.parametrize(
    ("sent", "aleg", "expected"),
    [("corr", "leg", "corr"), ("call", "leg", "leg"), ("", "leg", "leg"), ("call", "", "call"), ("", "", "call")],
)
def test_correlation_id_is_what_was_sent_else_the_a_leg_else_the_call_id(sent: str, aleg: str, expected: str) -> None:
    """Legs of a call are found by what ties them together."""
    row = _row(sip_record(callid="call", correlation_id=sent, callid_aleg=aleg))
    assert _headers(row)[0]["correlation_id"] == expected
    assert row.sid == "call"


@pytest.mark.parametrize(
    ("hep_type", "word"),
    [(2, "2"), (5, "rtcp"), (32, "32"), (34, "rtpagent"), (35, "rtcpxr"), (38, "horaclifix"), (53, "dns"),
     (56, "56"), (99, "99"), (100, "log"), (255, "255")],
)  # fmt: skip
def test_reports_of_all_types_have_their_call_as_sid(hep_type: int, word: str) -> None:
    """RTCP and logs are looked up by the Call-ID, which agents send as correlation id."""
    row = _row(_record(b'{"a":1}', payload_type=hep_type, correlation_id="call"))
    protocol, _ = _headers(row)
    assert row.sid == protocol["correlation_id"] == "call"
    assert protocol["payloadType"] == hep_type
    assert row.data_header == f'{{"node":"2001","proto":"{word}"}}'
    assert row.raw == '{"a":1}'


@pytest.mark.parametrize("hep_type", [5, 34, 54, 100])
def test_report_without_correlation_id_is_a_row(hep_type: int) -> None:
    """Peers leave it out in silence; here its sid is empty."""
    assert _row(_record(b"no json", payload_type=hep_type)).sid == ""


@pytest.mark.parametrize(
    ("payload", "callid", "numbers"),
    [
        ({"cic": 7, "opc": 300, "dpc": 20}, "20:300:7", (7, 20, 300)),
        ({"cic": "7", "opc": 20, "dpc": 300}, "20:300:7", (7, 300, 20)),
        ({"cic": True, "opc": 1.5, "dpc": "x"}, "0:0:0", (0, 0, 0)),
        ({"cic": 10**30, "opc": -1}, "-1:0:0", (0, 0, -1)),
        ({"msg_name": "IAM"}, "", (0, 0, 0)),
        ([1], "", (0, 0, 0)),
    ],
)
def test_isup_row_has_numbers_and_a_call_of_its_own(
    payload: object, callid: str, numbers: tuple[int, int, int]
) -> None:
    """Point codes are sorted, so that both directions are one call; what cannot be read is 0."""
    row = _row(_record(json.dumps(payload).encode(), payload_type=54, correlation_id="corr"))
    protocol, data = _headers(row)
    assert list(data) == ["cic", "dpc", "opc", "msg_name", "called_number", "calling_number", "callid"]
    assert (data["cic"], data["dpc"], data["opc"]) == numbers
    assert data["callid"] == callid
    assert row.sid == (callid or "corr")
    assert protocol["correlation_id"] == "corr"


def test_isup_texts_are_read_as_agents_write_them() -> None:
    """A number is an object with ``num``, or a text; anything else is empty."""
    payload = {"msg_name": "IAM", "called_number": {"num": "123"}, "calling_number": "456"}
    _, data = _headers(_row(_record(json.dumps(payload).encode(), payload_type=54)))
    assert (data["msg_name"], data["called_number"], data["calling_number"]) == ("IAM", "123", "456")
    _, data = _headers(_row(_record(b'{"msg_name":1,"called_number":{"num":2},"calling_number":[]}', payload_type=54)))
    assert (data["msg_name"], data["called_number"], data["calling_number"]) == ("", "", "")


@pytest.mark.parametrize("msg", ["[" * 100_000, '{"msg_name":"\\ud800"}', '{"msg_name":"\\u0000"}', ""])
def test_isup_hostile_payload_is_a_row(msg: str) -> None:
    """Whatever is sent as ISUP is stored."""
    row = _row(report_record(msg=msg, payload_type=54, correlation_id="c"))
    assert row.raw == msg
    assert "\\u0000" not in row.data_header


@given(record=records)
def test_any_record_is_a_row_that_postgresql_takes(record: Record) -> None:
    """No NUL, UTF-8, objects with the keys and types that homer-app asserts, whatever a record holds."""
    row = _row(record)
    assert "\0" not in "".join(row[:5])
    "".join(row[:5]).encode()
    protocol, data = _headers(row)
    assert {key for key, value in protocol.items() if isinstance(value, int)} == NUMBERS
    assert all("\0" not in value for value in (*protocol.values(), *data.values()) if isinstance(value, str))
    assert protocol["timeSeconds"] * 1_000_000 + protocol["timeUseconds"] == record.micro_ts


@pytest.mark.parametrize(
    ("changes", "is_sanitised"),
    [
        ({"msg": "a\0b"}, True),
        ({"msg": "a\ufffdb", "msg_b64": b"a\xffb"}, True),
        ({"msg": "same", "msg_b64": b"same"}, False),
        ({"from_user": "a\0b"}, True),
        ({"callid": "a\0b"}, True),
        ({"from_user": "a\\u0000b"}, False),
        ({"via_1": "a\0b"}, False),
    ],
)
def test_what_is_replaced_is_told(changes: dict[str, Any], is_sanitised: bool) -> None:
    """A row that is not exactly what was captured counts as sanitised; what is not stored does not."""
    row = _row(sip_record(**changes))
    assert row.is_sanitised is is_sanitised
    assert not row.is_truncated
    if changes.get("from_user") == "a\\u0000b":
        assert _headers(row)[1]["from_user"] == "a\\u0000b"


@pytest.mark.parametrize("column", ["callid", "from_user", "correlation_id"])
@pytest.mark.parametrize(("text", "kept"), [("x" * 2_600, 2_600), ("x" * 2_601, 2_600), ("\u20ac" * 900, 866)])
def test_what_no_index_takes_is_cut(column: str, text: str, kept: int) -> None:
    """A hostile Call-ID does not keep its message out; raw holds it whole."""
    row = _row(sip_record(**{column: text}))
    protocol, data = _headers(row)
    found = protocol["correlation_id"] if column == "correlation_id" else data[column]
    assert found == text[:kept]
    assert row.is_truncated is (kept < len(text))
    if column == "callid":
        assert row.sid == text[:kept]


@pytest.mark.parametrize(
    ("ts_us", "text"),
    [
        (0, "1970-01-01 00:00:00.000000"),
        (-1, "1969-12-31 23:59:59.999999"),
        (1_704_067_199_999_999, "2023-12-31 23:59:59.999999"),
        (1_711_846_800_000_000, "2024-03-31 01:00:00.000000"),  # Europe's clocks go forward
        (1_729_990_800_000_000, "2024-10-27 01:00:00.000000"),  # and back
        (2**63 - 1, "294247-01-10 04:00:54.775807"),
        (-62_135_596_800_000_001, "0001-12-31 23:59:59.999999 BC"),
        (-(2**63), "290309-12-21 19:59:05.224192 BC"),
    ],
)
def test_create_date_is_the_packets_own_in_utc(zone: str, ts_us: int, text: str) -> None:
    """To the microsecond, whatever the machine's zone and however absurd the time."""
    assert create_date(ts_us) == text
    assert time_text(ts_us // 1_000_000) == re.sub(r"\.[0-9]+", "", text)


def test_form_gives_the_columns_and_counts() -> None:
    """What had to be changed is counted a row."""
    tally = Tally()
    rows = [Row(sip_record(), {}), Row(report_record(msg="\0"), {}), Row(sip_record(callid="x" * 9_000), {})]
    values = list(Homer7Form().rows(rows, tally))
    assert [len(value) for value in values] == [len(COLUMNS)] * 3
    assert (tally.truncated, tally.sanitised) == (1, 1)


ROW = ("sid", "2024-01-01 00:00:00.000000", '{"a":"\u20ac"}', "{}", "raw \u20ac")


def test_shape_of_a_table_as_it_should_be_changes_nothing() -> None:
    """JSON columns have no charset of their own."""
    texts = [Column("sid", Kind.TEXT), Column("raw", Kind.TEXT)]
    others = [Column(name) for name in ("id", "create_date", "protocol_header", "data_header")]
    tally = Tally()
    shape = Homer7Form().shape([*others, *texts], takes_nul=False)
    assert shape.fit(ROW, tally) == ROW
    assert (shape.missing, tally.truncated, tally.sanitised) == ((), 0, 0)
    assert shape == Homer7Shape([*texts, *others])


def test_shape_of_a_narrow_table_cuts_and_cleans() -> None:
    """Columns that are missing are left out, what does not fit is cut or replaced, and each row counted once."""
    latin = Charset("iso8859-1")
    columns = [Column("sid", Kind.TEXT, 2, charset=latin), Column("raw", Kind.TEXT, 5, charset=latin)]
    tally = Tally()
    shape = Homer7Form().shape([*columns, Column("protocol_header", charset=latin)], takes_nul=False)
    assert shape.missing == ("create_date", "data_header")
    assert shape.fit(ROW, tally) == ("si", '{"a":"?"}', "raw ?")
    assert (tally.truncated, tally.sanitised) == (1, 1)
