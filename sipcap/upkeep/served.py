"""Looking after the tables of a database server: what all of them have in common."""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from sipcap.calls.readers.base import Gone, Layout
from sipcap.calls.readers.served import ServedReader
from sipcap.errors import SinkError
from sipcap.limits import DELETE_ROWS, UPKEEP_LOCK_S
from sipcap.patterns import Period
from sipcap.sinks.driver import LEDGER, Driver, Refused, Trouble
from sipcap.sinks.naming import Naming
from sipcap.tables import Piece
from sipcap.upkeep.base import Stopping, Upkeep

DDL_WAIT_S: Final = 1
"""A DROP that waits for a lock makes every writer behind it wait: so long at a time, then they get their turn."""
_PAUSE_S: Final = 0.5
_COUNTED_BYTES: Final = 8 << 20
"""The rows of a smaller table are counted; of others the server's estimate is taken."""
_SMALL_BYTES: Final = 64 << 10
_COUNTABLE_ROWS: Final = 20_000_000
SAMPLE_ROWS: Final = 200
_LOOSE: Final = 1.15
"""Rows with their heads and the room that pages leave, to the bytes of their values."""
T = TypeVar("T")


class Extent(NamedTuple):
    """What a server says about a table or a partition.

    *relation* is what stands behind FROM, quoted; *bytes* are those with indexes, *data_bytes* those without;
    *rows* is an estimate, -1 if the server has no idea.
    """

    name: str
    partition: str | None
    bounds: Period | None
    relation: str
    bytes: int
    data_bytes: int
    rows: int


class ServedUpkeep(Upkeep):
    """An Upkeep (see ``base.py``) over a connection to a server.

    Args:
        reader: whose connection is used for everything.
        driver: of that connection.
    """

    def __init__(self, reader: ServedReader, driver: Driver) -> None:
        super().__init__(reader)
        self._driver = driver

    def call_columns(self, naming: Naming) -> None:
        """Names of columns, for reading and for creating; see Upkeep."""
        super().call_columns(naming)
        self._driver.naming = naming

    def names(self) -> list[str]:
        """All tables but the sinks' own; see Upkeep."""
        extents = self._patiently(self._extents)
        return [extent.name for extent in extents if extent.partition is None and extent.name.lower() != LEDGER]

    def look(self, names: Collection[str]) -> list[Piece]:
        """Sizes, rows and times; see Upkeep."""
        extents = [one for one in self._patiently(self._extents) if one.name in names]
        divided = {one.name for one in extents if one.partition is not None}
        parts = {one.partition for one in extents if one.partition is not None}
        layouts = {name: self._layout(name) for name in dict.fromkeys(one.name for one in extents)}
        pieces = []
        for one in extents:
            # The partitions of a table are all of it, and a partition that is a table, too, counts once.
            if one.partition is not None or one.name not in divided | parts:
                with contextlib.suppress(Gone):
                    pieces.append(self._piece(one, layouts[one.name]))
        return pieces

    def _piece(self, extent: Extent, layout: Layout | None) -> Piece:
        size, rows, exact = extent.bytes, extent.rows, False
        # Deleted rows leave the files of a table as large as they were. Where rows are deleted, what counts is what is
        # left, or the next run would delete again.
        shrinks = extent.bounds is None and extent.partition is None
        if rows < 0 or extent.bytes < _COUNTED_BYTES or (shrinks and rows < _COUNTABLE_ROWS):
            rows, exact = int(self._one(f"SELECT count(*) FROM {extent.relation}")), True  # noqa: S608  # quoted
        if shrinks and extent.data_bytes > _SMALL_BYTES and layout is not None:
            row_bytes = float(self._one(self._sample_sql(layout, extent.relation)) or 0)
            size = int(size * min(rows * row_bytes * _LOOSE / extent.data_bytes, 1.0))
        oldest_us, newest_us = self._ends(layout, extent.relation)
        return Piece(extent.name, extent.partition, extent.bounds, size, rows, exact, oldest_us, newest_us)

    @abstractmethod
    def _extents(self) -> list[Extent]:
        """All tables, partitions behind their tables; raises the driver's errors."""

    @abstractmethod
    def _fetch(self, sql: str, params: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        """Run a statement; raises the driver's errors."""

    @abstractmethod
    def _change(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed. Raises the driver's errors."""

    @abstractmethod
    def _delete_sql(self, layout: Layout, where: str) -> tuple[str, int]:
        """A DELETE of at most DELETE_ROWS rows, and how often the parameters of *where* stand in it."""

    @abstractmethod
    def _sample_sql(self, layout: Layout, relation: str) -> str:
        """A SELECT of the mean bytes of the values of SAMPLE_ROWS rows."""

    @abstractmethod
    def _is_gone(self, error: Exception) -> bool:
        """Whether an error says that there is no such table, or partition."""

    def _one(self, sql: str) -> Any:
        return self._patiently(lambda: self._fetch(sql))[0][0]

    def _delete(self, layout: Layout, where: str, params: Sequence[Any], stopping: Stopping) -> Iterator[int]:
        """Delete rows in batches; see Upkeep."""
        sql, times = self._delete_sql(layout, where)
        while not stopping():
            begin_s = time.monotonic()
            count = self._patiently(lambda: self._change(sql, list(params) * times))
            yield count
            if count < DELETE_ROWS:
                return
            time.sleep(min(time.monotonic() - begin_s, _PAUSE_S))  # half of the server's time at most

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do what others may be in the way of, again until UPKEEP_LOCK_S are over.

        Raises:
            Gone: its table is not there.
            SinkError: it cannot be done, or not now.
        """
        until_s = time.monotonic() + UPKEEP_LOCK_S
        while True:
            try:
                if not self._driver.connected:
                    self._reader.open()
                return work()
            except self._driver.errors as error:
                if self._is_gone(error):
                    self._tidy()
                    raise Gone from None
                is_own = isinstance(error, (Refused, UnicodeError))
                trouble = Trouble.REFUSED if is_own else self._driver.trouble(error)
                self._tidy()
                if trouble is Trouble.REFUSED or time.monotonic() >= until_s:
                    text = self._driver.text(error)
                    raise SinkError(f"{self.place}: {text}", transient=trouble is not Trouble.REFUSED) from None
            time.sleep(_PAUSE_S)

    def _tidy(self) -> None:
        """Leave a transaction that has failed; or the connection, if it is gone."""
        try:
            if self._driver.connected:
                self._driver.rollback()
        except self._driver.errors:
            self._driver.disconnect()
