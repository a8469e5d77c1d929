"""One table in the order of time, as blocks of keys: nothing waits in memory but where the next rows are."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sipcap.calls.homer7 import rebuilder
from sipcap.calls.query import Condition, Query, in_columns
from sipcap.calls.readers.base import Layout, Reader, Statements, Window
from sipcap.calls.rebuild import Found
from sipcap.calls.source import Block, Source
from sipcap.limits import SEARCH_KEYS, SEARCH_WINDOW_ROWS

_LOGGER = logging.getLogger("sipcap")
_FIRST_WINDOW_ROWS: Final = 64
_GROWTH: Final = 8
_SLOW_ROWS: Final = 512
_SLOW_KEYS: Final = 20_000


@dataclass
class RowBlock(Block):
    """Keys of rows, and the condition on the clock under which they were found."""

    windows: Sequence[Window] = ()
    by_index: bool = False


class Scan(Source):
    """Finds the matching rows of one table.

    An indexed column that shall have a value is asked for first. If too many rows have that value, or none is
    asked for, the table is walked through in stretches of its clock, each of so many rows that they are few.

    Args:
        reader: opened.
        layout: of the table.
        query: what is looked for.
    """

    def __init__(self, reader: Reader, layout: Layout, query: Query) -> None:
        self.layout = layout
        self.name = layout.table
        self._rebuild = rebuilder(layout)
        self._reader = reader
        self._statements = Statements(reader, layout, query)
        # Where a key does not find its row by itself, each look for rows goes through all of the block.
        self._at_once = SEARCH_KEYS if layout.is_key_indexed else _SLOW_KEYS
        self._limit = SEARCH_KEYS if layout.is_key_indexed else _SLOW_ROWS
        self._window_rows = SEARCH_WINDOW_ROWS if layout.is_key_indexed else _SLOW_ROWS
        self._by_index = any(_is_served(condition, layout) for condition in query.conditions)

    def streams(self) -> list[Iterator[Block]]:
        """All matching rows; see Source."""
        if not self.layout.clock:
            return [self._window((), by_index=self._by_index)]
        if not self._by_index:
            return self._stretches()
        block = self._keys((), None, self._at_once, by_index=True)
        if len(block.keys) < self._at_once:
            return [iter((block,))]
        return self._stretches()

    def _stretches(self) -> list[Iterator[Block]]:
        statements = self._statements
        strays = [self._window((window,)) for window in statements.strays()]
        return [self._walk(*statements.bounds()), *strays]

    def _walk(self, lower: Sequence[Window], upper: Sequence[Window]) -> Iterator[Block]:
        statements, rows, begins_at = self._statements, _FIRST_WINDOW_ROWS, None
        while True:
            edge = self._edge([*lower, *upper], rows)
            if edge is None:
                yield from self._window((*lower, *upper))
                return
            if edge == begins_at:  # more rows than a window has are of one moment
                yield from self._window((statements.window("=", edge),))
                lower, begins_at = [statements.window(">", edge)], None
            else:
                yield from self._window((*lower, statements.window("<", edge)))
                lower, begins_at = [statements.window(">=", edge)], edge
            rows = min(rows * _GROWTH, self._window_rows)

    def _edge(self, windows: Sequence[Window], rows: int) -> Any:
        sql, params = self._statements.edge(windows, rows)
        found = self._reader.execute(sql, params)
        return found[0][0] if found else None

    def _window(self, windows: Sequence[Window], *, by_index: bool = False) -> Iterator[Block]:
        """The rows of a window, as many blocks as they fill."""
        limit = self._at_once if by_index else self._limit
        last = None
        while True:
            block = self._keys(windows, last, limit, by_index=by_index)
            yield block
            if len(block.keys) < limit:
                return
            last = block.times[-1], block.keys[-1]

    def _keys(
        self, windows: Sequence[Window], after: tuple[int, int] | None, limit: int, *, by_index: bool = False
    ) -> RowBlock:
        sql, params = self._statements.keys(windows, after, limit, by_index=by_index)
        block = RowBlock(windows=windows, by_index=by_index)
        for time, key in self._reader.execute(sql, params):
            block.times.append(whole(time))
            block.keys.append(whole(key))
        return block

    def found(self, block: Block, keys: Sequence[int]) -> Iterator[tuple[int, int, Found]]:
        """The rows of some keys; see Source."""
        assert isinstance(block, RowBlock), "a block of this table"
        sql, params = self._statements.rows(block.windows, keys, by_index=block.by_index)
        for row in self._reader.execute(sql, params):
            yield whole(row[0]), whole(row[1]), self._rebuild(row)


class SqlTables:
    """The tables of a database that speaks SQL; see Tables.

    Args:
        reader: opened.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.place = reader.place

    def names(self) -> list[str]:
        """All tables and views; see Tables."""
        return self._reader.names()

    def source(self, name: str, query: Query) -> Source | None:
        """A table; see Tables."""
        layout = self._reader.layout(name)
        if layout is None:
            _LOGGER.warning("%s is no table of messages; not read", name)
            return None
        for condition in query.conditions:
            if not in_columns(condition, layout.form, layout.columns):
                _LOGGER.warning("%s has no column for %s; nothing of it can match", name, condition.option)
                return None
        return Scan(self._reader, layout, query)

    def close(self) -> None:
        """Disconnect; see Tables."""
        self._reader.close()


def whole(value: Any) -> int:
    """A time as an integer, whatever a foreign table holds."""
    if type(value) is int:
        return value
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def _is_served(condition: Condition, layout: Layout) -> bool:
    columns = in_columns(condition, layout.form, layout.columns)
    return not condition.prefix and bool(columns) and all(column in layout.indexed for column in columns)
