"""Looking after the tables of an SQLite file while capture writes into it."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from sipcap.calls.readers.base import Gone, Layout
from sipcap.calls.readers.sqlite import SqliteReader
from sipcap.errors import CannotStart, SinkError
from sipcap.sinks.sqlite import SqliteSink, create_table, quote
from sipcap.tables import Piece, Step
from sipcap.upkeep.base import Stopping, Upkeep
from sipcap.upkeep.sqlite_file import SharedFile
from sipcap.upkeep.sqlite_sizes import sizes_of

_LOGGER = logging.getLogger("sipcap")
_DROP_AT_ONCE_BYTES: Final = 256 << 20
"""A larger table is emptied first: SQLite reads every page of what it drops, at a disk's pace while it is cold."""


class SqliteUpkeep(Upkeep):
    """An Upkeep (see ``base.py``) of one SQLite file.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file_reader = SqliteReader(path)
        super().__init__(self._file_reader)
        self._opened: SharedFile | None = None

    def open(self, *, create: bool = False) -> None:
        """Open the file; see Upkeep."""
        if create and not self._path.exists():
            sink = SqliteSink(self._path)
            sink.open()
            sink.close()
        super().open()
        self._opened = SharedFile(self._path)

    def close(self) -> None:
        """Close the file; see Upkeep."""
        super().close()
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
            for name, size in sizes_of(self._file_reader, self.names()).items():
                if name in names:
                    oldest_us, newest_us = self._ends(self._layout(name))
                    pieces.append(Piece(name, None, None, size.bytes, size.rows, size.exact, oldest_us, newest_us))
        except CannotStart as error:
            raise SinkError(str(error), transient=True) from None
        return pieces

    def create(self, step: Step, form: str) -> None:
        """Create a table; see Upkeep."""

        def work() -> None:
            if not self._database.table(step.table).exists():
                naming = self._reader.naming if form in {"sip", "report"} else None
                create_table(self._file.connection, form, step.table, naming)

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

    def _delete(self, layout: Layout, where: str, params: Sequence[Any], stopping: Stopping) -> Iterator[int]:
        """Delete rows in batches; see Upkeep."""
        table, key = quote(layout.table), layout.key_sql
        sql = f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {where} LIMIT ?)"  # noqa: S608
        yield from self._file.delete(sql, params, stopping)

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
