"""What a database has to provide so that ``search`` can read it, and the statements that are the same in all.

A table is read by keys: where the rows of a stretch of time are, then these rows. So no transaction and no lock
lasts longer than one statement, whatever the reader of our output does: capture writes, tables are dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sipcap.calls.query import Query, in_columns
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS
from sipcap.schemas import HOMER7
from sipcap.sinks.homer7 import COLUMNS as HOMER7_COLUMNS
from sipcap.sinks.naming import Naming

Params = list[Any]


@dataclass(frozen=True)
class Layout:
    """What is known of a table.

    *form* is ``sip``, ``report`` or ``homer7``; *columns* are those of it that the table has. *time_sql* and
    *key_sql* are expressions for microseconds and for an integer that tells rows apart. *clock* is an indexed column
    in whose order time goes on, "" if there is none; *date_form* says how bounds are written if that is a date and not
    ``micro_ts``: "" = they cannot be. *indexed* are columns, or keys of a JSON column as ``column.key``;
    *date_type* is the database's own name of the type of its date.
    """

    table: str
    form: str
    columns: tuple[str, ...]
    time_sql: str
    key_sql: str
    clock: str = ""
    clock_may_be_null: bool = True
    date_form: str = ""
    indexed: frozenset[str] = frozenset()
    is_key_indexed: bool = True
    date_type: str = ""

    @property
    def goes_by_date(self) -> bool:
        """Whether the clock is a date, which need not be that of the time exactly."""
        return self.clock not in {"", "micro_ts"}


class Window(NamedTuple):
    """A condition on the clock: its SQL and its values; no SQL = all rows."""

    sql: str = ""
    params: tuple[Any, ...] = ()


class Gone(Exception):
    """The table is not there any more."""


class Reader(ABC):
    """A connection that only reads.

    Every method raises CannotStart, with one line that has no secret, if the database cannot be asked.
    """

    mark: str
    """The placeholder of a parameter."""
    place: str
    """The database, for messages."""
    naming: Naming = Naming()
    """What columns are called in the tables."""

    @abstractmethod
    def open(self) -> None:
        """Connect."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect; may be called twice."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all tables and views."""

    @abstractmethod
    def layout(self, table: str) -> Layout | None:
        """Look at a table; None if it cannot be read as messages. Raises Gone."""

    @abstractmethod
    def execute(self, sql: str, params: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        """Run one SELECT; the rows that it is asked for are few enough for memory. Raises Gone."""

    @abstractmethod
    def quote(self, name: str) -> str:
        """Quote an identifier."""

    def column(self, name: str) -> str:
        """A column, by our name, as statements call it."""
        return self.quote(self.naming.of(name))

    @abstractmethod
    def date_bound(self, form: str, ts_us: int) -> Any:
        """A time as a value that can be compared with a date."""

    def usual_dates(self, form: str) -> tuple[Any, Any]:
        """Below the first and from the second on are values of a date that are none; None = there are none."""
        del form
        return None, None

    @abstractmethod
    def key_of_json_sql(self, column: str, key: str) -> str:
        """The text under a key of a JSON column."""

    def expression(self, name: str) -> str:
        """A column, or a key of a JSON column."""
        column, _, key = name.partition(".")
        return self.key_of_json_sql(column, key) if key else self.column(column)

    def date_sql(self, column: str, kind: str) -> str:
        """A date of a type as text, ``YYYY-MM-DD HH:MM:SS``."""
        del kind
        return self.column(column)

    def clock_sql(self, column: str) -> str:
        """The clock as a value that compares equal when it is given back."""
        return self.column(column)

    def equal_sql(self, name: str, *, by_index: bool) -> tuple[str, int]:
        """``name = ?`` to the letter, and how often the value is given; *by_index*: an index may serve it."""
        del by_index
        return f"{self.expression(name)} = {self.mark}", 1

    def keys_sql(self, count: int) -> str:
        """A list of so many parameters."""
        return f"IN ({', '.join([self.mark] * count)})"

    def keys_params(self, keys: Sequence[int]) -> Params:
        """Keys as the parameters of ``keys_sql``."""
        return list(keys)


_SIP_SIGNS: Final = frozenset(SIP_COLUMNS) - frozenset(REPORT_COLUMNS)
_KNOWN: Final = {
    "sip": (*SIP_COLUMNS, "msg_raw", "envelope"),
    "report": (*REPORT_COLUMNS, "msg_raw", "envelope"),
    HOMER7: HOMER7_COLUMNS,
}


def form_of(columns: Collection[str]) -> str:
    """What a table with these columns holds: ``sip``, ``report``, ``homer7``, or "" for no messages."""
    there = set(columns)
    if there >= set(HOMER7_COLUMNS):
        return HOMER7
    if "msg" not in there or not there & {"micro_ts", "date"}:
        return ""
    return "sip" if there & _SIP_SIGNS else "report"


def columns_of(form: str, columns: Collection[str]) -> tuple[str, ...]:
    """Those columns of a form that a table has."""
    there = set(columns)
    return tuple(name for name in _KNOWN[form] if name in there)


_FIRST_DATE_US: Final = -62_135_596_800_000_000  # 0001-01-01
_LAST_DATE_US: Final = 253_402_300_800_000_000  # 10000-01-01

DATE_SLACK_US: Final = 26 * 3_600 * 1_000_000
"""``date`` may be in the local time of whoever wrote it, as Kamailio's is: 14 hours, and half a day to be sure."""


