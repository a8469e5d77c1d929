"""One line a message, for people at a terminal."""

from __future__ import annotations

from typing import Final

from sipcap.cli.console import escape_controls
from sipcap.record import Record, SipRecord
from sipcap.wire.sip_fields import REPLY

_REPORT_NAMES: Final = {
    5: "RTCP", 32: "QoS", 34: "MOS", 35: "MOS", 53: "DNS", 60: "CDR", 99: "QoS", 100: "LOG",
}  # fmt: skip
"""HEP types that people meet (spec 2.5.1)."""

_MAX_REPORT_TEXT: Final = 120
_RED, _GREEN, _YELLOW, _CYAN, _DIM, _PLAIN = "31", "32", "33", "36", "2", ""
_COLORS_OF_STATUS: Final = {"1": _PLAIN, "2": _GREEN, "3": _CYAN, "4": _YELLOW, "5": _RED, "6": _RED}


def format_line(record: Record, color: bool) -> str:
    """Write a record as one line without its end.

    Time in UTC, the addresses, what it is, and for SIP the users and the Call-ID. Captured text cannot move
    the cursor or break the line.

    Args:
        record: what a capture made of a message.
        color: whether to use ANSI colours.
    """
    time = f"{record.date}.{record.micro_ts % 1_000_000:06d}"
    way = f"{_host(record.source_ip, record.source_port)} → {_host(record.destination_ip, record.destination_port)}"
    if isinstance(record, SipRecord):
        what, code = _sip_kind(record)
        people = f"{_party(record.from_user, record.from_domain)} → {_party(record.to_user, record.to_domain)}"
        rest = f"{people}  {record.callid}"
    else:
        number = record.payload_type if isinstance(record.payload_type, int) else record.type
        what, code = _REPORT_NAMES.get(number, f"HEP type {number}"), _DIM
        rest = f"{record.correlation_id}  {record.msg[:_MAX_REPORT_TEXT]}"
    parts = (_paint(time, _DIM, color), escape_controls(way), _paint(what, code, color), escape_controls(rest))
    return "  ".join(parts)


def _sip_kind(record: SipRecord) -> tuple[str, str]:
    if record.type != REPLY:
        return record.method, _PLAIN
    method = record.cseq.rpartition(" ")[2]
    return f"{record.method} {record.reply_reason} ({method})", _COLORS_OF_STATUS.get(record.method[:1], _PLAIN)


def _host(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _party(user: str, domain: str) -> str:
    return f"{user}@{domain}" if user else domain or "?"


def _paint(text: str, code: str, color: bool) -> str:
    safe = escape_controls(text)
    return f"\033[{code}m{safe}\033[0m" if color and code else safe
