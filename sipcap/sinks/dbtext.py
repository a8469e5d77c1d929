"""The format of Kamailio's db_text: columns, rows, escapes (control.md 4). Pure: no file is opened here.

What is empty between two colons is NULL to Kamailio: it does not tell an empty text from none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from sipcap.record import ReportRecord, SipRecord

_DEFINITION: Final = re.compile(rb" *([^ (\n]+) *\( *([A-Za-z])([^,)\n]*)(?:, *([A-Za-z])[^)\n]*)?\)")
_ESCAPED_OR_COLON: Final = re.compile(rb"\\.|:", re.DOTALL)
_KINDS: Final = {"s": "str", "i": "int", "d": "double", "b": "blob", "t": "time"}
_INTEGERS: Final = frozenset(
    name for kind in (SipRecord, ReportRecord) for name in kind.__annotations__ if kind.__annotations__[name] == "Int64"
)

# The separator is no character that is escaped, and hardly any message has it: nearly every row is escaped at once.
_SEPARATOR: Final = "\x1f"
_ESCAPES: Final = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), (":", "\\:"), ("\0", "\\0"))


class TextColumn(NamedTuple):
    """A column as the first line of a file has it; ``kind`` is one of str, int, double, blob, time."""

    name: str
    kind: str
    is_auto: bool = False
    is_null: bool = True

    @property
    def is_number(self) -> bool:
        """Whether Kamailio reads digits here, and nothing else."""
        return self.kind in {"int", "time", "double"}

    @property
    def nothing(self) -> str:
        """What stands for no value; Kamailio does not load a table with a number missing that may not be NULL."""
        return "0" if self.is_number and not self.is_null and not self.is_auto else ""

    def definition(self) -> str:
        """As it stands in the first line."""
        attribute = ",auto" if self.is_auto else ",null" if self.is_null else ""
        return f"{self.name}({self.kind}{attribute})"


VERSION_COLUMNS: Final = (TextColumn("table_name", "str"), TextColumn("table_version", "int"))
"""The table that Kamailio wants beside all others."""


def columns_for(names: Sequence[str]) -> tuple[TextColumn, ...]:
    """The columns of a table that sipcap makes: all of these, and a number of each row.

    Kamailio has integers of 32 bits: ``micro_ts`` is text, so that it reads it unharmed. ``date`` is in seconds.
    """
    kinds = dict.fromkeys((*_INTEGERS, "date"), "int") | {"micro_ts": "str", "msg_raw": "blob"}
    return (TextColumn("id", "int", is_auto=True), *(TextColumn(name, kinds.get(name, "str")) for name in names))


def header(columns: Sequence[TextColumn]) -> bytes:
    """The first line of a file."""
    return (" ".join(column.definition() for column in columns) + "\n").encode()


def parse_header(line: bytes) -> tuple[TextColumn, ...]:
    """Read the first line of a file, as Kamailio does.

    Raises:
        ValueError: it does not define columns.
    """
    columns: list[TextColumn] = []
    at = 0
    text = line.rstrip(b" \n")
    while at < len(text):
        found = _DEFINITION.match(text, at)
        kind = _KINDS.get(found[2].decode().lower()) if found else None
        attribute = (found[4] or b"").lower() if found else b""
        is_auto = attribute == b"a" and kind == "int" and not any(column.is_auto for column in columns)
        if found is None or kind is None or (attribute and attribute != b"n" and not is_auto):
            raise ValueError("its first line does not define columns")
        columns.append(TextColumn(found[1].decode(), kind, is_auto, attribute == b"n"))
        at = found.end()
    if not columns:
        raise ValueError("its first line does not define columns")
    return tuple(columns)


def encode_fields(values: Sequence[str | bytes]) -> bytes:
    """One row with its line feed; any text, any bytes."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values):
        return _line(texts).encode()
    return b":".join(map(_encoded, values)) + b"\n"


def _encoded(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        return _escaped(value.decode("latin-1")).encode("latin-1")
    return _escaped(value).encode()


def _line(values: Sequence[str]) -> str:
    line = _SEPARATOR.join(values)
    if line.count(_SEPARATOR) == len(values) - 1:
        return f"{_escaped(line).replace(_SEPARATOR, ':')}\n"
    return ":".join(map(_escaped, values)) + "\n"


def _escaped(text: str) -> str:
    for character, escape in _ESCAPES:
        text = text.replace(character, escape)
    return text


def completion(torn: bytes, columns: Sequence[TextColumn]) -> bytes:
    """What makes a row of a last line that somebody has left unfinished."""
    escape = b"\\" if (len(torn) - len(torn.rstrip(b"\\"))) % 2 else b""
    complete = 1 + _ESCAPED_OR_COLON.findall(torn + escape).count(b":")
    return escape + b"".join(b":" + column.nothing.encode() for column in columns[complete:]) + b"\n"


def largest_number(lines: bytes, place: int) -> int:
    """The largest number in a column of these lines; 0 if there is none."""
    before = rb"(?:(?:[^:\\\n]|\\[^\n])*:){%d}" % place
    found = re.finditer(rb"^" + before + rb"([0-9]{1,18})", lines, re.MULTILINE)
    return max((int(match[1]) for match in found), default=0)
