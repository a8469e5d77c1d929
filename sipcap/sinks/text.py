"""Records into a folder with one text file a table, as Kamailio's db_text reads and writes them (design 1.3)."""

from __future__ import annotations

import calendar
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from sipcap.errors import CannotStart, SinkError
from sipcap.record import SipRecord
from sipcap.schemas import HOMER7, SIPCAPTURE
from sipcap.sinks import dbtext
from sipcap.sinks.base import Adjusted, Row
from sipcap.sinks.dbtext import TextColumn
from sipcap.sinks.folder import Batch, Folder, TableFile, check_name
from sipcap.sinks.forms import Form, forms_of
from sipcap.sinks.naming import Naming
from sipcap.sinks.shape import Column, Kind, Tally, picker

_VERSION: Final = "version"
_VERSION_OF_TABLE: Final = "1"
_MAX_HEADER_BYTES: Final = 64 << 10
_TAIL_BYTES: Final = 512
_PIECE_BYTES: Final = 8 << 20  # of a file at a time, while its largest number is looked for
_MAX_REMEMBERED: Final = 1_000  # files, or layouts
_CONSTANTS: Final = ("", "0")  # the values of columns that are not sipcap's
_WORD: Final = re.compile(r"\w+", re.ASCII)
_LOGGER = logging.getLogger("sipcap")


