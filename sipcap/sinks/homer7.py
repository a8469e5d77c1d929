"""Records as rows of HOMER 7's tables (design 1.6; homer.md 2.1). Pure: no database is asked here.

What a row of HOMER 7 has no place for is not stored: exact bytes that are no text, custom fields, and of the envelope
all but what names the capture agent. The agent's password, which heplify-server stores as ``capturePass``, is not
even in a record.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from sipcap.record import Record, SipRecord
from sipcap.schemas import hep_type
from sipcap.sinks.base import Row
from sipcap.wire.message import SIP_PAYLOAD

COLUMNS: Final = ("sid", "create_date", "protocol_header", "data_header", "raw")
"""What is written; ``id`` is the database's."""

ISUP: Final = 54
_PROTO_WORDS: Final = {1: "sip", 5: "rtcp", 34: "rtpagent", 35: "rtcpxr", 38: "horaclifix", 53: "dns", 100: "log"}
_IP_PROTOCOL_OF: Final = {1: 17, 2: 6, 3: 22, 4: 132}  # the module's ``proto`` to the IANA number; 22 stands for TLS
_IPV4, _IPV6 = 2, 10
_INDEX_BYTES: Final = 2_600
"""What surely fits an entry of a PostgreSQL B-tree: a third of a page, 2,704 bytes with its head."""
_SURELY_FITS: Final = _INDEX_BYTES // 4  # characters
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Homer7Row(NamedTuple):
    """The values of ``COLUMNS``, and what could not be taken over exactly (see ``Adjusted``)."""

    sid: str
    create_date: str
    protocol_header: str
    data_header: str
    raw: str
    is_truncated: bool
    is_sanitised: bool


def homer7_row(row: Row) -> Homer7Row:
    """Make the row of a record.

    Returns:
        Text without NUL, because PostgreSQL takes none: U+FFFD stands in its place, as it does for bytes that are not
        UTF-8. A text that would not fit an index is cut; it is whole in ``raw``. A report without correlation id,
        which heplify-server leaves out, has the ``sid`` "".
    """
    record = row.record
    sid, protocol_keys, data_keys = _keys(record)
    protocol_header, data_header, raw = _json(protocol_keys), _json(data_keys), record.msg
    is_truncated, is_sanitised = False, record.msg_b64 is not UNSET and record.msg_b64 != raw.encode()
    if "\0" in raw:
        raw, is_sanitised = _clean(raw), True
    # Both are quick to see and nearly never there; what looks like an escaped NUL may be a backslash before "u0000".
    longest = max(len(sid), len(protocol_header), len(data_header))
    if longest > _SURELY_FITS or "\\u0000" in protocol_header + data_header:
        texts = [value for value in (sid, *protocol_keys.values(), *data_keys.values()) if isinstance(value, str)]
        is_truncated, is_sanitised = any(map(_is_long, texts)), is_sanitised or any("\0" in text for text in texts)
        sid, protocol_header, data_header = (
            _fitted(sid),
            _json(_all_fitted(protocol_keys)),
            _json(_all_fitted(data_keys)),
        )
    date = create_date(record.micro_ts)
    return Homer7Row(sid, date, protocol_header, data_header, raw, is_truncated, is_sanitised)


def _keys(record: Record) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The ``sid`` and the keys of both headers."""
    if isinstance(record, SipRecord):
        sid = record.callid.strip()
        return sid, _protocol_header(record, SIP_PAYLOAD, _correlation_id(record)), _sip_header(record, sid)
    sid = record.correlation_id
    payload_type = hep_type(record)
    protocol_keys = _protocol_header(record, payload_type, sid)
    if payload_type == ISUP:
        isup_keys = _isup_header(record.msg)
        return isup_keys["callid"] or sid, protocol_keys, isup_keys
    word = _PROTO_WORDS.get(payload_type, str(payload_type))
    return sid, protocol_keys, {"node": _capture_id(record), "proto": word}


def create_date(ts_us: int) -> str:
    """The packet's time in UTC, ``YYYY-MM-DD HH:MM:SS.ffffff``."""
    seconds, microseconds = divmod(ts_us, 1_000_000)
    return _moment(seconds, f".{microseconds:06}")


def time_text(seconds: int) -> str:
    """A time in UTC, ``YYYY-MM-DD HH:MM:SS``; years before the first as PostgreSQL writes them."""
    return _moment(seconds, "")