class Statements:
    """The SELECTs of one search over one table."""

    def __init__(self, reader: Reader, layout: Layout, query: Query) -> None:
        self._reader = reader
        self._layout = layout
        self._table = reader.quote(layout.table)
        self._time, self._key, self._mark = layout.time_sql, layout.key_sql, reader.mark
        self._clock = reader.column(layout.clock) if layout.clock else ""
        self._query = query
        dates = {"date", "create_date"}
        self._select = ", ".join([self._time, self._key, *(
            reader.date_sql(name, layout.date_type) if name in dates else reader.column(name) for name in layout.columns
        )])  # fmt: skip

    def edge(self, windows: Iterable[Window], rows: int) -> tuple[str, Params]:
        """The clock of the row so many rows further on."""
        where, params = _all_of([(window.sql, list(window.params)) for window in windows])
        clock = self._reader.clock_sql(self._layout.clock)
        # S608: names are quoted, values are parameters.
        # The value has a name of its own, or PostgreSQL would sort by it: by text, and without an index.
        sql = f"SELECT {clock} AS edge FROM {self._table}{where} ORDER BY {self._clock} LIMIT 1 OFFSET {rows}"  # noqa: S608
        return sql, params

    def keys(
        self, windows: Iterable[Window], after: tuple[int, int] | None, limit: int, *, by_index: bool
    ) -> tuple[str, Params]:
        """Time and key of the rows of a window that match, behind a given one, in the order of time."""
        parts = [(window.sql, list(window.params)) for window in windows]
        parts += self._conditions(by_index=by_index)
        if after is not None:
            time, key, mark = self._time, self._key, self._mark
            parts.append((f"({time} > {mark} OR ({time} = {mark} AND {key} > {mark}))", [after[0], *after]))
        where, params = _all_of(parts)
        order = f"{self._time}, {self._key}"
        return f"SELECT {order} FROM {self._table}{where} ORDER BY {order} LIMIT {limit}", params  # noqa: S608

    def rows(self, windows: Iterable[Window], keys: Sequence[int], *, by_index: bool) -> tuple[str, Params]:
        """The rows of these keys: time, key, then the columns of the layout.

        Where a key finds its row without further help, nothing else is asked for.
        """
        parts = [(f"{self._key} {self._reader.keys_sql(len(keys))}", self._reader.keys_params(keys))]
        parts += [(window.sql, list(window.params)) for window in windows]
        if by_index and not self._layout.is_key_indexed:
            parts += self._conditions(by_index=True)
        where, params = _all_of(parts)
        return f"SELECT {self._select} FROM {self._table}{where}", params  # noqa: S608

    def bounds(self, slack_us: int = DATE_SLACK_US) -> tuple[list[Window], list[Window]]:
        """Where on the clock the walk begins and ends: by the asked-for times, and what the clock can say.

        Args:
            slack_us: how far a date may be off.
        """
        layout, query = self._layout, self._query
        lower, upper = self._reader.usual_dates(layout.date_form) if layout.goes_by_date else (None, None)
        since, until = self._bound(query.since_us, -slack_us), self._bound(query.until_us, slack_us)
        lower, upper = lower if since is None else since, upper if until is None else until
        nowhere = [Window(f"{self._clock} IS NOT NULL")] if layout.clock_may_be_null else []
        return (
            nowhere if lower is None else [self.window(">=", lower)],
            [] if upper is None else [self.window("<", upper)],
        )

    def _bound(self, ts_us: int | None, slack_us: int) -> Any:
        layout = self._layout
        if ts_us is None or not layout.goes_by_date:
            return ts_us
        if not layout.date_form or not _FIRST_DATE_US <= ts_us + slack_us < _LAST_DATE_US:
            return None
        return self._reader.date_bound(layout.date_form, ts_us + slack_us)

    def strays(self) -> list[Window]:
        """Rows whose clock tells no time: it is NULL, or something that is no date."""
        layout = self._layout
        found = [Window(f"{self._clock} IS NULL")] if layout.clock_may_be_null else []
        if layout.goes_by_date:
            lower, upper = self._reader.usual_dates(layout.date_form)
            found += [] if lower is None else [self.window("<", lower)]
            found += [] if upper is None else [self.window(">=", upper)]
        return found

    def window(self, sign: str, value: Any) -> Window:
        """A comparison of the clock."""
        return Window(f"{self._clock} {sign} {self._mark}", (value,))

    def _conditions(self, *, by_index: bool) -> list[tuple[str, Params]]:
        query, layout, mark = self._query, self._layout, self._mark
        parts: list[tuple[str, Params]] = []
        for condition in query.conditions:
            tests: list[tuple[str, Params]] = []
            for column in in_columns(condition, layout.form, layout.columns):
                sql, times = self._reader.equal_sql(column, by_index=by_index)
                tests += [(sql, [value] * times) for value in condition.values]
                if condition.prefix:
                    start = f"substr({self._reader.expression(column)}, 1, {len(condition.prefix)})"
                    tests.append((f"{start} = {mark}", [condition.prefix]))
            parts.append(
                (f"({' OR '.join(sql for sql, _ in tests)})", [value for _, values in tests for value in values])
            )
        if query.since_us is not None:
            parts.append((f"{self._time} >= {mark}", [query.since_us]))
        if query.until_us is not None:
            parts.append((f"{self._time} < {mark}", [query.until_us]))
        return parts


def _all_of(parts: Iterable[tuple[str, Params]]) -> tuple[str, Params]:
    there = [(sql, params) for sql, params in parts if sql]
    where = " AND ".join(sql for sql, _ in there)
    return f" WHERE {where}" if where else "", [value for _, params in there for value in params]
