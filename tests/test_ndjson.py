"""Records as lines and back: order, exactness, and everything that is not quite a record."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from sipcap.errors import DecodeError, InputError
from sipcap.extract import Extractor
from sipcap.ndjson import BadLine, decode_record, derive_with, encode_records
from sipcap.record import ENVELOPE_KEYS, REPORT_COLUMNS, SIP_COLUMNS, Record, SipRecord, marked, message_bytes
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US, sip
from tests.support.records import INTEGERS, line_of, records, report_record, sip_record

DERIVE = derive_with(lambda payload: Extractor().record(Message(payload), 0))
INVITE = sip().decode()


def decode(line: bytes) -> tuple[Record, dict[str, Any]]:
    """Read a line as ``sipcap store`` does."""
    return decode_record(line, DERIVE)


def line(**keys: Any) -> bytes:
    """A hand-made line: time, message, and what is given."""
    return json.dumps({"micro_ts": BASE_TS_US, "msg": INVITE} | keys).encode()


# Writing


@given(record=records)
def test_encode_keys_stand_in_the_fixed_order(record: Record) -> None:
    """A line's keys are v, kind, the columns in the module's order, then the envelope's known ones."""
    keys = list(json.loads(encode_records([record])))
    columns = SIP_COLUMNS if isinstance(record, SipRecord) else REPORT_COLUMNS
    assert keys[: 2 + len(columns)] == ["v", "kind", *columns]
    assert keys[2 + len(columns) :] == [key for key in ENVELOPE_KEYS if getattr(record, key) is not UNSET]


@given(written=st.lists(records, max_size=4))
def test_encode_lines_are_compact_and_none_is_blank(written: list[Record]) -> None:
    """One compact object a line, each ended by one line feed; no records are no bytes."""
    data = encode_records(written)
    texts = data.split(b"\n")
    assert texts.pop() == b""
    assert len(texts) == len(written)
    for text in texts:
        assert (
            text == json.dumps(json.loads(text), separators=(",", ":"), ensure_ascii=False).encode() or b"\\u" in text
        )


@given(record=records)
def test_decode_of_encode_is_the_record(record: Record) -> None:
    """A record comes back as it was, whatever its texts, bytes and numbers."""
    assert decode(encode_records([record])) == (record, {})


@given(payload=st.binary(min_size=1, max_size=300).map(lambda tail: b"OPTIONS sip:a SIP/2.0\r\nX: " + tail))
@example(payload=b"OPTIONS sip:a SIP/2.0\r\nX: \xff\xed\xa0\x80\0")
@example(payload="OPTIONS sip:a SIP/2.0\r\nX: \ufffd".encode())
def test_decode_of_encode_keeps_the_message_for_any_bytes(payload: bytes) -> None:
    """The captured bytes are found again behind a pipe, also where they are no text."""
    record = Extractor().record(Message(payload), BASE_TS_US)
    back, _ = decode(encode_records([record]))
    assert back == record
    assert message_bytes(back) == payload


@given(record=records)
def test_decode_keys_in_any_order_are_the_same_record(record: Record) -> None:
    """What ``jq -S`` made of a line is read as before."""
    keys = json.loads(encode_records([record]))
    assert decode(json.dumps(keys, sort_keys=True, indent=1).encode()) == (record, {})


# Reading what others wrote


def test_decode_msg_b64_is_preferred_to_msg() -> None:
    """The exact bytes are the message, and the columns are derived from them."""
    raw = sip(headers={"Call-ID": "exact@host"}) + b"\xff"
    record, _ = decode(line(msg="INVITE sip:other SIP/2.0\r\n\r\n", msg_b64=base64.b64encode(raw).decode()))
    assert message_bytes(record) == raw
    assert isinstance(record, SipRecord)
    assert record.callid == "exact@host"


def test_decode_time_and_message_alone_give_all_columns() -> None:
    """A hand-made line has the columns that a captured one has, except what only a capture knows."""
    record, unknown = decode(line())
    expected = Extractor().record(Message(INVITE.encode(), ts_us=BASE_TS_US), 0)
    for key in ("payload_type", "node"):
        setattr(expected, key, {"payload_type": UNSET, "node": ""}[key])
    assert (record, unknown) == (expected, {})