class TextSink:
    """A Sink (see ``base.py``) over the files of a folder.

    Kamailio reads them; it must not write the same tables, because at its end it replaces a file by what it remembers.

    Args:
        folder: created if it is not there.
        create: whether missing files are created.
        schema: how records are stored; one of ``schemas.SCHEMAS``.
        naming: what columns are called in the tables, but for HOMER 7's; None = as the module calls them.

    Raises:
        CannotStart: db_text could not read a column of such a name.
    """

    is_in_process = True

    def __init__(
        self, folder: Path, *, create: bool = True, schema: str = SIPCAPTURE, naming: Naming | None = None
    ) -> None:
        self._naming = Naming() if naming is None or schema == HOMER7 else naming
        for name in self._naming.names:
            if not _WORD.fullmatch(name):
                raise CannotStart(f"no column of db_text can be called {name!r}")
        self._folder = Folder(folder, create=create)
        self._create = create
        self._forms = forms_of(schema)
        self._layouts: dict[tuple[bytes, bool], _Layout] = {}
        self._seen: dict[str, _Seen] = {}
        self._last: tuple[str, Adjusted] = "", Adjusted()
        self._told: set[str] = set()

    def open(self) -> None:
        """Make sure of the folder; see Sink."""
        self._folder.open()

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch; see Sink."""
        for name in tables:
            check_name(name, name)
            if name == _VERSION:
                raise SinkError(f"{name}: Kamailio's own table, none for messages", transient=False)
        with self._folder.batch(batch_id) as batch:
            if batch.is_stored:
                stored_id, adjusted = self._last
                return adjusted if stored_id == batch_id else Adjusted()
            tally = Tally()
            numbers = {name: self._add(batch.file(name), rows, tally) for name, rows in tables.items()}
            made = [name for name in tables if not batch.file(name).end]
            if made and self._create:
                self._enter_versions(batch, made)
            batch.store()
            for name, number in numbers.items():
                self._remember(batch.file(name), number)
        self._last = batch_id, tally.adjusted()
        return tally.adjusted()

    def close(self) -> None:
        """Nothing is open between two batches; see Sink."""

    def _add(self, file: TableFile, rows: Sequence[Row], tally: Tally) -> int:
        """Add the rows of one table; returns the largest number of a row."""
        head = self._continued(file) if file.end else self._begun(file, rows)
        number = self._largest_number(file, head) if file.end else 0
        for is_sip in (True, False):
            chosen = [row for row in rows if isinstance(row.record, SipRecord) is is_sip]
            if chosen:
                file.data += b"".join(self._layout(file, head, is_sip=is_sip).lines(chosen, number, tally))
                number += len(chosen)
        return number

    def _begun(self, file: TableFile, rows: Sequence[Row]) -> bytes:
        """Begin a table; it has the columns of SIP if it holds any."""
        form = self._forms[any(isinstance(row.record, SipRecord) for row in rows)]
        columns = dbtext.columns_for(form.columns)
        head = dbtext.header([column._replace(name=self._naming.of(column.name)) for column in columns])
        file.data += head
        return head

    def _continued(self, file: TableFile) -> bytes:
        """The first line of a table; somebody else's unfinished last line is completed."""
        head, _, is_more = file.read(_MAX_HEADER_BYTES, 0).partition(b"\n")
        if not file.ends_in_a_line:
            _LOGGER.warning("%s ended in the middle of a line, which is not sipcap's; completed it", file.path)
            columns = _columns(file, head)
            file.data += dbtext.completion(_last_line(file), columns) if is_more else b"\n"
        return head

    def _layout(self, file: TableFile, head: bytes, *, is_sip: bool) -> _Layout:
        layout = self._layouts.get((head, is_sip))
        if layout is None:
            layout = _Layout(self._by_our_names(_columns(file, head)), self._forms[is_sip])
            if not layout.shape.columns:
                raise SinkError(f"{file.path} has none of the columns of a message", transient=False)
            if len(self._layouts) >= _MAX_REMEMBERED:
                self._layouts.clear()
            self._layouts[head, is_sip] = layout
            self._tell(file, layout)
        return layout

    def _by_our_names(self, columns: Sequence[TextColumn]) -> Sequence[TextColumn]:
        """Columns with the module's names; one that is none of them, any more, has a name that no column has."""
        if self._naming.is_usual:
            return columns
        return [column._replace(name=self._naming.ours(column.name) or f"({column.name}") for column in columns]

    def _tell(self, file: TableFile, layout: _Layout) -> None:
        """Say once what an existing table cannot hold, and what Kamailio cannot read of it."""
        if layout.shape.missing:
            missing = ", ".join(layout.shape.missing)
            self._tell_once(f"{file.path} has no column {missing}; what belongs there is not stored")
        strict = [column.name for column in layout.columns if not (column.is_number or column.is_null)]
        if strict:
            self._tell_once(
                f"{file.path} does not declare {', '.join(strict)} as null: where a text is empty, Kamailio reads the"
                " table only with db_text's emptystring"
            )

    def _tell_once(self, text: str) -> None:
        if text not in self._told and len(self._told) < _MAX_REMEMBERED:
            self._told.add(text)
            _LOGGER.warning("%s", text)

    # The numbers of rows.

    def _largest_number(self, file: TableFile, head: bytes) -> int:
        """The largest number of a row of an existing table; only what somebody else has added is looked at."""
        place = next((place for place, column in enumerate(_columns(file, head)) if column.is_auto), None)
        if place is None:
            return 0
        seen = self._seen.get(file.name)
        end, largest = (seen.end, seen.largest) if seen is not None and seen.is_still_in(file) else (len(head) + 1, 0)
        for lines in _lines_from(file, end):
            largest = max(largest, dbtext.largest_number(lines, place))
        return largest

    def _remember(self, file: TableFile, number: int) -> None:
        if len(self._seen) >= _MAX_REMEMBERED:
            self._seen.clear()
        self._seen[file.name] = _Seen(file.end + len(file.data), bytes(file.data[-_TAIL_BYTES:]), number)

    # The table of versions.

    def _enter_versions(self, batch: Batch, names: Sequence[str]) -> None:
        """Enter new tables where Kamailio looks for them."""
        file = batch.file(_VERSION)
        if not file.end:
            file.data += dbtext.header(dbtext.VERSION_COLUMNS)
            columns: Sequence[TextColumn] = dbtext.VERSION_COLUMNS
        else:
            columns = _columns(file, self._continued(file))
        known = b"".join(_lines_from(file, 0))
        for name in names:
            values = {"table_name": name, "table_version": _VERSION_OF_TABLE}
            row = dbtext.encode_fields([values.get(column.name, column.nothing) for column in columns])
            if b"\n" + row not in b"\n" + known:
                file.data += row


