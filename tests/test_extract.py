"""A message to its row (spec/sipcapture.md sections 3 and 12)."""

from __future__ import annotations

from typing import Any

import pytest

from sipcap.errors import DecodeError
from sipcap.extract import RTP_STAT_HEADERS, Extractor
from sipcap.record import SIP_COLUMNS, ReportRecord, SipRecord, date_text
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US, reply, sip

NOW_US = 1_800_000_000_000_001
EXTRACTOR = Extractor()


def envelope(payload: bytes, **changes: Any) -> Message:
    """The payload in the envelope of spec 12: HEPv3 over UDP from 10.1.1.1:5061 to 10.2.2.2:5062."""
    fields = {
        "ts_us": BASE_TS_US, "source_ip": "10.1.1.1", "source_port": 5061, "destination_ip": "10.2.2.2",
        "destination_port": 5062, "ip_protocol": 17, "family": 2, "hep_version": 3, "capture_id": 2001,
    }  # fmt: skip
    return Message(payload, **{**fields, **changes})


def row(payload: bytes, extractor: Extractor = EXTRACTOR, **changes: Any) -> SipRecord:
    """The record of a SIP message."""
    record = extractor.record(envelope(payload, **changes), NOW_US)
    assert isinstance(record, SipRecord)
    return record


BASE = {
    "date": "2023-11-14 22:13:20", "micro_ts": BASE_TS_US, "method": "INVITE", "reply_reason": "",
    "ruri": "sip:bob@biloxi.com:5070;transport=udp", "ruri_user": "bob", "from_user": "alice", "from_tag": "1928301774",
    "to_user": "bob", "to_tag": "", "pid_user": "", "contact_user": "alice", "auth_user": "", "callid": "abc123@host",
    "callid_aleg": "", "via_1": "SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bK776asdhds",
    "via_1_branch": "z9hG4bK776asdhds", "cseq": "314159 INVITE", "reason": "", "content_type": "", "auth": "",
    "user_agent": "", "source_ip": "10.1.1.1", "source_port": 5061, "destination_ip": "10.2.2.2",
    "destination_port": 5062, "contact_ip": "192.0.2.4", "contact_port": 5088, "originator_ip": "",
    "originator_port": 0, "proto": 1, "family": 2, "rtp_stat": "", "type": 1, "node": "homer01:2001",
    "correlation_id": "abc123@host",
    "from_domain": "atlanta.com", "to_domain": "biloxi.com", "ruri_domain": "biloxi.com", "diversion": "",
    "msg": sip().decode(), "custom_field1": "", "custom_field2": "", "custom_field3": "",
}  # fmt: skip


def columns(record: SipRecord) -> dict[str, object]:
    """The 44 columns by name."""
    return {name: getattr(record, name) for name in SIP_COLUMNS}


def test_record_base_message_of_the_spec_gives_its_row() -> None:
    """All 44 columns of the message that section 12 varies."""
    assert columns(row(sip())) == BASE


def test_record_reply_gives_status_and_reason_and_no_request_uri() -> None:
    """In a reply the status code is the method, and the request columns are empty."""
    record = row(reply("183 Session  Progress x "))
    changes = {
        "method": "183", "reply_reason": "Session  Progress x ", "type": 2, "ruri": "", "ruri_user": "",
        "ruri_domain": "",
        "msg": reply("183 Session  Progress x ").decode(),
    }  # fmt: skip
    assert columns(record) == BASE | changes


URIS = {
    "sip:bob@[2001:db8::1]:5070": ("bob", "[2001:db8::1]"),
    "tel:+1(201)555;phone-context=x": ("+1(201)555", ""),
    "sip:biloxi.com": ("", "biloxi.com"),
    "sip:bob:pw@h:1": ("bob", "h"),
    "sip:+1234;npdi@h;user=phone": ("+1234", "h"),
    "sip:+1234;npdi@h": ("+1234;npdi", "h"),
    # Not stored by the module:
    "http://x/": ("", ""),
    "sip:bob@under_score.com": ("bob", "under_score.com"),
    "sip:@host": ("", "host"),
}


@pytest.mark.parametrize("uri", URIS)
def test_record_request_uri_gives_user_and_domain(uri: str) -> None:
    """The request URIs of section 12; those that the module refuses are stored with what they tell."""
    record = row(sip(uri=uri))
    assert (record.ruri, record.ruri_user, record.ruri_domain) == (uri, *URIS[uri])


