"""Rows as the text that MySQL reads: lines of LOAD DATA, and tuples of INSERT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sipcap.sinks.driver import Refused
from sipcap.sinks.shape import Column, Kind, Shape, picker

# Control characters that exist for this, and which hardly any message has: nearly no row needs to be escaped.
_ESCAPE, _ROW_END, _FIELD_END = "\x1d", "\x1e", "\x1f"
LOAD_FORMAT: Final = "CHARACTER SET utf8mb4 FIELDS TERMINATED BY X'1F' ESCAPED BY X'1D' LINES TERMINATED BY X'1E'"
_LOAD_NULL: Final = f"{_FIELD_END}{_ESCAPE}N"
_STATEMENT_BYTES: Final = 1 << 20
_STATEMENT_HEAD_BYTES: Final = 16 << 10  # at least so much of max_allowed_packet is left for what is around the rows


class RowText:
    """Writes the rows of one shape.

    Columns of bytes, and those that may be NULL, come behind all others, as ``names`` has them.
    """

    def __init__(self, shape: Shape) -> None:
        places = {column: place for place, column in enumerate(shape.columns)}
        self._odd_columns = [column for column in shape.columns if _is_odd(column)]
        plain = [column for column in shape.columns if not _is_odd(column)]
        self.names = [column.sql_name for column in (*plain, *self._odd_columns)]
        self._plain = picker([places[column] for column in plain]) if plain else None
        self._joints = len(plain) - 1
        self._odd = picker([places[column] for column in self._odd_columns]) if self._odd_columns else None

    def load_targets(self) -> str:
        """Where the fields of a line go, as LOAD DATA has it: bytes come as hexadecimal digits."""
        fields = [f"@{quote(name)}" if name in self._bytes_names else quote(name) for name in self.names]
        settings = [f"{quote(name)} = UNHEX(@{quote(name)})" for name in self._bytes_names]
        return f"({', '.join(fields)})" + (f" SET {', '.join(settings)}" if settings else "")

    @property
    def _bytes_names(self) -> Sequence[str]:
        return [column.sql_name for column in self._odd_columns if column.kind is Kind.BYTES]

    def load_lines(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
        """Each row as a line for LOAD_FORMAT."""
        for values in rows:
            plain = list(map(str, self._plain(values))) if self._plain is not None else []
            line = _FIELD_END.join(plain)
            if _ESCAPE in line or _ROW_END in line or line.count(_FIELD_END) > self._joints:
                line = _FIELD_END.join(map(_load_escaped, plain))
            if self._odd is not None:
                line += "".join(map(_load_odd, self._odd(values)))
            yield f"{line if plain else line[1:]}{_ROW_END}".encode()

    def insert_tuples(self, rows: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
        """Each row as it stands behind VALUES."""
        for values in rows:
            plain = list(map(str, self._plain(values))) if self._plain is not None else []
            text = "','".join(plain)
            if "\\" in text or "\0" in text or text.count("'") > 2 * self._joints:
                text = "','".join(map(_insert_escaped, plain))
            odd = "".join(map(_insert_odd, self._odd(values))) if self._odd is not None else ""
            yield (f"('{text}'{odd})" if plain else f"({odd[1:]})").encode()

    def insert_statements(
        self, table: str, rows: Iterable[tuple[Any, ...]], max_packet: int, *, is_delayed: bool = False
    ) -> Iterator[bytes]:
        """Statements that insert all rows, none larger than the server takes; *is_delayed*: by INSERT DELAYED.

        Raises:
            Refused: a row is.
        """
        names = ", ".join(map(quote, self.names))
        head = f"INSERT {'DELAYED ' if is_delayed else ''}INTO {quote(table)} ({names}) VALUES ".encode()  # noqa: S608  # quoted
        room = max_packet - _STATEMENT_HEAD_BYTES
        tuples: list[bytes] = []
        size = 0
        for each in self.insert_tuples(rows):
            if len(each) > room:
                raise Refused(f"a row of {len(each)} bytes is too large for max_allowed_packet, {max_packet}")
            if tuples and size + len(each) > min(room, _STATEMENT_BYTES):
                yield head + b",".join(tuples)
                tuples, size = [], 0
            tuples.append(each)
            size += len(each) + 1
        if tuples:
            yield head + b",".join(tuples)


def quote(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"


def _is_odd(column: Column) -> bool:
    return column.kind is Kind.BYTES or column.name == "envelope"


def _load_escaped(text: str) -> str:
    for special in (_ESCAPE, _ROW_END, _FIELD_END):  # the escape first
        text = text.replace(special, _ESCAPE + special)
    return text


def _load_odd(value: str | bytes | None) -> str:
    if value is None:
        return _LOAD_NULL
    return _FIELD_END + (_load_escaped(value) if isinstance(value, str) else value.hex())


def _insert_escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")


def _insert_odd(value: str | bytes | None) -> str:
    if value is None:
        return ",NULL"
    return f",'{_insert_escaped(value)}'" if isinstance(value, str) else f",X'{value.hex()}'"
