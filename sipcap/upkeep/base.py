"""What a database has to do so that its tables can be looked after, and what is the same in all of them."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final

from sipcap.calls.query import Query
from sipcap.calls.readers.base import Gone, Layout, Reader, Statements
from sipcap.errors import CannotStart, SinkError
from sipcap.patterns import Period
from sipcap.sinks.naming import Naming
from sipcap.tables import Piece, Step
from sipcap.upkeep.partitions import next_periods

_LOGGER = logging.getLogger("sipcap")
_SECOND_US: Final = 1_000_000  # a date has no fractions

Stopping = Callable[[], bool]
"""Asked between bounded steps; true ends it after the one that is being done."""


class Upkeep(ABC):
    """A connection that looks at tables and changes them, in steps so small that capture goes on beside them.

    Every method raises SinkError, with one line that has no secret, if the database does not do it now; whoever else
    looks after the same tables at the same time does no harm.

    Args:
        reader: of the same database.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.place = reader.place
        """The database, for messages."""

    def open(self, *, create: bool = False) -> None:
        """Connect; *create*: an SQLite file is made if there is none. Raises CannotStart."""
        del create
        self._reader.open()

    def close(self) -> None:
        """Disconnect; may be called twice."""
        self._reader.close()

    def call_columns(self, naming: Naming) -> None:
        """Say what columns are called in the tables, but for HOMER 7's; before ``open``."""
        self._reader.naming = naming

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all tables."""

    @abstractmethod
    def look(self, names: Collection[str]) -> list[Piece]:
        """Sizes, rows and times of tables and their partitions; of one that is gone, nothing."""

    @abstractmethod
    def create(self, step: Step, form: str) -> None:
        """Create a table, or a partition, as the sinks do; no harm if it is there."""

    @abstractmethod
    def drop(self, step: Step, stopping: Stopping) -> bool:
        """Drop a table or a partition; whether it was there, and is gone."""

    @abstractmethod
    def _delete(self, layout: Layout, where: str, params: Sequence[Any], stopping: Stopping) -> Iterator[int]:
        """Delete rows that fulfil a condition, in bounded batches; the rows of each. Raises Gone."""

    def settle(self, stopping: Stopping) -> int | None:
        """Give space back to the system; how many bytes, None if the database does that by itself or not at all."""
        del stopping
        return None

    def room_bytes(self) -> int | None:
        """Free bytes of the disk that the database is on; None if that cannot be known from here."""
        return None

    def missing_partitions(self, pieces: Sequence[Piece], now_s: int, ahead_s: int) -> list[tuple[str, Period]]:
        """Names and bounds of the partitions that a table lacks for the time from now on.

        Args:
            pieces: of one table: all that there are.
            now_s: the time.
            ahead_s: how far.
        """
        return list(next_periods(pieces, now_s, ahead_s))

    def form(self, table: str) -> str:
        """What a table holds: ``sip``, ``report``, ``homer7``; "" if none of these."""
        layout = self._layout(table)
        return "" if layout is None else layout.form

    def nth_oldest(self, table: str, number: int) -> int | None:
        """The time of the n-th oldest row in microseconds, counted from 1; None if there are fewer."""
        layout = self._layout(table)
        return None if layout is None or number < 1 else self._nth(layout, number - 1)

    def delete(self, step: Step, stopping: Stopping) -> int:
        """Delete the rows of a table before a time, in bounded batches; how many there were."""
        assert step.before_us is not None, "a DELETE has a time"
        layout = self._layout(step.table)
        if layout is None:
            if step.table in self.names():
                raise SinkError("no table of messages: its rows have no time", transient=False)
            return 0
        total = 0
        for where, params in self._older_than(layout, step.before_us):
            with contextlib.suppress(Gone):
                for count in self._delete(layout, where, params, stopping):
                    total += count
                    _LOGGER.debug("%s: %d rows deleted", step.table, count)
        return total

    def _older_than(self, layout: Layout, before_us: int) -> Iterator[tuple[str, list[Any]]]:
        """Conditions on rows before a time, each served by the clock's index; those without a date come last.

        The time alone decides. A date that is later than the time, as in a zone east of Greenwich, only makes a row
        stay until that date is old, too.
        """
        old = f"{layout.time_sql} < {self._reader.mark}"
        if not layout.clock:
            yield old, [before_us]
            return
        statements = Statements(self._reader, layout, Query(until_us=before_us))
        lower, upper = statements.bounds(_SECOND_US)
        for windows in ([*lower, *upper], *([window] for window in statements.strays())):
            sql = " AND ".join([*(window.sql for window in windows), old])
            yield sql, [*(value for window in windows for value in window.params), before_us]

    def _layout(self, table: str) -> Layout | None:
        try:
            return self._reader.layout(table)
        except Gone:
            return None
        except CannotStart as error:
            raise SinkError(str(error), transient=True) from None

    def _ends(self, layout: Layout | None, relation: str = "") -> tuple[int | None, int | None]:
        """The times of the first and the last row; None, None if there is none, or they have none.

        Args:
            layout: of the table.
            relation: what stands behind FROM, if it is not all of the table.
        """
        if layout is None:
            return None, None
        return self._nth(layout, 0, "", relation), self._nth(layout, 0, " DESC", relation)

    def _nth(self, layout: Layout, offset: int, order: str = "", relation: str = "") -> int | None:
        """The time of a row, counted from an end; rows whose date is none are not counted."""
        lower, upper = Statements(self._reader, layout, Query()).bounds()
        conditions = [window.sql for window in (*lower, *upper)]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        by = self._reader.column(layout.clock) if layout.clock else layout.time_sql
        source = relation or self._reader.quote(layout.table)
        # S608: names are quoted, values are parameters.
        sql = f"SELECT {layout.time_sql} AS us FROM {source}{where} ORDER BY {by}{order} LIMIT 1 OFFSET {offset}"  # noqa: S608
        try:
            found = self._reader.execute(sql, [value for window in (*lower, *upper) for value in window.params])
        except Gone:
            return None
        except CannotStart as error:
            raise SinkError(str(error), transient=True) from None
        return int(found[0][0]) if found else None