# Header changes of section 12, and the columns that they change. "->" in a comment: what the module does instead.
VARIATIONS: list[tuple[dict[str, str | None], dict[str, object]]] = [
    ({"From": "sip:alice@atlanta.com;tag=xx"}, {"from_tag": "xx"}),
    ({"From": "<sip:alice@atlanta.com;tag=inside>;tag=out"}, {"from_tag": "out"}),
    ({"From": '<sip:alice@atlanta.com>;tag="quoted"'}, {"from_tag": "quoted"}),
    ({"From": '"a;b" <tel:123>;tag=q'}, {"from_user": "123", "from_domain": "", "from_tag": "q"}),
    ({"From": "<bad>;tag=1"}, {"from_user": "", "from_domain": "", "from_tag": "1"}),  # -> not stored
    ({"Contact": "*"}, {"contact_user": "*", "contact_ip": "", "contact_port": 0}),
    ({"Contact": " * "}, {"contact_user": "*", "contact_ip": "", "contact_port": 0}),
    # -> 5.6.3 takes the last contact, HEAD the first
    ({"Contact": "<sip:a@h1>, <sip:b@h2:7>"}, {"contact_user": "a", "contact_ip": "h1", "contact_port": 0}),
    ({"Contact": "<sip:a@h1>", "m": "<sip:b@h2>"}, {"contact_user": "a", "contact_ip": "h1", "contact_port": 0}),
    ({"Contact": None}, {"contact_user": "", "contact_ip": "", "contact_port": 0}),
    ({"Contact": ""}, {"contact_user": "", "contact_ip": "", "contact_port": 0}),  # -> not stored
    ({"Contact": "<bad>"}, {"contact_user": "", "contact_ip": "", "contact_port": 0}),  # -> not stored
    ({"Contact": "<sip:a@h:99999>"}, {"contact_user": "a", "contact_ip": "h", "contact_port": 0}),  # -> not stored
    ({"Contact": "<sip:a@[::1]:5060;ob>"}, {"contact_user": "a", "contact_ip": "[::1]", "contact_port": 5060}),
    ({"Via": "SIP / 2.0 / UDP a:1 ; branch = zz ; x"}, {
        "via_1": "SIP / 2.0 / UDP a:1 ; branch = zz ; x", "via_1_branch": "zz",
    }),
    ({"Via": "SIP/2.0/UDP a"}, {"via_1": "SIP/2.0/UDP a", "via_1_branch": ""}),
    ({"Via": "SIP/2.0/UDP a;branch="}, {"via_1": "SIP/2.0/UDP a;branch=", "via_1_branch": ""}),  # -> not stored
    ({"Via": None}, {"via_1": "", "via_1_branch": ""}),  # -> not stored
    ({"Via": "bad"}, {"via_1": "bad", "via_1_branch": ""}),  # -> not stored
    ({"Via": "A;branch=1, B;branch=2"}, {"via_1": "A;branch=1, B;branch=2", "via_1_branch": "1"}),
    ({"CSeq": "  1   INVITE  "}, {"cseq": "1   INVITE  "}),
    ({"CSeq": "1 BYE"}, {"cseq": "1 BYE"}),
    ({"CSeq": "x INVITE"}, {"cseq": "x INVITE"}),
    ({"CSeq": None}, {"cseq": ""}),  # -> not stored
    ({"Call-ID": None, "i": "  sp@x  "}, {"callid": "sp@x  ", "correlation_id": "sp@x  "}),
    ({"i": "second@x"}, {}),  # -> not stored: two Call-IDs
    ({"Call-ID": None}, {"callid": "", "correlation_id": ""}),  # -> not stored
    ({"To": None}, {"to_user": "", "to_domain": ""}),  # -> not stored
    ({"From": None}, {"from_user": "", "from_domain": "", "from_tag": ""}),  # -> not stored
    ({"P-Asserted-Identity": "<sip:pai@x>, <tel:+99>"}, {"pid_user": "pai"}),
    ({"P-Asserted-Identity": "<tel:+99>", "P-Preferred-Identity": "<sip:ppi@x>"}, {"pid_user": "+99"}),
    ({"P-Preferred-Identity": "<sip:ppi@x>", "Remote-Party-ID": "<sip:rpid@x>"}, {"pid_user": "ppi"}),
    ({"Remote-Party-ID": '"Bob" <sip:rpid@x>;party=calling'}, {"pid_user": "rpid"}),
    ({"P-Asserted-Identity": "garbage", "Remote-Party-ID": "<sip:rpid@x>"}, {"pid_user": ""}),
    ({"P-Asserted-Identity": "<sip:noUser.com>", "P-Preferred-Identity": "<sip:ppi@x>"}, {"pid_user": ""}),
    # -> auth is never filled
    ({"Authorization": 'Digest username="a1"', "Proxy-Authorization": 'Digest username="p1"'}, {
        "auth": 'Digest username="p1"', "auth_user": "p1",
    }),
    ({"Authorization": 'Digest username="a1"', "Proxy-Authorization": "Basic cDE6cA=="}, {
        "auth": "Basic cDE6cA==", "auth_user": "",
    }),
    ({"Authorization": 'Digest username="sip:au@realm"'}, {
        "auth": 'Digest username="sip:au@realm"', "auth_user": "au",
    }),
    ({"X-RTP-Stat": "A", "X-RTP-Stat-Add": "B", "P-RTP-Stat": "C"}, {"rtp_stat": "B"}),
    ({"RTP-RxStat": "D", "X-NG-RTP-STATS": "E", "X-Siemens-RTP-stats": "F"}, {"rtp_stat": "F"}),
    ({"Reason": "first", "reason": "second"}, {"reason": "first"}),
    ({"User-Agent": "a\r\n b\r\n\tc"}, {"user_agent": "a\r\n b\r\n\tc"}),
    ({"Server": "s"}, {}),
    ({"Content-Type": "application/sdp"}, {"content_type": "application/sdp"}),
    ({"Diversion": "<sip:a@b>;x, <sip:c@d>"}, {"diversion": "<sip:a@b>;x, <sip:c@d>"}),
    ({"x-oip": "9.9.9.9:777"}, {"originator_ip": "9.9.9.9", "originator_port": 777}),  # -> x-oip is not found
    ({"X-OIP": "9.9.9.9", "User-Agent": "5"}, {"originator_ip": "9.9.9.9", "user_agent": "5"}),  # -> port 5, msg broken
    ({"X-CID": "a-leg"}, {"callid_aleg": "a-leg"}),
    ({"MAC": "m", "iP": "i", "Port": "p"}, {"custom_field1": "m", "custom_field2": "i", "custom_field3": "p"}),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "expected"), VARIATIONS, ids=lambda each: str(each)[:70])