@pytest.mark.parametrize("absent", SIP_COLUMNS)
def test_decode_any_one_column_absent_is_derived_or_empty(absent: str) -> None:
    """Each column but time and message may be missing alone; the others are not touched."""
    keys = json.loads(encode_records([sip_record(msg=INVITE)]))
    del keys[absent]
    if absent in ("micro_ts", "msg"):
        with pytest.raises(BadLine, match=absent):
            decode(json.dumps(keys).encode())
        return
    record, _ = decode(json.dumps(keys).encode())
    values = msgspec.structs.asdict(record)
    derived = DERIVE({"msg": INVITE})
    wanted = {"date": "2023-11-14 22:13:20", "correlation_id": "call-0@host"}.get(absent, derived.get(absent))
    assert values.pop(absent) == ((0 if absent in INTEGERS else "") if wanted is None else wanted)
    assert values.items() >= keys.items()


def test_decode_present_empty_column_stays_empty() -> None:
    """Only what is absent is derived: a column that a filter emptied stays so."""
    record, _ = decode(line(callid="", method="", type=0))
    assert isinstance(record, SipRecord)
    assert (record.callid, record.method, record.type, record.correlation_id) == ("", "", 0, "")
    assert record.from_user == "alice"


def test_decode_null_of_a_column_is_absent() -> None:
    """A filter gives null for what it does not find; that is not a value."""
    record, unknown = decode(line(callid=None, v=None, kind=None, vlan=None, msg_b64=None))
    assert isinstance(record, SipRecord)
    assert (record.callid, record.vlan, record.msg_b64, unknown) == ("abc123@host", UNSET, UNSET, {})


@pytest.mark.parametrize("msg", ["", "hello", "\r\n\r\n", "\0\0", "INVITE", "HTTP/1.1 200 OK\r\n\r\n", "\U0001f600"])
def test_decode_message_that_is_no_sip_keeps_its_keys(msg: str) -> None:
    """A message that cannot be parsed is stored with the keys it has."""
    record, _ = decode(line(msg=msg, callid="mine", source_port=7))
    assert isinstance(record, SipRecord)
    assert (record.msg, record.callid, record.source_port, record.ruri) == (msg, "mine", 7, "")


def test_decode_report_takes_nothing_from_its_message() -> None:
    """A report's message is not SIP, even if it looks like it."""
    record, _ = decode(line(kind="report"))
    nothing: dict[str, Any] = {key: 0 if key in INTEGERS else "" for key in REPORT_COLUMNS[2:-1]}
    assert record == report_record(msg=INVITE, **nothing)


@pytest.mark.parametrize("make", [sip_record, report_record])
def test_decode_unknown_keys_pass_through(make: Any) -> None:
    """Whatever keys others add come out beside the record, null and large numbers too."""
    more = {"x_site": "berlin", "n": None, "big": 2**80, "list": [1, {"a": [True, 1.5]}], "": "empty", "_table": "t"}
    assert decode(line_of(make(3), **more)) == (make(3), more)


def test_decode_unknown_keys_of_the_other_kind_pass_through() -> None:
    """A column of SIP in a report is a key like any other."""
    assert decode(line(kind="report", callid="x"))[1] == {"callid": "x"}


@pytest.mark.parametrize("version", [2, 3, 2**63, 10**4_000])
@pytest.mark.parametrize("more", [{}, {"kind": "call"}, {"micro_ts": "2 o'clock"}])
def test_decode_newer_version_ends_the_input(version: int, more: dict[str, Any]) -> None:
    """What a newer sipcap wrote is not guessed at, whatever else is new in it; the reason fits a line."""
    with pytest.raises(InputError, match="newer sipcap") as caught:
        decode(b'{"v":%d,' % version + line(**more)[1:])
    assert len(str(caught.value)) < 200


