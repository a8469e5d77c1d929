"""Records as newline-delimited JSON, and back (design 1.5)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from msgspec import UNSET

from sipcap.errors import DecodeError, InputError
from sipcap.limits import MAX_LINE_BYTES
from sipcap.record import (
    REPORT_COLUMNS,
    SIP_COLUMNS,
    VERSION,
    MarkedReport,
    MarkedSip,
    Record,
    ReportRecord,
    SipRecord,
    date_text,
    unmarked,
)

_encoder = msgspec.json.Encoder()
_decode_sip = msgspec.json.Decoder(SipRecord).decode
_decode_report = msgspec.json.Decoder(ReportRecord).decode
_decode_marked_sip = msgspec.json.Decoder(MarkedSip).decode
_decode_marked_report = msgspec.json.Decoder(MarkedReport).decode
_decode_any = msgspec.json.Decoder().decode
_BOM: Final = b"\xef\xbb\xbf"
_REPORT_PREFIX: Final = b'{"v":1,"kind":"report",'
_KINDS: Final[dict[str, tuple[type[SipRecord | ReportRecord], tuple[str, ...]]]] = {
    "sip": (SipRecord, SIP_COLUMNS),
    "report": (ReportRecord, REPORT_COLUMNS),
}

_MAX_NESTING: Final = 64
"""Levels in the value of an unknown key. It is written again further down the stack than it is read, where the
interpreter allows a few hundred levels less: what is read must never be impossible to write."""

Derive = Callable[[dict[str, Any]], dict[str, Any]]
"""Given a record's keys, the SIP columns that its ``msg`` tells; empty if it cannot be parsed."""


class BadLine(ValueError):  # the name users read in messages
    """A line that is no record; the text says why."""


NO_KEYS: Final[dict[str, Any]] = {}
"""What a record has in unknown keys, mostly; nobody writes into it."""


def encode_records(records: Iterable[Record]) -> bytes:
    """Write records as lines, each with its line feed; no records are no bytes."""
    return _encoder.encode_lines(records)


def decode_record(line: bytes, derive: Derive) -> tuple[Record, dict[str, Any]]:
    """Read one line.

    Args:
        line: one JSON object; line breaks between its tokens do no harm.
        derive: called only if a SIP record lacks columns (design 1.5: only absent ones are filled).

    Returns:
        The record, and the keys that sipcap does not know: they pass through.

    Raises:
        BadLine: not JSON, not an object, a wrong type, ``micro_ts`` or ``msg`` missing.
        InputError: the line was written by a newer sipcap.
    """
    try:
        # A line of another kind or version fails at its first keys: the types of ``v`` and ``kind`` are these values.
        return _decode_sip(line), NO_KEYS
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    is_report = line.startswith(_REPORT_PREFIX)
    if is_report:
        try:
            return _decode_report(line), NO_KEYS
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    try:
        return unmarked(_decode_marked_report(line) if is_report else _decode_marked_sip(line))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    return _decode_loosely(line, derive)  # other keys, or fewer, or no record at all


def _decode_loosely(line: bytes, derive: Derive) -> tuple[Record, dict[str, Any]]:
    keys = _decode_object(line)
    if keys.get("v") is None:  # what is null counts as absent
        keys["v"] = VERSION
    _check_version(keys["v"])
    kind = "sip" if keys.get("kind") is None else keys["kind"]
    if not isinstance(kind, str) or kind not in _KINDS:
        raise BadLine("kind is neither sip nor report")
    keys["kind"] = kind
    record_type, columns = _KINDS[kind]
    known = {key: value for key in record_type.__struct_fields__ if (value := keys.pop(key, None)) is not None}
    for key, expected in (("micro_ts", int), ("msg", str)):
        if not isinstance(known.get(key), expected) or isinstance(known[key], bool):
            raise BadLine(f"key {key} is missing or no {'integer' if expected is int else 'text'}")
    if not _is_flat(keys, _MAX_NESTING):
        raise BadLine(f"nested deeper than {_MAX_NESTING}")
    _fill_absent(known, record_type, columns, derive)
    try:
        return msgspec.convert(known, record_type), keys
    except msgspec.ValidationError as error:
        raise BadLine(str(error)) from None


def _decode_object(line: bytes) -> dict[str, Any]:
    try:
        keys = _decode_any(line)
    except UnicodeDecodeError as error:
        raise BadLine(f"not UTF-8: {error.reason} in a text") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadLine(f"not JSON: {error}") from None
    if not isinstance(keys, dict):
        raise BadLine("not a JSON object")
    return keys