def test_record_variation_of_a_header_changes_its_columns_only(
    changed: dict[str, str | None], expected: dict[str, object]
) -> None:
    """Section 12 line by line; where the module refuses or corrupts, what the message says (section 11)."""
    payload = sip(headers=changed)
    assert columns(row(payload)) == BASE | {"msg": payload.decode()} | expected


@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_record_with_other_or_missing_line_ends_has_the_same_columns(end: str, cut: int) -> None:
    """Bare LF, no empty line, no line end behind the last header: the same row (section 12)."""
    payload = sip(end=end)
    payload = payload[: len(payload) - cut * len(end)]
    assert columns(row(payload)) == BASE | {"msg": payload.decode()}


def test_record_message_with_leading_and_trailing_junk_is_stored_as_received() -> None:
    """Junk around the message stays in msg, and only there (spec 3.1)."""
    payload = b"\r\n\r\n" + sip(body=b"v=0\r\nFrom: <sip:no@no>\r\n") + b"\0junk"
    assert columns(row(payload)) == BASE | {"msg": payload.decode()}


def test_record_cut_request_of_hep37_is_sip() -> None:
    """The specification's example carries "INVITE sip:bob" and nothing more."""
    record = row(b"INVITE sip:bob")
    assert (record.method, record.ruri, record.ruri_domain, record.callid) == ("INVITE", "sip:bob", "bob", "")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [(b"", "no_payload"), (b"\r\n\r\n", "not_sip"), (b"\0", "not_sip"), (b"junk", "not_sip"), (b"\xff\xfe", "not_sip")],
)
def test_record_what_is_no_sip_is_refused(payload: bytes, reason: str) -> None:
    """Keep-alives, junk and empty packets are the only things refused."""
    with pytest.raises(DecodeError, match=reason):
        EXTRACTOR.record(envelope(payload), NOW_US)


@pytest.mark.parametrize("missing", ["Via", "From", "To", "Call-ID", "CSeq"])
def test_record_with_required_headers_refuses_as_the_module_does(missing: str) -> None:
    """``--no-capture-bad-msgs``: the five headers that Kamailio wants; others may be missing."""
    strict = Extractor(require_headers=True)
    assert row(sip(headers={"Contact": None}), strict).callid == "abc123@host"
    with pytest.raises(DecodeError, match="missing_header"):
        strict.record(envelope(sip(headers={missing: None})), NOW_US)


@pytest.mark.parametrize(
    ("sent", "proto", "kept"), [(17, 1, None), (6, 2, None), (22, 3, None), (132, 4, None), (0, 0, None), (47, 0, 47)]
)
def test_record_protocol_is_the_modules_number(sent: int, proto: int, kept: int | None) -> None:
    """22 stands for TLS (spec 2.2); a protocol that the module has no number for keeps its own."""
    record = row(sip(), ip_protocol=sent)
    assert (record.proto, record.ip_protocol if kept else None) == (proto, kept)


