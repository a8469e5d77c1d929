"""One table in the order of time, as blocks of keys: nothing waits in memory but where the next rows are."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sipcap.calls.query import Condition, Query, in_columns
from sipcap.calls.readers.base import Layout, Reader, Statements, Window
from sipcap.limits import SEARCH_KEYS, SEARCH_WINDOW_ROWS

_FIRST_WINDOW_ROWS: Final = 64
_GROWTH: Final = 8
_SLOW_ROWS: Final = 512


@dataclass
class Block:
    """Keys of rows that match, in the order of time, and the condition on the clock under which they were found."""

    windows: Sequence[Window] = ()
    by_index: bool = False
    times: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))


class Scan:
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
        self._reader = reader
        self._statements = Statements(reader, layout, query)
        # Where a key does not find its row by itself, each look for rows goes through the whole block.
        self._limit = SEARCH_KEYS if layout.is_key_indexed else _SLOW_ROWS
        self._window_rows = SEARCH_WINDOW_ROWS if layout.is_key_indexed else _SLOW_ROWS
        self._by_index = any(_is_served(condition, layout) for condition in query.conditions)

    def streams(self) -> list[Iterator[Block]]:
        """All matching rows, as streams of which each is in the order of time; a block may be empty."""
        if not self.layout.clock:
            return [self._window((), by_index=self._by_index)]
        if not self._by_index:
            return self._stretches()
        block = self._keys((), None, by_index=True)
        if len(block.keys) < self._limit:
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
        last = None
        while True:
            block = self._keys(windows, last, by_index=by_index)
            yield block
            if len(block.keys) < self._limit:
                return
            last = block.times[-1], block.keys[-1]

    def _keys(self, windows: Sequence[Window], after: tuple[int, int] | None, *, by_index: bool = False) -> Block:
        sql, params = self._statements.keys(windows, after, self._limit, by_index=by_index)
        block = Block(windows, by_index)
        for time, key in self._reader.execute(sql, params):
            block.times.append(whole(time))
            block.keys.append(whole(key))
        return block

    def rows(self, block: Block, keys: Sequence[int]) -> Sequence[tuple[Any, ...]]:
        """Rows of a block, in any order: time, key, then the columns of the layout."""
        sql, params = self._statements.rows(block.windows, keys, by_index=block.by_index)
        return self._reader.execute(sql, params)


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
