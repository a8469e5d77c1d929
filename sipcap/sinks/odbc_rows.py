"""Columns as ODBC describes them, and values as it takes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sipcap.record import ReportRecord, SipRecord
from sipcap.sinks.shape import Column, Kind

_NUMBERS: Final = frozenset(
    name for kind in (SipRecord, ReportRecord) for name in kind.__annotations__ if kind.__annotations__[name] == "Int64"
)
Convert = Callable[[Any], Any]


def column_of(name: str, python_type: type, chars: int | None) -> Column:
    """A column; *chars* is the width of text, None if it has none."""
    label = "" if name.islower() else name
    if issubclass(python_type, (bytes, bytearray)):
        return Column(name.lower(), Kind.BYTES, label=label)
    if issubclass(python_type, str):
        return Column(name.lower(), Kind.TEXT, chars, label=label)
    return Column(name.lower(), label=label)


def converted(
    rows: Iterable[tuple[Any, ...]], columns: Sequence[Column], times: Collection[str]
) -> list[Sequence[Any]]:
    """The values of rows as the columns take them.

    Args:
        rows: their values in the order of the columns.
        columns: of the table.
        times: names in the table of those that take a point in time, and not its text.
    """
    places: list[tuple[int, Convert]] = []
    for place, column in enumerate(columns):
        if column.sql_name in times:
            places.append((place, _time_of))
        elif column.kind is Kind.TEXT and column.name in _NUMBERS:
            places.append((place, str))
    if not places:
        return list(rows)
    return [_with(values, places) for values in rows]


def _with(values: tuple[Any, ...], places: Sequence[tuple[int, Convert]]) -> list[Any]:
    row = list(values)
    for place, convert in places:
        row[place] = convert(row[place])
    return row


def _time_of(value: Any) -> Any:
    """A point in time; what is none is for the engine to refuse."""
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value