@pytest.mark.parametrize(
    ("changes", "node", "micro_ts"),
    [
        ({}, "homer01:2001", BASE_TS_US),
        ({"hep_version": 2, "capture_id": 0}, "homer01:0", BASE_TS_US),
        ({"ts_us": 0}, "homer01", NOW_US),
        ({"hep_version": 1, "ts_us": 0, "capture_id": 0}, "homer01", NOW_US),
        ({"hep_version": 0, "capture_id": 0}, "homer01", BASE_TS_US),
    ],
)
def test_record_node_has_the_capture_id_where_hep_gave_a_time(
    changes: dict[str, Any], node: str, micro_ts: int
) -> None:
    """Without HEP's own time, arrival time and the bare name (spec 3.7); captures have a time and no id."""
    record = row(sip(), **changes)
    assert (record.node, record.micro_ts, record.date) == (node, micro_ts, date_text(micro_ts // 1_000_000))


def test_record_node_with_capture_id_is_cut_and_without_is_not() -> None:
    """99 characters of the pair, all of the bare name (spec 3.7)."""
    long = Extractor(capture_node="n" * 120)
    assert row(sip(), long).node == "n" * 99
    assert row(sip(), long, ts_us=0).node == "n" * 120


@pytest.mark.parametrize(("sent", "stored"), [(None, "abc123@host"), ("", ""), ("c-1", "c-1")])
def test_record_correlation_id_falls_back_to_the_call_id_only_if_absent(sent: str | None, stored: str) -> None:
    """An empty chunk 17 is stored as such (spec 2.5.2)."""
    assert row(sip(), correlation_id=sent).correlation_id == stored


def test_record_aleg_and_custom_headers_are_those_configured() -> None:
    """In the order of the list, any case, short forms too, also headers that a column has anyway."""
    extractor = Extractor(aleg_headers=("X-One", " x-two", "Call-ID"), custom_headers=("Subject", "", "user-agent"))
    both = sip(headers={"X-TWO": "2", "x-one": "1", "s": "subject", "User-Agent": "ua"})
    record = row(both, extractor)
    assert (record.callid_aleg, record.user_agent) == ("1", "ua")
    assert (record.custom_field1, record.custom_field2, record.custom_field3) == ("subject", "", "ua")
    assert row(sip(headers={"X-Two": "2"}), extractor).callid_aleg == "2"
    assert row(sip(), extractor).callid_aleg == "abc123@host"
    assert row(both, Extractor(aleg_headers=(), custom_headers=())).callid_aleg == ""


def test_record_rtp_statistics_follow_their_priority() -> None:
    """The first present of seven headers, in any message (spec 3.6)."""
    for first in range(len(RTP_STAT_HEADERS)):
        given = {name: name for name in reversed(RTP_STAT_HEADERS[first:])}
        assert row(sip(headers=given)).rtp_stat == RTP_STAT_HEADERS[first]


def test_record_text_that_is_no_utf8_shows_replacement_and_keeps_its_bytes() -> None:
    """Columns are valid text, msg_b64 has what was received (design 1.5)."""
    payload = sip(headers={"From": "<sip:al\udcffice@x>"}) + b"\0"
    record = row(payload)
    assert record.from_user == "al\ufffdice"
    assert record.msg == payload.decode("utf-8", "replace")
    assert record.msg_b64 == payload


def test_record_extra_fields_of_hep_are_keys_of_the_record() -> None:
    """What chunks of their own carried is part of the envelope."""
    record = row(sip(), extra={"vlan": 7, "node_name": "n1", "original_ts_us": 5})
    assert (record.vlan, record.node_name, record.original_ts_us) == (7, "n1", 5)
    assert (record.payload_type, record.hep_version, record.capture_id) == (1, 3, 2001)


REPORT_TYPES = [(5, 3), (32, 2), (34, 34), (35, 35), (53, 53), (99, 4), (100, 5), (0, 0), (2, 2), (255, 255)]


@pytest.mark.parametrize(("hep_type", "number"), REPORT_TYPES)
def test_record_of_another_payload_type_is_a_report(hep_type: int, number: int) -> None:
    """The module's type numbers where it has them, HEP's elsewhere (design 1.6); the payload is not looked at."""
    record = EXTRACTOR.record(envelope(b'{"a":1}\0\xff', payload_type=hep_type, correlation_id="c"), NOW_US)
    assert record == ReportRecord(
        1, "report", "2023-11-14 22:13:20", BASE_TS_US, "c", "10.1.1.1", 5061, "10.2.2.2", 5062, 1, 2, number,
        "homer01:2001", '{"a":1}\0\ufffd', b'{"a":1}\0\xff', hep_type, 3, 2001,
    )  # fmt: skip


def test_record_of_a_report_without_correlation_id_has_none() -> None:
    """Nothing takes its place; the module drops such reports (spec 3.9)."""
    record = EXTRACTOR.record(envelope(b"log", payload_type=100, ts_us=0, ip_protocol=1), NOW_US)
    assert isinstance(record, ReportRecord)
    assert (record.correlation_id, record.node, record.micro_ts, record.ip_protocol) == ("", "homer01", NOW_US, 1)
