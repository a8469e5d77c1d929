"""Rows back to records: the inverse of ``sinks/rows.py`` (design 1.4 and 1.6)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from sipcap.calls.readers.base import Layout
from sipcap.record import (
    ENVELOPE_KEYS,
    REPORT_COLUMNS,
    SIP_COLUMNS,
    VERSION,
    Record,
    ReportRecord,
    SipRecord,
    date_text,
)
from sipcap.wire.message import SIP_PAYLOAD

_TEXTS: Final = frozenset(
    each.name for kind in (SipRecord, ReportRecord) for each in msgspec.structs.fields(kind) if each.type is str
)
_SIP_ONLY: Final = tuple(name for name in SIP_COLUMNS if name not in REPORT_COLUMNS)
_REPLACED: Final = frozenset("\ufffd?")
"""What a character set puts in the place of what it cannot hold."""
_MAX_REMEMBERED_CHARACTERS: Final = 1_024  # as the sinks do
_LEAST_CUT: Final = 100
"""Characters of a column for messages: a shorter text beside other bytes was not cut."""


class Found(NamedTuple):
    """A record, with the keys that sipcap does not know."""

    record: Record
    unknown: dict[str, Any]


def rebuild_with(layout: Layout) -> Callable[[tuple[Any, ...]], Found]:
    """Make the function that makes a record of a row: time, key, then the columns of the layout.

    What the table does not have is empty; what is of another type is converted.
    """
    names = REPORT_COLUMNS if layout.form == "report" else SIP_COLUMNS
    place = {name: index for index, name in enumerate(layout.columns, start=2)}
    date_at, msg_at, raw_at, envelope_at = map(place.get, ("date", "msg", "msg_raw", "envelope"))
    sources = [(place.get(name), as_text if name in _TEXTS else as_number) for name in names]
    pick = itemgetter(*(place[name] for name in names)) if all(name in place for name in names) else None
    types = tuple(str if name in _TEXTS else int for name in names)
    date, micro_ts, msg = map(names.index, ("date", "micro_ts", "msg"))
    record_type: Any = ReportRecord if layout.form == "report" else SipRecord
    kind = "report" if layout.form == "report" else "sip"

    def rebuild(row: tuple[Any, ...]) -> Found:
        values: list[Any] = [] if pick is None else list(pick(row))
        if tuple(map(type, values)) != types:  # not a table of sipcap's own
            values = [convert(None if at is None else row[at]) for at, convert in sources]
        values[micro_ts] = as_number(row[0])
        if date_at is None or not isinstance(row[date_at], str):
            values[date] = date_text(values[micro_ts] // 1_000_000)
        known, unknown, is_report = _read_envelope(None if envelope_at is None else row[envelope_at], record_type)
        raw = None if raw_at is None else row[raw_at]
        exact = None
        if isinstance(raw, bytes):
            values[msg], exact = _exact(values[msg], raw)
        elif msg_at is not None and isinstance(row[msg_at], bytes) and values[msg].encode() != row[msg_at]:
            exact = row[msg_at]
        record = record_type(VERSION, kind, *values, **known)
        if exact is not None:
            record.msg_b64 = exact
        if isinstance(record, SipRecord) and (is_report or record.payload_type not in {UNSET, SIP_PAYLOAD}):
            return Found(_as_report(record), unknown)
        return Found(record, unknown)

    return rebuild


def _exact(stored: str, raw: bytes) -> tuple[str, bytes | None]:
    """``msg`` and ``msg_b64`` as they were, of the text in the table and the message's bytes.

    The bytes are in the table if the record had ``msg_b64``, if ``msg`` has a NUL, or if the table's character
    set cannot hold it.
    """
    text = raw.decode("utf-8", "replace")
    if text == stored:
        return text, raw
    is_whole = len(stored) == len(text) or _LEAST_CUT <= len(stored) < len(text)
    if is_whole and all(one == other or other in _REPLACED for one, other in zip(text, stored, strict=False)):
        return text, None if text.encode() == raw else raw
    return stored, raw  # a record whose text was edited and whose bytes were not


Envelope = tuple[dict[str, Any], dict[str, Any], bool]
"""The keys that a record has, checked, and all others; and whether it says that it is a report's."""


def _read_envelope(value: Any, record_type: type[Record]) -> Envelope:
    if isinstance(value, str):
        is_short = len(value) <= _MAX_REMEMBERED_CHARACTERS
        return _remembered(value, record_type) if is_short else _parse_envelope(value, record_type)
    return _parse_envelope(value, record_type) if isinstance(value, bytes) else ({}, {}, False)


@lru_cache(maxsize=4_096)
def _remembered(text: str, record_type: type[Record]) -> Envelope:
    return _parse_envelope(text, record_type)


def _parse_envelope(text: str | bytes, record_type: type[Record]) -> Envelope:
    try:
        keys = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}, {}, False
    if not isinstance(keys, dict):
        return {}, {}, False
    known: dict[str, Any] = {}
    for key in ENVELOPE_KEYS[1:]:
        if keys.get(key) is not None:
            try:
                known[key] = msgspec.convert(keys[key], _TYPES[key])
            except msgspec.ValidationError:
                pass  # not what sipcap wrote there
    unknown = {key: value for key, value in keys.items() if key not in record_type.__struct_fields__}
    return known, unknown, keys.get("kind") == "report"


_TYPES: Final[dict[str, Any]] = {each.name: each.type for each in msgspec.structs.fields(SipRecord)}


def _as_report(record: SipRecord) -> Record:
    """A report that was stored in a table of SIP; a row with SIP in it stays what it is."""
    values = msgspec.structs.asdict(record)
    if any(values.pop(name) for name in _SIP_ONLY):
        return record
    return ReportRecord(**(values | {"kind": "report"}))


def as_text(value: Any) -> str:
    """A value of a text column, whatever a foreign table holds."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else str(value)


def as_number(value: Any) -> int:
    """A value of a number's column, whatever a foreign table holds; 0 if it is none that a record can hold."""
    if type(value) is not int:
        try:
            value = int(value)
        except (TypeError, ValueError, OverflowError):
            return 0
    return value if -(2**63) <= value < 2**63 else 0
