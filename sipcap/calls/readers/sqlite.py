"""Reading an SQLite file, whoever wrote it, while somebody writes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sipcap.calls.readers.base import Gone, Layout, Reader, columns_of, form_of
from sipcap.errors import CannotStart
from sipcap.limits import SQLITE_BUSY_S
from sipcap.record import date_text
from sipcap.schemas import HOMER7
from sipcap.sinks.sqlite import quote

_JSON_INDEX: Final = re.compile(r"json_extract\((\w+), '\$\.(\w+)'\)\)$")
_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T].*)?", re.DOTALL)
_DIGITS: Final = "0"
_AFTER_DIGITS: Final = ":"
_UNIX_DAY: Final = 2_440_587.5
_JULIAN_DAYS: Final = range(1_721_426, 5_373_484)  # the years 1 to 9999
_US_PER_DAY: Final = 86_400_000_000


class SqliteReader(Reader):
    """A Reader (see ``base.py``) over one SQLite file.

    Args:
        path: an existing file; it is never changed.
    """

    mark = "?"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file; see Reader."""
        try:
            if not self._path.is_file():
                raise CannotStart(f"{self._path}: there is no such database")
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, timeout=SQLITE_BUSY_S, isolation_level=None)
        except (OSError, ValueError, sqlite3.Error) as error:
            raise CannotStart(f"cannot open {self._path}: {getattr(error, 'strerror', None) or error}") from None
        self._connection = connection
        for pragma in ("query_only=ON", "mmap_size=0"):
            self.execute(f"PRAGMA {pragma}", ())

    def close(self) -> None:
        """Close the file; see Reader."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def execute(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one SELECT; see Reader."""
        assert self._connection is not None, "execute before open"
        try:
            try:
                return self._connection.execute(sql, params).fetchall()
            except sqlite3.OperationalError as error:
                if not str(error).startswith("Could not decode"):
                    raise
            # Text of somebody else that is not UTF-8; sipcap's always is, and this takes a third longer.
            self._connection.text_factory = lambda data: data.decode("utf-8", "replace")
            return self._connection.execute(sql, params).fetchall()
        except sqlite3.Error as error:
            if str(error).startswith("no such table"):
                raise Gone from None
            raise CannotStart(f"cannot read {self._path}: {error}") from None

    def names(self) -> list[str]:
        """All tables and views; see Reader."""
        found = self.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')", ())
        return [name for (name,) in found if not name.startswith("sqlite_")]

    def layout(self, table: str) -> Layout | None:
        """Look at a table; see Reader."""
        existing = {str(name).lower(): bool(must) for name, must in self.execute(
            'SELECT name, "notnull" FROM pragma_table_info(?)', (table,))}  # fmt: skip
        if not existing:
            raise Gone
        existing = self.naming.existing(existing)
        key = self._key(table, existing)
        form = form_of(existing)
        if key is None or not form:
            return None
        date = "create_date" if form == HOMER7 else "date"
        indexed = self._indexed(table)
        clock = next((name for name in ("micro_ts", date) if name in indexed and name in existing), "")
        if "micro_ts" in existing and form != HOMER7:
            micro_ts = self.column("micro_ts")
            time_sql = micro_ts if existing["micro_ts"] else f"coalesce({micro_ts}, 0)"
        else:
            time_sql = _time_of_date(self.column(date))
        return Layout(
            table, form, columns_of(form, existing), time_sql, key, clock, not existing.get(clock, True),
            self._date_form(table, date) if clock == date else "", indexed,
        )  # fmt: skip

    def _key(self, table: str, existing: dict[str, bool]) -> str | None:
        kind = self.execute("SELECT type, wr FROM pragma_table_list(?) WHERE schema = 'main'", (table,))
        if kind == [("table", 0)]:  # no view, and not WITHOUT ROWID
            return next((name for name in ("rowid", "_rowid_", "oid") if name not in existing), None)
        return "id" if "id" in existing else None

    def _indexed(self, table: str) -> frozenset[str]:
        """The columns that an index begins with, of those indexes that hold all rows."""
        sql = (
            "SELECT info.name FROM pragma_index_list(?) AS list JOIN pragma_index_xinfo(list.name) AS info"
            " WHERE list.partial = 0 AND info.seqno = 0 AND info.name IS NOT NULL AND info.coll = 'BINARY'"
        )
        names = {str(name).lower() for (name,) in self.execute(sql, (table,))}
        indexes = self.execute("SELECT sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?", (table,))
        for (text,) in indexes:
            found = _JSON_INDEX.search(text or "")
            names |= {f"{found[1]}.{found[2]}"} if found else set()
        return frozenset(self.naming.existing(dict.fromkeys(names)))

    def _date_form(self, table: str, date: str) -> str:
        """``text`` (ISO), ``julian`` (Kamailio's db_sqlite writes days as a number), or "" for anything else."""
        name = self.column(date)
        sql = f"SELECT max({name}) FROM {quote(table)} WHERE {name} < ?"  # noqa: S608  # quoted
        ((newest,),) = self.execute(sql, (_AFTER_DIGITS,))
        if newest is None or (isinstance(newest, str) and _ISO_DATE.fullmatch(newest)):
            return "text"
        return "julian" if isinstance(newest, (int, float)) and int(newest) in _JULIAN_DAYS else ""

    def usual_dates(self, form: str) -> tuple[Any, Any]:
        """Where dates end; see Reader. SQLite has numbers before texts."""
        return {"text": (_DIGITS, _AFTER_DIGITS), "julian": (None, "")}.get(form, (None, None))

    def quote(self, name: str) -> str:
        """Quote an identifier; see Reader."""
        return quote(name)

    def date_bound(self, form: str, ts_us: int) -> Any:
        """A time as ``date`` has it; see Reader."""
        return date_text(ts_us // 1_000_000) if form == "text" else ts_us / _US_PER_DAY + _UNIX_DAY

    def key_of_json_sql(self, column: str, key: str) -> str:
        """A key of a JSON column as the indexes of HOMER 7's tables have it; see Reader."""
        return f"json_extract({column}, '$.{key}')"

    def equal_sql(self, name: str, *, by_index: bool) -> tuple[str, int]:
        """Equality; see Reader. A plus keeps SQLite from an index that would find most of the table."""
        return f"{'' if by_index else '+'}{self.expression(name)} = ?", 1


def _time_of_date(date: str) -> str:
    """Microseconds of a date, as text or as a Julian day; 0 if it is none."""
    whole = f"CAST(strftime('%s', {date}) AS INTEGER) * 1000000"
    fraction = f"CAST(substr({date} || '000000', 21, 6) AS INTEGER)"
    return f"coalesce({whole} + CASE WHEN substr({date}, 20, 1) = '.' THEN {fraction} ELSE 0 END, 0)"
