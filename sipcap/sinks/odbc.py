"""Records into any ODBC data source, row by row in one transaction."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from sipcap.sinks.driver import LEDGER, Driver, Found, Load, Refused, Trouble, one_line
from sipcap.sinks.odbc_connect import FAST, Connection, Cursor, connect, load_api
from sipcap.sinks.odbc_dialect import Dialect
from sipcap.sinks.odbc_rows import column_of, converted
from sipcap.sinks.shape import Tally
from sipcap.sinks.url import DatabaseUrl

_MISSING: Final = ("42S02", "42P01")
_LOST: Final = ("08", "57P0", "HYT01", "HY010", "HY117", "IM")
_CLASH: Final = ("40",)
_BUSY: Final = ("25", "53", "55", "57", "58", "XX", "HYT00", "HY001", "HY008", "HY013", "HY014")
"""SQLSTATEs, or how they begin, of what is nobody's row: read-only, resources, locks, an operator, I/O, damage."""

_GENERAL: Final = "HY000"
_BROKEN: Final = re.compile(
    r"\b(connection|connect|gone away|communication|network|socket|broken pipe)\b", re.IGNORECASE
)
_PASSES: Final = re.compile(
    r"\b(locked|lock wait|deadlock|busy|timed? ?out|full|space|memory|disk|i/o|read-?only|unable to open|interrupted"
    r"|too many|shut ?down)\b",
    re.IGNORECASE,
)
"""Words of errors without a state of their own: SQLite's driver has none, PostgreSQL's not for all that is lost."""

_WIDEST: Final = 32_767
"""A column that is said to be wider is of unbounded text: drivers name some number for it."""

_WIDTHS: Final = "SELECT column_name, character_maximum_length FROM information_schema.columns WHERE table_name = ?"
_LOGGER = logging.getLogger("sipcap")


class _TooFast(Exception):
    """The driver does not take many rows at a time."""


