"""Reading tables behind an ODBC data source.

Portable SQL gives rows no number, so there is no key by which a row is found again: a table is read in stretches of its
clock, of so few rows that they are kept until their turn comes. As everywhere, no statement outlasts its answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sipcap.calls.homer7 import rebuilder
from sipcap.calls.query import Query, holds, in_columns
from sipcap.calls.readers.base import Gone, Layout, columns_of, form_of
from sipcap.calls.readers.served import Asking
from sipcap.calls.rebuild import Found
from sipcap.calls.source import Block, Source
from sipcap.record import Record
from sipcap.schemas import HOMER7
from sipcap.sinks.driver import LEDGER
from sipcap.sinks.naming import Naming
from sipcap.sinks.odbc import OdbcDriver
from sipcap.sinks.odbc_connect import parse_odbc_url

_LOGGER = logging.getLogger("sipcap")
_ROWS: Final = 128
"""Rows of one stretch: what each table has in memory, about 250 KB."""
_NO_TABLES: Final = frozenset({"information_schema", "pg_catalog", "sys"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US_PER_S: Final = 1_000_000

Part = tuple[str, list[Any]]
"""A condition: its SQL and its values."""


class Session(OdbcDriver):
    """A connection that runs any statement."""

    def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT; its rows."""
        return self._query(sql, *params)

    def run(self, sql: str) -> None:
        """Run a statement that finds no rows."""
        with self._cursor() as cursor:
            cursor.execute(sql)

    def described(self, table: str) -> dict[str, str]:
        """The columns of a table, as they are called, by their names in small letters; none if there is no such."""
        return {str(column[0]).lower(): str(column[0]) for column in self._describe(table) or ()}

    def listed(self) -> list[str]:
        """The names of all tables and views."""
        with self._cursor() as cursor:
            return [name for _, schema, name, *_ in cursor.tables(table="%") if schema not in _NO_TABLES]

    def quote(self, name: str) -> str:
        """Quote an identifier."""
        return self._of_engine.quote(name)

    def limited(self, sql: str, rows: int, offset: int = 0) -> str:
        """See Dialect."""
        return self._of_engine.limited(sql, rows, offset)

    def is_gone(self, error: Exception) -> bool:
        """Whether an error says that there is no such table."""
        return self.says_missing(error)