def _is_flat(value: object, levels: int) -> bool:
    """Whether a JSON value is nested no deeper than so many levels."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return True
    return levels > 0 and all(_is_flat(inner, levels - 1) for inner in value)


def _check_version(version: object) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise BadLine("v is no version number")
    if version > VERSION:
        shown = version if version < 2**63 else "a huge number"
        raise InputError(f"a record has v={shown}: written by a newer sipcap, this one reads v={VERSION}")


def _fill_absent(known: dict[str, Any], record_type: type[Record], columns: tuple[str, ...], derive: Derive) -> None:
    if not -(2**63) <= known["micro_ts"] < 2**63:
        raise BadLine("micro_ts does not fit 64 bits")
    known.setdefault("date", date_text(known["micro_ts"] // 1_000_000))
    absent = [column for column in columns if column not in known]
    if absent and record_type is SipRecord:
        derived = derive(known)
        for column in absent:
            if column in derived:
                known[column] = derived[column]
        if "correlation_id" in absent:
            known["correlation_id"] = known.get("callid", "")
    for column in absent:
        known.setdefault(column, "" if record_type.__annotations__[column] == "str" else 0)


class LineFramer:
    """Cuts a byte stream into JSON texts: one a line, or spread over lines as ``jq`` without ``-c`` writes it.

    A text that begins with a lone ``{`` goes on to the line that is a lone ``}``. Nothing is kept beyond
    ``MAX_LINE_BYTES``: a longer text is skipped to its end and given as an empty one.
    """

    def __init__(self) -> None:
        self._rest = bytearray()  # of a line whose end has not come; only its first byte if it is too long
        self._skipping = False
        self._object = bytearray()  # lines of an object spread over lines
        self._object_line = 0  # where it begins; 0 = there is none
        self._object_skipped = False
        self._line = 0

    def receive_data(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take in bytes; returns the texts that they complete, each with the number of its first line."""
        first, *lines = data.split(b"\n")
        if not lines:
            self._keep(first)
            return []
        texts: list[tuple[int, bytes]] = []
        if self._rest:
            self._keep(first)
            self._end_rest(texts)
        else:
            self._add_line(first, texts, too_long=len(first) > MAX_LINE_BYTES)
        rest = lines.pop()
        for line in lines:
            self._add_line(line, texts, too_long=len(line) > MAX_LINE_BYTES)
        self._keep(rest)
        return texts

    def finish(self) -> list[tuple[int, bytes]]:
        """Take in the end of input; returns what stands in a last line without line feed, whole or not."""
        texts: list[tuple[int, bytes]] = []
        if self._rest:
            self._end_rest(texts)
        if self._object_line:
            self._end_object(texts)
        return texts

    def _keep(self, data: bytes) -> None:
        """Add to a line whose end has not come; each byte is moved once, however small the pieces are."""
        if not self._skipping:
            self._rest += data
            if len(self._rest) > MAX_LINE_BYTES:
                del self._rest[1:]
                self._skipping = True

    def _end_rest(self, texts: list[tuple[int, bytes]]) -> None:
        line, too_long = bytes(self._rest), self._skipping
        self._rest = bytearray()
        self._skipping = False
        self._add_line(line, texts, too_long=too_long)

    def _add_line(self, line: bytes, texts: list[tuple[int, bytes]], *, too_long: bool) -> None:
        self._line += 1
        if self._line == 1:
            line = line.removeprefix(_BOM)
        if self._object_line and line[:1] != b"{":
            self._continue_object(line, texts, too_long=too_long)
            return
        if self._object_line:  # the object before it was cut; this line begins a new text
            self._end_object(texts)
        if too_long:
            texts.append((self._line, b""))
        elif line[:1] == b"{" and line.rstrip() == b"{":
            self._object, self._object_line = bytearray(line), self._line
        elif line and not line.isspace():
            texts.append((self._line, line))

    def _continue_object(self, line: bytes, texts: list[tuple[int, bytes]], *, too_long: bool) -> None:
        if too_long or len(self._object) + len(line) >= MAX_LINE_BYTES:
            self._object_skipped = True
        if not self._object_skipped:
            self._object += b"\n"
            self._object += line
        if line[:1] == b"}" and line.rstrip() == b"}":
            self._end_object(texts)

    def _end_object(self, texts: list[tuple[int, bytes]]) -> None:
        texts.append((self._object_line, b"" if self._object_skipped else bytes(self._object)))
        self._object = bytearray()
        self._object_line = 0
        self._object_skipped = False


def derive_with(extract: Callable[[bytes], Record]) -> Derive:
    """Make the ``derive`` of ``decode_record`` from a function that extracts a payload's record."""

    def derive(known: dict[str, Any]) -> dict[str, Any]:
        try:
            payload = base64.b64decode(known["msg_b64"]) if "msg_b64" in known else known["msg"].encode()
            record = extract(payload)
        except (DecodeError, ValueError, TypeError):
            return {}
        derived = msgspec.structs.asdict(record)
        for column in ("date", "micro_ts", "msg", "node", "proto", "family"):
            del derived[column]
        return {key: value for key, value in derived.items() if value is not UNSET}

    return derive