class _Seen(NamedTuple):
    """A file as a batch has left it: its last bytes, which end with a numbered row, and the largest number."""

    end: int
    tail: bytes
    largest: int

    def is_still_in(self, file: TableFile) -> bool:
        """Whether nothing but appending has happened to it since; Kamailio writes a file anew, in another order."""
        return file.read(len(self.tail), self.end - len(self.tail)) == self.tail


class _Layout:
    """How the rows of one kind of record go into files with one first line."""

    def __init__(self, columns: Sequence[TextColumn], form: Form) -> None:
        self.columns = columns
        existing = [Column(column.name, _kind(column)) for column in columns if not column.is_auto]
        self.shape = form.shape(existing, takes_nul=True)
        self._values = form.for_table(column.name for column in columns).rows
        stored = [column.name for column in self.shape.columns]
        by_name = {column.name: column for column in columns}
        self._digits = [(place, by_name[name]) for place, name in enumerate(stored) if by_name[name].is_number]
        has_both = {"msg", "msg_raw"} <= {*stored}
        self._raw = stored.index("msg_raw") if has_both else None
        self._msg = stored.index("msg") if has_both else 0
        fields = [*stored, None, *_CONSTANTS]  # None: where the number of the row is
        self._pick = picker(
            [
                fields.index(None if column.is_auto else column.name if column.name in stored else column.nothing)
                for column in columns
            ]
        )

    def lines(self, rows: Sequence[Row], number: int, tally: Tally) -> Iterator[bytes]:
        """The lines of rows, which are counted on from a number."""
        fit, pick = self.shape.fit, self._pick
        for values in self._values(rows, tally):
            number += 1
            fields = list(fit(values, tally))
            if self._raw is not None and fields[self._raw] is not None and not fields[self._raw]:
                fields[self._msg] = ""  # empty bytes cannot be told from none
            tally.sanitised += self._make_digits(fields)
            yield dbtext.encode_fields(pick([*_texts(fields), str(number), *_CONSTANTS]))

    def _make_digits(self, fields: list[Any]) -> bool:
        """Make numbers of texts that belong into columns of numbers; true if one is none."""
        failed = False
        for place, column in self._digits:
            value = fields[place]
            if isinstance(value, str):
                found = _seconds(value) if column.name == "date" else _integer(value)
                fields[place] = column.nothing if found is None else found
                failed |= found is None
        return failed


def _texts(fields: Sequence[Any]) -> Iterator[str | bytes]:
    return ("" if field is None else field if isinstance(field, (str, bytes)) else str(field) for field in fields)


@lru_cache(maxsize=1_024)
def _seconds(date: str) -> int | None:
    try:
        return calendar.timegm(time.strptime(date, "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return None


def _integer(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _kind(column: TextColumn) -> Kind:
    return Kind.OTHER if column.is_number else Kind.BYTES if column.kind == "blob" else Kind.TEXT


def _columns(file: TableFile, head: bytes) -> tuple[TextColumn, ...]:
    try:
        return dbtext.parse_header(head)
    except ValueError as error:
        raise SinkError(f"{file.path} is no table of db_text: {error}", transient=False) from None


def _last_line(file: TableFile) -> bytes:
    size = _MAX_HEADER_BYTES
    while True:
        tail = file.read(size, max(file.end - size, 0))
        if b"\n" in tail or size >= file.end:
            return tail.rpartition(b"\n")[2]
        size *= 8


def _lines_from(file: TableFile, at: int) -> Iterator[bytes]:
    """What stands behind an offset, in pieces of whole lines."""
    rest = b""
    while at < file.end:
        piece = file.read(min(_PIECE_BYTES, file.end - at), at)
        at += len(piece)
        whole, is_line, rest = (rest + piece).rpartition(b"\n")
        yield whole + is_line
    yield rest