class OdbcTables(Asking):
    """The tables of a data source; see Tables.

    Args:
        url: as the user wrote it.
        naming: what columns are called in the tables.
    """

    def __init__(self, url: str, naming: Naming) -> None:
        self.session = Session(parse_odbc_url(url))
        self.naming = self.session.naming = naming
        super().__init__(self.session)

    def _fetch(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self.session.fetch(sql, params)

    def _is_gone(self, error: Exception) -> bool:
        return self.session.is_gone(error)

    def names(self) -> list[str]:
        """All tables and views; see Tables."""
        return [name for name in self.asked(self.session.listed) if name != LEDGER]

    def source(self, name: str, query: Query) -> Source | None:
        """A table; see Tables."""
        found = self.asked(lambda: self.session.described(name))
        if not found:
            raise Gone
        existing = self.naming.existing(found)
        form = form_of(existing)
        clock = "create_date" if form == HOMER7 else "micro_ts"
        if not form or clock not in existing:
            _LOGGER.warning("%s is no table of messages with %s; not read", name, clock)
            return None
        layout = Layout(name, form, columns_of(form, existing), "", "", clock)
        for condition in query.conditions:
            if not in_columns(condition, form, layout.columns):
                _LOGGER.warning("%s has no column for %s; nothing of it can match", name, condition.option)
                return None
        return _Table(self, layout, existing, query)


@dataclass
class _Rows(Block):
    """Rows of a stretch; their keys are their places in it."""

    found: list[Found] = field(default_factory=list)


class _Table(Source):
    """One table in stretches of its clock.

    Args:
        tables: opened.
        layout: of the table.
        existing: what its columns are called, by our names.
        query: what is looked for.
    """

    def __init__(self, tables: OdbcTables, layout: Layout, existing: dict[str, str], query: Query) -> None:
        self.name = layout.table
        self._tables = tables
        self._query = query
        quote = tables.session.quote
        self._table = quote(layout.table)
        self._clock = quote(existing[layout.clock])
        self._order = f"{self._clock}, {quote(existing['id'])}" if "id" in existing else self._clock
        self._select = ", ".join([self._clock, *(quote(existing[name]) for name in layout.columns)])
        self._conditions = list(_conditions(query, layout, lambda name: quote(existing[name])))
        self._rebuild = rebuilder(layout)

    def streams(self) -> list[Iterator[Block]]:
        """All matching rows; see Source."""
        if self._ask(f"SELECT {self._clock}", [(f"{self._clock} IS NULL", [])], 1):
            _LOGGER.warning("%s: rows without a time are not read", self.name)
        return [self._walk()]

    def _walk(self) -> Iterator[Block]:
        lower: Part = (f"{self._clock} IS NOT NULL", [])
        begins_at = None
        while True:
            ahead = self._ask(f"SELECT {self._clock}", [lower], 1, _ROWS)
            if not ahead:
                yield self._rows([lower])
                return
            edge = ahead[0][0]
            if edge == begins_at:  # more rows than a stretch has are of one moment
                yield self._rows([(f"{self._clock} = ?", [edge])])
                lower, begins_at = (f"{self._clock} > ?", [edge]), None
            else:
                yield self._rows([lower, (f"{self._clock} < ?", [edge])])
                lower, begins_at = (f"{self._clock} >= ?", [edge]), edge

    def _rows(self, window: Sequence[Part]) -> _Rows:
        block = _Rows()
        for row in self._ask(f"SELECT {self._select}", window):
            found = self._rebuild((_time_us(row[0]), 0, *row[1:]))
            if self._matches(found.record):
                block.times.append(found.record.micro_ts)
                block.keys.append(len(block.found))
                block.found.append(found)
        return block

    def _matches(self, record: Record) -> bool:
        """Whether it is what is looked for; the engine may compare without regard to case, or to blanks at the end."""
        return holds(self._query, record.kind, lambda name: getattr(record, name, None), record.micro_ts)

    def _ask(self, select: str, window: Sequence[Part], rows: int = 0, offset: int = 0) -> Sequence[tuple[Any, ...]]:
        """The rows of a stretch, all of them or some, in the order of time."""
        parts = [*window, *self._conditions]
        where = " AND ".join(sql for sql, _ in parts)
        sql = f"{select} FROM {self._table} WHERE {where} ORDER BY {self._order}"
        if rows:
            sql = self._tables.session.limited(sql, rows, offset)
        return self._tables.execute(sql, [value for _, values in parts for value in values])

    def found(self, block: Block, keys: Sequence[int]) -> Iterator[tuple[int, int, Found]]:
        """The rows of some keys; see Source."""
        assert isinstance(block, _Rows), "a block of this table"
        for key in keys:
            yield block.times[key], key, block.found[key]


def _conditions(query: Query, layout: Layout, column: Callable[[str], str]) -> Iterator[Part]:
    """What the engine can look at; what it finds is looked at again."""
    for condition in query.conditions:
        names = in_columns(condition, layout.form, layout.columns)
        if not condition.prefix and not any("." in name for name in names):
            tests = " OR ".join(f"{column(name)} = ?" for name in names for _ in condition.values)
            yield f"({tests})", [value for _ in names for value in condition.values]
    if layout.clock == "micro_ts":
        if query.since_us is not None:
            yield f"{column('micro_ts')} >= ?", [query.since_us]
        if query.until_us is not None:
            yield f"{column('micro_ts')} < ?", [query.until_us]


def _time_us(clock: Any) -> int:
    """Microseconds since 1970 of a clock: a number, a point in time, or its text; 0 if it is none."""
    try:
        if isinstance(clock, str) and not clock.lstrip("-").isdecimal():
            clock = datetime.fromisoformat(clock)
        if not isinstance(clock, datetime):
            return int(clock)
    except (TypeError, ValueError, OverflowError):
        return 0
    passed = (clock if clock.tzinfo else clock.replace(tzinfo=UTC)) - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * _US_PER_S + passed.microseconds