class OdbcDriver(Driver):
    """A connection to a data source."""

    takes_nul = False  # most drivers end a text at a NUL, and say nothing

    def __init__(self, url: DatabaseUrl) -> None:
        super().__init__(f"data source {url.database}")
        self._api = load_api()
        self.errors = (self._api.Error, Refused, UnicodeEncodeError, _TooFast)
        self._url = url
        self._connection: Connection | None = None
        self._dialect: Dialect | None = None
        self._is_fast = url.options.get(FAST) == "1"
        self._has_widths = True
        self._times: dict[str, frozenset[str]] = {}  # columns of tables that take a point in time, and no text

    @property
    def connected(self) -> bool:
        """See Driver."""
        return self._connection is not None

    def connect(self) -> None:
        """See Driver."""
        self.disconnect()
        connection = connect(self._api, self._url)
        self._connection = connection
        is_first, self._dialect = self._dialect is None, Dialect(connection)
        for name in self.naming.names:
            self._dialect.check_column(name)
        if self._dialect.utc is not None:
            self._run(self._dialect.utc)
        if self._is_fast and not self._dialect.takes_many_rows:
            self._be_slow()
        if is_first and not self._dialect.has_transactions:
            _LOGGER.warning(
                "%s knows no transactions: a batch that fails may be stored in part or twice (at least once)",
                self.place,
            )

    def disconnect(self) -> None:
        """See Driver."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(self._api.Error):
                connection.close()

    def trouble(self, error: Exception) -> Trouble:
        """See Driver."""
        if isinstance(error, _TooFast):
            return Trouble.CLASH
        state = _state(error)
        words = self.text(error) if state == _GENERAL else ""
        if not self.connected or state.startswith(_LOST) or _BROKEN.search(words):
            return Trouble.LOST
        if state.startswith(_CLASH):
            return Trouble.CLASH
        return Trouble.BUSY if state.startswith(_BUSY) or _PASSES.search(words) else Trouble.REFUSED

    def says_missing(self, error: Exception) -> bool:
        """Whether an error says that there is no such table."""
        return _state(error) in _MISSING or "no such table" in self.text(error)

    def text(self, error: Exception) -> str:
        """See Driver."""
        said = one_line(str(error.args[-1]) if isinstance(error, self._api.Error) and error.args else str(error))
        if self._url.password:
            said = said.replace(self._url.password, "***")
        return said.rstrip(";") or "the connection is gone"

    def check_name(self, name: str) -> None:
        """See Driver."""
        super().check_name(name)
        if self._dialect is not None:
            self._dialect.check_name(name)

    def find(self, name: str) -> Found | None:
        """See Driver."""
        described = self._describe(name)
        if described is None:
            return None
        widths = self._widths(name)
        columns = []
        for column, kind, _, size, *_ in described:
            if widths is None:
                chars = size if self._of_engine.has_widths and 0 < (size or 0) <= _WIDEST else None
            else:
                chars = widths.get(column)
            columns.append(column_of(column, kind, chars))
        self._times[name] = frozenset(column for column, kind, *_ in described if kind is datetime)
        return Found(columns, self._of_engine.has_transactions)

    def _describe(self, name: str) -> Sequence[tuple[Any, ...]] | None:
        """The columns of a table, as a query of it would give them; None if there is none of this name."""
        look = f"SELECT * FROM {self._of_engine.quote(name)} WHERE 0 = 1"  # noqa: S608  # quoted
        for is_last in (False, True):
            try:
                with self._cursor() as cursor:
                    return cursor.execute(look).description
            except self._api.Error as error:
                if self.trouble(error) is not Trouble.REFUSED:
                    raise
                if _state(error) in _MISSING or not self._is_listed(name):
                    return None
                if is_last:  # else somebody may have created it meanwhile
                    raise
        return None

    def _is_listed(self, name: str) -> bool:
        """Whether there is a table of this name, even if it cannot be looked at."""
        with self._cursor() as cursor:
            return any(found == name for _, _, found, *_ in cursor.tables(table="%"))

    def _widths(self, name: str) -> dict[str, int] | None:
        """The widths of a table's columns, where the engine has the standard's view of them.

        Tables of other schemas may have the same name: the wider counts. What is too wide then is refused, not cut.
        """
        if not self._has_widths:
            return None
        try:
            found = self._query(_WIDTHS, name)
        except self._api.Error as error:
            if self.trouble(error) is not Trouble.REFUSED:
                raise
            self._has_widths = False
            return None
        widths: dict[str, int] = {}
        for column, width in found:
            if width is not None and 0 < width <= _WIDEST:
                widths[column] = max(width, widths.get(column, 0))
        unbounded = {column for column, width in found if width is None or not 0 < width <= _WIDEST}
        return {column: width for column, width in widths.items() if column not in unbounded}

    def create(self, kind: str, name: str) -> None:
        """See Driver. Portable SQL does not lock: who comes second finds that the table is there."""
        table, *indexes = self._of_engine.statements(kind, name, self.naming)
        try:
            self._run(table)
        except self._api.Error as error:
            if self.trouble(error) is not Trouble.REFUSED or self._describe(name) is None:
                raise
            return
        for index in indexes:
            try:
                self._run(index)
            except self._api.Error as error:
                if self.trouble(error) is not Trouble.REFUSED:
                    raise
                _LOGGER.info("%s: an index of %s could not be created: %s", self.place, name, self.text(error))

    def begin(self) -> None:
        """See Driver."""
        self._live.autocommit = False

    def claim(self, batch_id: str, now_s: int) -> bool:
        """See Driver. Engines that lock files want the first statement to be one that writes."""
        quote = self._of_engine.quote
        ledger, key = quote(LEDGER), quote("batch_id")
        try:
            self._run(f"INSERT INTO {ledger} ({key}, {quote('committed_s')}) VALUES (?, ?)", batch_id, now_s)  # noqa: S608
        except self._api.Error as error:
            if self.trouble(error) is not Trouble.REFUSED:
                raise
            self.rollback()
            self.begin()
            if not self._query(f"SELECT 1 FROM {ledger} WHERE {key} = ?", batch_id):  # noqa: S608
                raise
            return False
        return True

    def store(self, loads: Sequence[Load], tally: Tally) -> None:
        """See Driver."""
        quote = self._of_engine.quote
        for load in loads:
            columns = load.table.shape.columns
            names = ", ".join(quote(column.sql_name) for column in columns)
            marks = ", ".join("?" * len(columns))
            rows = converted(load.values(tally), columns, self._times.get(load.table.name, ()))
            insert = f"INSERT INTO {quote(load.table.name)} ({names}) VALUES ({marks})"  # noqa: S608  # quoted
            try:
                with self._cursor() as cursor:
                    cursor.fast_executemany = self._is_fast
                    cursor.executemany(insert, rows)
            except self._api.Error as error:
                if not self._is_fast or self.trouble(error) is Trouble.LOST:
                    raise
                self._be_slow()
                raise _TooFast from None

    def _be_slow(self) -> None:
        self._is_fast = False
        _LOGGER.warning("%s does not take %s: rows go in one by one", self.place, FAST)

    def commit(self) -> None:
        """See Driver."""
        self._live.commit()
        self._live.autocommit = True

    def rollback(self) -> None:
        """See Driver."""
        if self._connection is not None and not self._connection.autocommit:
            self._connection.rollback()
            self._connection.autocommit = True

    def clean_ledger(self, before_s: int) -> None:
        """See Driver."""
        quote = self._of_engine.quote
        self._run(f"DELETE FROM {quote(LEDGER)} WHERE {quote('committed_s')} < ?", before_s)  # noqa: S608

    @property
    def _live(self) -> Connection:
        if self._connection is None:
            raise self._api.Error("08003", "not connected")
        return self._connection

    @property
    def _of_engine(self) -> Dialect:
        if self._dialect is None:
            raise self._api.Error("08003", "not connected")
        return self._dialect

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Cursor]:
        cursor = self._live.cursor()
        try:
            yield cursor
        finally:
            with contextlib.suppress(self._api.Error):
                cursor.close()

    def _run(self, statement: str, *values: object) -> None:
        with self._cursor() as cursor:
            cursor.execute(statement, *values)

    def _query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._cursor() as cursor:
            return cursor.execute(statement, *values).fetchall()


def _state(error: Exception) -> str:
    """The SQLSTATE of an error; "" if it has none."""
    state = error.args[0] if error.args else ""
    return state if isinstance(state, str) and len(state) == 5 else ""
