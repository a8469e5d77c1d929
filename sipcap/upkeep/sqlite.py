"""Looking after the tables of an SQLite file while capture writes into it."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from sipcap.calls.query import Query
from sipcap.calls.readers.base import Gone, Layout, Statements
from sipcap.calls.readers.sqlite import SqliteReader
from sipcap.errors import CannotStart, SinkError
from sipcap.sinks.sqlite import SqliteSink, create_table, quote
from sipcap.tables import Piece, Step
from sipcap.upkeep.base import Stopping, Upkeep
from sipcap.upkeep.sqlite_file import SharedFile
from sipcap.upkeep.sqlite_sizes import sizes_of

_LOGGER = logging.getLogger("sipcap")
_SECOND_US: Final = 1_000_000  # a date has no fractions
_DROP_AT_ONCE_BYTES: Final = 256 << 20
"""A larger table is emptied first: SQLite reads every page of what it drops, at a disk's pace while it is cold."""


class SqliteUpkeep(Upkeep):
    """An Upkeep (see ``base.py``) of one SQLite file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)
        self._reader = SqliteReader(path)
        self._opened: SharedFile | None = None

    def open(self, *, create: bool = False) -> None:
        """Open the file; see Upkeep."""
        if create and not self._path.exists():
            sink = SqliteSink(self._path)
            sink.open()
            sink.close()
        self._reader.open()
        self._opened = SharedFile(self._path)

    def close(self) -> None:
        """Close the file; see Upkeep."""
        self._reader.close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _file(self) -> SharedFile:
        assert self._opened is not None, "used before open"
        return self._opened

    def names(self) -> list[str]:
        """All tables but SQLite's own; see Upkeep."""
        found = self._file.fetch("SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")
        return [name for (name,) in found if not name.startswith("sqlite_") and name != "sipcap_batches"]

    def look(self, names: Collection[str]) -> list[Piece]:
        """Sizes, rows and times; see Upkeep."""
        pieces = []
        try:
            for name, size in sizes_of(self._reader, self.names()).items():
                if name in names:
                    oldest_us, newest_us = self._ends(name)
                    pieces.append(Piece(name, None, None, size.bytes, size.rows, size.exact, oldest_us, newest_us))
        except CannotStart as error:
            raise SinkError(str(error), transient=True) from None
        return pieces

    def _layout(self, table: str) -> Layout | None:
        with contextlib.suppress(Gone):
            return self._reader.layout(table)
        return None

    def _ends(self, table: str) -> tuple[int | None, int | None]:
        """The times of the first and the last row."""
        layout = self._layout(table)
        if layout is None:
            return None, None
        return self._nth(layout, 0), self._nth(layout, 0, " DESC")

    def _nth(self, layout: Layout, offset: int, order: str = "") -> int | None:
        """The time of a row, counted from an end; rows whose date is none are not counted."""
        lower, upper = Statements(self._reader, layout, Query()).bounds()
        conditions = [window.sql for window in (*lower, *upper)]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        by = layout.clock or layout.time_sql
        # S608: names are quoted, values are parameters.
        sql = f"SELECT {layout.time_sql} FROM {quote(layout.table)}{where} ORDER BY {by}{order} LIMIT 1 OFFSET ?"  # noqa: S608
        params = [value for window in (*lower, *upper) for value in window.params]
        with contextlib.suppress(Gone):
            return next((int(time_us) for (time_us,) in self._reader.execute(sql, (*params, offset))), None)
        return None

    def form(self, table: str) -> str:
        """What a table holds; see Upkeep."""
        layout = self._layout(table)
        return "" if layout is None else layout.form

    def nth_oldest(self, table: str, number: int) -> int | None:
        """The time of the n-th oldest row; see Upkeep."""
        layout = self._layout(table)
        return None if layout is None or number < 1 else self._nth(layout, number - 1)

    def create(self, step: Step, form: str) -> None:
        """Create a table; see Upkeep."""

        def work() -> None:
            if not self._database.table(step.table).exists():
                create_table(self._file.connection, form, step.table)

        self._file.transaction(work)

    @property
    def _database(self) -> Any:
        import sqlite_utils  # noqa: PLC0415  # 80 ms that --help need not spend

        return sqlite_utils.Database(self._file.connection, execute_plugins=False)

    def drop(self, step: Step, stopping: Stopping) -> bool:
        """Drop a table; a large one loses its indexes and rows first, in bounded steps. See Upkeep."""
        table = self._database.table(step.table)

        def work() -> bool:
            there = bool(table.exists())
            table.drop(ignore=True)
            return there

        if step.size_bytes > _DROP_AT_ONCE_BYTES:
            with contextlib.suppress(Gone):
                self._empty(step.table, stopping)
            if stopping():
                return False
        return self._file.transaction(work)

    def _empty(self, name: str, stopping: Stopping) -> None:
        indexes = "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?"
        for (index,) in self._file.fetch(indexes, (name,)):
            if stopping():
                return
            self._file.transaction(partial(self._file.connection.execute, f"DROP INDEX IF EXISTS {quote(index)}"))
        table = quote(name)
        sql = f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} ORDER BY rowid LIMIT ?)"  # noqa: S608
        for count in self._file.delete(sql, (), stopping):
            _LOGGER.debug("%s: %d rows deleted", name, count)

    def delete(self, step: Step, stopping: Stopping) -> int:
        """Delete rows before a time; see Upkeep."""
        assert step.before_us is not None, "a DELETE has a time"
        layout = self._layout(step.table)
        if layout is None:
            if step.table in self.names():
                raise SinkError("no table of messages: its rows have no time", transient=False)
            return 0
        total = 0
        for where, params in self._older_than(layout, step.before_us):
            table, key = quote(step.table), layout.key_sql
            sql = f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {where} LIMIT ?)"  # noqa: S608
            with contextlib.suppress(Gone):
                for count in self._file.delete(sql, params, stopping):
                    total += count
                    _LOGGER.debug("%s: %d rows deleted", step.table, count)
        return total

    def _older_than(self, layout: Layout, before_us: int) -> Iterator[tuple[str, list[Any]]]:
        """Conditions on rows before a time, each served by the clock's index; those without a date come last.

        The time alone decides. A date that is later than the time, as in a zone east of Greenwich, only makes a row
        stay until that date is old, too.
        """
        old = f"{layout.time_sql} < ?"
        if not layout.clock:
            yield old, [before_us]
            return
        statements = Statements(self._reader, layout, Query(until_us=before_us))
        lower, upper = statements.bounds(_SECOND_US)
        for windows in ([*lower, *upper], *([window] for window in statements.strays())):
            sql = " AND ".join([*(window.sql for window in windows), old])
            yield sql, [*(value for window in windows for value in window.params), before_us]

    def settle(self, stopping: Stopping) -> int:
        """Shorten the file; see Upkeep."""
        before = self._size()
        if not self._file.give_back(stopping):
            free = self._file.free_bytes()
            _LOGGER.warning(
                "%s: %d free bytes stay in the file, to be used again: it was made without auto_vacuum",
                self.place,
                free,
            )
        return max(before - self._size(), 0)

    def _size(self) -> int:
        return sum(path.stat().st_size for path in (self._path, Path(f"{self._path}-wal")) if path.exists())

    def room_bytes(self) -> int | None:
        """Free bytes on the disk and within the file; see Upkeep."""
        return shutil.disk_usage(self._path.absolute().parent).free + self._file.free_bytes()
