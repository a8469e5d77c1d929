"""RANGE partitions of a table: what their bounds mean, and what the next ones are called. No database is asked here."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from collections.abc import Iterator, Sequence
from typing import Final

from sipcap.patterns import DAY_S, Period
from sipcap.quantities import time_us
from sipcap.routing import expand
from sipcap.tables import Piece

_US: Final = 1_000_000
_YEAR_0_DAYS: Final = 719_528
"""TO_DAYS('1970-01-01') of MySQL."""
_LEAST_US: Final = 100_000_000_000_000
"""A larger number is no second: it would be in the year 3,170,843. As microseconds it is 1973."""
_FUNCTION: Final = re.compile(r"(\w+)\s*\(\s*`?(\w+)`?\s*\)")
_QUOTED: Final = re.compile(r"'([^']*)'")
_PG_BOUNDS: Final = re.compile(r"FOR VALUES FROM \(([^,()]*)\) TO \(([^,()]*)\)")
_PG_ISO: Final = re.compile(r"'([0-9]{4,}-[0-9]{2}-[0-9]{2}(?: [0-9:.]+)?)(\+00)?'")

NAME_PATTERNS: Final = (
    "{table}_%Y%m%d_%H%M", "{table}_%Y%m%d%H%M", "{table}_%Y%m%d%H", "{table}_%Y%m%d", "{table}_p%Y%m%d%H",
    "{table}_p%Y%m%d", "{table}_y%Ym%md%d", "{table}_%Y_%m_%d", "{table}_%Y%m", "{table}_%Y_%m",
    "%Y%m%d_%H%M", "p%Y%m%d_%H%M", "p%Y%m%d%H%M", "p%Y%m%d%H", "p%Y%m%d", "p%Y_%m_%d", "p_%Y%m%d", "p%Y%m", "p_%Y%m",
)  # fmt: skip
"""How partitions are called: heplify-server's names first, then what is usual."""


def mysql_seconds(expression: str, less_than: str) -> int | None:
    """The upper bound of a partition of MySQL in seconds since 1970; None for MAXVALUE, or if it is no time.

    Args:
        expression: what the table is partitioned by, as information_schema has it.
        less_than: the partition's bound.
    """
    if quoted := _QUOTED.fullmatch(less_than.strip()):  # RANGE COLUMNS
        return _seconds(quoted[1])
    try:
        number = int(less_than)
    except ValueError:
        return None
    function = _FUNCTION.fullmatch(expression.strip())
    name = function[1].lower() if function else ""
    if name == "to_days":
        return (number - _YEAR_0_DAYS) * DAY_S
    if name == "to_seconds":
        return number - _YEAR_0_DAYS * DAY_S
    if name == "year":
        return calendar.timegm((number, 1, 1, 0, 0, 0))
    if name not in {"", "unix_timestamp"}:
        return None
    return number // _US if abs(number) >= _LEAST_US else number


def mysql_bound(expression: str, seconds: int) -> str | None:
    """The same the other way: a bound for a new partition; None if there is no way to write it."""
    function = _FUNCTION.fullmatch(expression.strip())
    name = function[1].lower() if function else ""
    column = expression.strip().strip("`").lower()
    if name == "unix_timestamp":
        return str(seconds)
    if name == "to_days":
        return str(seconds // DAY_S + _YEAR_0_DAYS)
    if name == "to_seconds":
        return str(seconds + _YEAR_0_DAYS * DAY_S)
    if column == "micro_ts":
        return str(seconds * _US)
    return f"'{_date(seconds)}'" if not name else None


def postgresql_period(bound: str) -> Period | None:
    """The bounds of a partition of PostgreSQL, which prints them in UTC; None for a default one, or no times.

    A lower bound that is MINVALUE is taken for one day before the upper one: nothing depends on it.
    """
    found = _PG_BOUNDS.fullmatch(bound)
    if found is None:
        return None
    start_s, end_s = (_pg_seconds(text.strip()) for text in found.groups())
    if end_s is None:
        return None
    return Period(end_s - DAY_S if start_s is None else start_s, end_s)


def _pg_seconds(text: str) -> int | None:
    if iso := _PG_ISO.fullmatch(text):
        return _seconds(iso[1])
    try:
        number = int(text.strip("'"))
    except ValueError:
        return None
    return number // _US if abs(number) >= _LEAST_US else number


def _seconds(text: str) -> int | None:
    try:
        return time_us(text, 0) // _US
    except ValueError:
        return None


def _date(seconds: int) -> str:
    return expand("%Y-%m-%d %H:%M:%S", seconds)


def next_periods(pieces: Sequence[Piece], now_s: int, ahead_s: int) -> Iterator[tuple[str, Period]]:
    """Names and bounds of the partitions that are missing from now on, as those that exist go on.

    Args:
        pieces: all partitions of one table; without one with bounds nothing follows.
        now_s: the time.
        ahead_s: how far.
    """
    bounded = sorted((piece.bounds, piece.partition or "") for piece in pieces if piece.bounds is not None)
    if not bounded:
        return
    newest, name = bounded[-1]
    names = {piece.partition for piece in pieces}
    pattern = _name_pattern(pieces[0].table, name, newest)
    period = newest
    while period.end_s < now_s + ahead_s:
        period = _after(period, _is_month(newest))
        if period.end_s <= now_s:
            continue
        found = expand(pattern, period.start_s)
        yield (f"{found}_{period.start_s}" if found in names else found), period


def _after(period: Period, is_month: bool) -> Period:
    if not is_month:
        return Period(period.end_s, 2 * period.end_s - period.start_s)
    day = dt.datetime.fromtimestamp(period.end_s, dt.UTC)
    return Period(period.end_s, calendar.timegm((day.year + day.month // 12, day.month % 12 + 1, 1, 0, 0, 0)))


def _is_month(period: Period) -> bool:
    days = [dt.datetime.fromtimestamp(seconds, dt.UTC) for seconds in period]
    return all((day.day, day.hour, day.minute, day.second) == (1, 0, 0, 0) for day in days) and (
        (days[1].year - days[0].year) * 12 + days[1].month - days[0].month == 1
    )


def _name_pattern(table: str, name: str, period: Period) -> str:
    """How the partitions of a table are called, as one of them tells."""
    escaped = table.replace("%", "%%")
    for pattern in NAME_PATTERNS:
        own = pattern.format(table=escaped)
        if expand(own, period.start_s) == name:
            return own
    return (NAME_PATTERNS[0].format(table=escaped)) if name.startswith(table) else "p%Y%m%d_%H%M"