DEEP = b"[" * 10_000 + b"]" * 10_000
BAD: dict[str, bytes] = {
    "nothing": b"",
    "a word": b"hello",
    "half a line": line()[:-5],
    "two objects": line() + line(),
    "an array": b"[" + line() + b"]",
    "a number": b"7",
    "null": b"null",
    "NaN": b'{"micro_ts":1,"msg":"","x":NaN}',
    "a number beyond floats": b'{"micro_ts":1,"msg":"","x":1e999}',
    "a number of 5000 digits": b'{"micro_ts":1,"msg":"","x":' + b"1" * 5_000 + b"}",
    "a lone surrogate": b'{"micro_ts":1,"msg":"\\ud800"}',
    "a lone low surrogate": b'{"micro_ts":1,"msg":"a\\udc00b"}',
    "bytes that are not UTF-8": b'{"micro_ts":1,"msg":"\xff"}',
    "an encoded surrogate": b'{"micro_ts":1,"msg":"\xed\xa0\x80"}',
    "a key that is not UTF-8": b'{"micro_ts":1,"msg":"","\xff":1}',
    "UTF-16": line().decode().encode("utf-16"),
    "a control character": b'{"micro_ts":1,"msg":"a\nb"}',
    "nested without end": b'{"micro_ts":1,"msg":"","x":' + b"[" * 100_000,
    "nested too deep": b'{"micro_ts":1,"msg":"","x":' + DEEP + b"}",
    "nested as deep as can be read": b'{"micro_ts":1,"msg":"","x":' + DEEP[9_100:-9_100] + b"}",
    "no time": b'{"msg":"x"}',
    "no message": b'{"micro_ts":1}',
    "null time": line(micro_ts=None),
    "null message": line(msg=None),
    "text time": line(micro_ts="1"),
    "broken time": line(micro_ts=1.5),
    "true time": line(micro_ts=True),
    "time beyond 64 bits": line(micro_ts=2**63),
    "time before 64 bits": line(micro_ts=-(2**63) - 1),
    "a number as message": line(msg=1),
    "version text": line(v="1"),
    "version true": line(v=True),
    "version 0": line(v=0),
    "version -1": line(v=-1),
    "version list": line(v=[1]),
    "another kind": line(kind="rtp"),
    "kind list": line(kind=["sip"]),
    "kind in capitals": line(kind="SIP"),
    "text port": line(source_port="5060"),
    "port beyond 64 bits": line(source_port=2**63),
    "number as text": line(callid=5),
    "broken base64": line(msg_b64="!!!"),
    "base64 number": line(msg_b64=1),
    "vendor chunks as text": line(vendor_chunks="x"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_decode_what_is_no_record_is_a_bad_line(name: str) -> None:
    """Whatever stands there, the answer is a record or BadLine, with a reason that fits a line."""
    with pytest.raises(BadLine) as caught:
        decode(BAD[name])
    assert 0 < len(str(caught.value)) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
some_keys = st.sampled_from(
    ["v", "kind", *SIP_COLUMNS[:4], "msg", "msg", "micro_ts", "msg_b64", "vlan", "vendor_chunks"]
)


@given(keys=st.dictionaries(some_keys | st.text(max_size=5), json_values, max_size=8))
def test_decode_any_object_is_a_record_or_refused(keys: dict[str, Any]) -> None:
    """No JSON object whatever raises anything but BadLine and InputError, and what is read can be written."""
    text = json.dumps(keys, ensure_ascii=True).encode()
    try:
        record, unknown = decode(text)
    except (BadLine, InputError):
        return
    assert decode(encode_records([record]))[0] == record
    assert msgspec.json.decode(msgspec.json.encode(unknown)) == unknown


@given(
    data=st.binary(max_size=60)
    | st.builds(lambda a, b: line()[:a] + b + line()[a:], st.integers(0, 400), st.binary(max_size=4))
)
def test_decode_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    """No bytes whatever raise anything but BadLine and InputError."""
    try:
        decode(data)
    except (BadLine, InputError):
        return


def test_decode_nested_value_that_passes_can_be_written_from_further_down_the_stack() -> None:
    """What is read is never impossible to write, where the interpreter has less room."""
    value: Any = 1
    for _ in range(63):
        value = [value]
    _, unknown = decode(line(x=value))

    def deeper(levels: int) -> bytes:
        return deeper(levels - 1) if levels else msgspec.json.encode(unknown)

    assert deeper(500) == b'{"x":' + b"[" * 63 + b"1" + b"]" * 63 + b"}"


def test_derive_extractor_refusing_gives_nothing() -> None:
    """A payload that cannot be parsed derives no columns and is no failure."""

    def refuse(payload: bytes) -> Record:
        raise DecodeError("not_sip")

    assert derive_with(refuse)({"msg": "x"}) == {}


@given(records, st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.sampled_from(["", "t_2023"]))
def test_marks_of_a_hook_travel_beside_the_record(record: Record, mode: str, table: str) -> None:
    """The record comes back as it was, its marks as keys that are not its own."""
    read, unknown = decode_record(encode_records([marked(record, mode, table)]).rstrip(), lambda _known: {})
    assert (read, type(read)) == (record, type(record))
    assert unknown == {key: value for key, value in (("_mode", mode), ("_table", table)) if value}


def test_marks_are_read_beside_other_keys_too() -> None:
    """A filter that adds a key takes none away."""
    line = line_of(sip_record(1), _table="t", site="x", _mode="m", _error="why")
    assert decode_record(line, lambda _known: {}) == (
        sip_record(1), {"_table": "t", "site": "x", "_mode": "m", "_error": "why"},
    )  # fmt: skip