def _moment(seconds: int, fraction: str) -> str:
    day, clock, is_bc = _second(seconds)
    return f"{day} {clock}{fraction}{' BC' if is_bc else ''}"


@lru_cache(maxsize=1_024)
def _second(seconds: int) -> tuple[str, str, bool]:
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    is_bc = year < 1
    return f"{1 - year if is_bc else year:04}-{month:02}-{day:02}", f"{hour:02}:{minute:02}:{second:02}", is_bc


def _correlation_id(record: SipRecord) -> str:
    """What the agent sent, else the Call-ID of the A leg, else the Call-ID.

    A record does not tell whether the agent sent the Call-ID itself or nothing; either way it correlates nothing.
    """
    if record.correlation_id not in ("", record.callid):
        return record.correlation_id
    return record.callid_aleg.strip() or record.callid.strip()


def _capture_id(record: Record) -> str:
    """The agent's name, else its number, else the name that sipcap itself captures under."""
    if record.node_name is not UNSET and record.node_name:
        return record.node_name
    return str(record.capture_id) if record.capture_id is not UNSET else record.node


def _protocol_header(record: Record, payload_type: int, correlation_id: str) -> dict[str, Any]:
    family = record.family
    if family not in (_IPV4, _IPV6):
        family = _IPV6 if ":" in record.source_ip else _IPV4
    protocol = record.ip_protocol
    seconds, microseconds = divmod(record.micro_ts, 1_000_000)
    return {
        "protocolFamily": family,
        "protocol": _IP_PROTOCOL_OF.get(record.proto, 0) if protocol is UNSET else protocol,
        "srcIp": record.source_ip,
        "dstIp": record.destination_ip,
        "srcPort": record.source_port,
        "dstPort": record.destination_port,
        "timeSeconds": seconds,
        "timeUseconds": microseconds,
        "payloadType": payload_type,
        "captureId": _capture_id(record),
        "correlation_id": correlation_id,
    }


def _sip_header(record: SipRecord, callid: str) -> dict[str, Any]:
    """The keys that heplify-server writes by default, and the two further ones that are indexed."""
    return {
        "ruri_user": record.ruri_user,
        "ruri_domain": record.ruri_domain,
        "from_user": record.from_user,
        "from_tag": record.from_tag,
        "to_user": record.to_user,
        "to_tag": record.to_tag,
        "callid": callid,
        "cseq": record.cseq,
        "method": record.method,
        "user_agent": record.user_agent,
        "pid_user": record.pid_user,
        "auth_user": record.auth_user,
    }


def _isup_header(msg: str) -> dict[str, Any]:
    """The keys of ISUP as JSON; where nothing can be read, numbers are 0 and texts empty."""
    try:
        found = _decode(msg)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        found = None
    keys: dict[str, Any] = found if isinstance(found, dict) else {}
    cic, dpc, opc = (_number(keys.get(name)) for name in ("cic", "dpc", "opc"))
    is_known = any(name in keys for name in ("cic", "dpc", "opc"))
    return {
        "cic": cic,
        "dpc": dpc,
        "opc": opc,
        "msg_name": _text(keys.get("msg_name")),
        "called_number": _text(keys.get("called_number")),
        "calling_number": _text(keys.get("calling_number")),
        "callid": f"{min(opc, dpc)}:{max(opc, dpc)}:{cic}" if is_known else "",
    }


def _number(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return value if -(2**63) <= value < 2**63 else 0


def _text(value: object) -> str:
    """A text, or the one under ``num`` of an object, which is how agents write a number."""
    if isinstance(value, dict):
        value = value.get("num")
    return value if isinstance(value, str) else ""


def _json(keys: dict[str, Any]) -> str:
    return _encode(keys).decode()


def _is_long(text: str) -> bool:
    return len(text) > _SURELY_FITS and len(text.encode()) > _INDEX_BYTES


def _clean(text: str) -> str:
    return text.replace("\0", "\ufffd")


def _fitted(text: str) -> str:
    """A text that any index takes."""
    text = _clean(text)
    return text.encode()[:_INDEX_BYTES].decode(errors="ignore") if _is_long(text) else text


def _all_fitted(keys: dict[str, Any]) -> dict[str, Any]:
    return {key: _fitted(value) if isinstance(value, str) else value for key, value in keys.items()}
