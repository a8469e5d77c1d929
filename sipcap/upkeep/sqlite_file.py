"""Writing into an SQLite file that capture writes into, too: short transactions, and a pause behind each.

A file has one writer at a time. Who waits for it looks again every 0.1 s at most, so that a pause lets it in.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sipcap.calls.readers.base import Gone
from sipcap.errors import CannotStart, SinkError
from sipcap.limits import DELETE_ROWS, UPKEEP_LOCK_S, UPKEEP_PAUSE_S

_LOOK_S: Final = 0.1
"""SQLite waits in C, where no signal is heard: so long at a time."""
_GOAL_S: Final = 0.2
"""How long a transaction may keep capture waiting; batches of rows grow and shrink towards it."""
_MOST_ROWS: Final = 40 * DELETE_ROWS
_LEAST_ROWS: Final = DELETE_ROWS // 10
_VACUUM_PAGES: Final = 3_000
"""Given back in one transaction: 0.14 s at 8 KB a page (2026-11, warm)."""
_INCREMENTAL: Final = 2

Stopping = Callable[[], bool]
T = TypeVar("T")


class SharedFile:
    """An SQLite file that is written in steps.

    Args:
        path: an existing file.

    Raises:
        CannotStart: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held_s = 0.0  # the time that was taken since others got their turn
        self._last_s = 0.0  # that of the last transaction
        try:
            uri = f"{path.absolute().as_uri()}?mode=rw"
            self.connection = sqlite3.connect(uri, uri=True, timeout=_LOOK_S, isolation_level=None)
            self.connection.text_factory = lambda data: data.decode("utf-8", "replace")  # names of others' tables
            # Freed pages are overwritten where that costs nothing; Debian's default writes each of them: 1.0 s where
            # this takes 0.06 s (317 MB dropped, 2026-11).
            self.connection.execute("PRAGMA secure_delete=FAST").fetchall()
        except sqlite3.Error as error:
            raise CannotStart(f"cannot open {path}: {error}") from None

    def close(self) -> None:
        """Close the file; may be called twice."""
        self.connection.close()

    def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement outside of transactions."""
        return self._patiently(lambda: self.connection.execute(sql, params).fetchall())

    def transaction(self, work: Callable[[], T]) -> T:
        """Do something in a transaction, then let others write.

        Raises:
            Gone: its table is not there.
            SinkError: the file stays locked, or cannot be written.
        """
        self.fetch("BEGIN IMMEDIATE")
        begin_s = time.monotonic()
        try:
            result = self._once(work)
            self.fetch("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self._rest(begin_s)
        return result

    def delete(self, sql: str, params: Sequence[Any], stopping: Stopping) -> Iterator[int]:
        """Run a DELETE whose last parameter is a LIMIT until nothing is left; gives the rows of each batch."""
        rows = DELETE_ROWS
        while not stopping():
            count = self.transaction(partial(self._count, sql, (*params, rows)))
            yield count
            if count < rows:
                return
            rows = min(max(int(rows * _GOAL_S / max(self._last_s, 0.001)), _LEAST_ROWS), 2 * rows, _MOST_ROWS)

    def _count(self, sql: str, params: Sequence[Any]) -> int:
        """Run a statement; how many rows it changed."""
        return self.connection.execute(sql, params).rowcount

    def give_back(self, stopping: Stopping) -> bool:
        """Shorten the file by its free pages; false if it was not made for that (PRAGMA auto_vacuum)."""
        if self._number("auto_vacuum") != _INCREMENTAL:
            return self._number("freelist_count") == 0
        for _ in range(self._number("freelist_count") // _VACUUM_PAGES + 1):
            if stopping() or not self._number("freelist_count"):
                break
            begin_s = time.monotonic()
            # One step of the statement frees one page; only executescript goes on to its end.
            self._patiently(lambda: self.connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})"))
            self._rest(begin_s)
        for mode in ("PASSIVE", "TRUNCATE"):  # the file itself shrinks when the log gets into it
            self.fetch(f"PRAGMA wal_checkpoint({mode})")
        return True

    def free_bytes(self) -> int:
        """What is free within the file."""
        return self._number("freelist_count") * self._number("page_size")

    def _number(self, pragma: str) -> int:
        return int(self.fetch(f"PRAGMA {pragma}")[0][0])

    def _rest(self, begin_s: float) -> None:
        """Let others write, once they may have been waiting."""
        self._last_s = time.monotonic() - begin_s
        self._held_s += self._last_s
        if self._held_s >= _LOOK_S:
            time.sleep(max(UPKEEP_PAUSE_S, self._held_s))
            self._held_s = 0.0

    def _patiently(self, step: Callable[[], T]) -> T:
        """Do what may find the file locked by capture, again until UPKEEP_LOCK_S are over."""
        until_s = time.monotonic() + UPKEEP_LOCK_S
        while True:
            try:
                return step()
            except sqlite3.OperationalError as error:
                is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() >= until_s:
                    raise SinkError(f"{self._path}: {error}", transient=is_busy) from None
            except sqlite3.Error as error:
                raise SinkError(f"{self._path}: {error}", transient=False) from None
            time.sleep(0.01)

    def _once(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.Error as error:
            if str(error).startswith("no such table"):
                raise Gone from None
            raise SinkError(f"{self._path}: {error}", transient=False) from None
