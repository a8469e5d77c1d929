"""Reading an SQLite file, whoever wrote it, while somebody writes."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sipcap.calls.readers.base import Gone, Layout, Reader
from sipcap.errors import CannotStart
from sipcap.limits import SQLITE_BUSY_S
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, date_text
from sipcap.sinks.sqlite import quote

_KNOWN: Final = frozenset({*SIP_COLUMNS, "msg_raw", "envelope"})
_SIP_SIGNS: Final = frozenset(SIP_COLUMNS) - frozenset(REPORT_COLUMNS)
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
        for pragma in ("query_only=ON", "trusted_schema=OFF", "mmap_size=0"):
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
        columns = tuple(name for name in existing if name in _KNOWN)
        key = self._key(table, existing)
        if key is None or "msg" not in existing or not existing.keys() & {"micro_ts", "date"}:
            return None
        indexed = self._indexed(table)
        clock = next((name for name in ("micro_ts", "date") if name in indexed and name in existing), "")
        if "micro_ts" in existing:
            time_sql = "micro_ts" if existing["micro_ts"] else "coalesce(micro_ts, 0)"
        else:
            time_sql = "coalesce(CAST(strftime('%s', date) AS INTEGER), 0) * 1000000"
        return Layout(
            table, columns, time_sql, key, clock, not existing.get(clock, True),
            self._date_form(table) if clock == "date" else "", indexed, not existing.keys() & _SIP_SIGNS,
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
        return frozenset(str(name).lower() for (name,) in self.execute(sql, (table,)))

    def _date_form(self, table: str) -> str:
        """``text`` (ISO), ``julian`` (Kamailio's db_sqlite writes days as a number), or "" for anything else."""
        sql = f"SELECT max(date) FROM {quote(table)} WHERE date < ?"  # noqa: S608  # quoted
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

    def equal_sql(self, column: str, *, by_index: bool) -> tuple[str, int]:
        """Equality; see Reader. A plus keeps SQLite from an index that would find most of the table."""
        return f"{'' if by_index else '+'}{quote(column)} = ?", 1
