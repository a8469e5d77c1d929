"""HOMER 7's rows for the sinks: see ``forms.py``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sipcap.sinks.base import Row
from sipcap.sinks.homer7 import COLUMNS, homer7_row
from sipcap.sinks.shape import Column, Kind, Shape, Tally, picker

KIND: Final = "homer7"


class Homer7Form:
    """HOMER 7's columns; they are the same for both kinds of record."""

    kind = KIND
    columns: Sequence[str] = COLUMNS

    def for_table(self, names: Iterable[str]) -> Homer7Form:  # noqa: ARG002  # there is one form
        """See Form."""
        return self

    def rows(self, rows: Iterable[Row], tally: Tally) -> Iterator[tuple[Any, ...]]:
        """See Form."""
        for row in rows:
            *values, is_truncated, is_sanitised = homer7_row(row)
            tally.truncated += is_truncated
            tally.sanitised += is_sanitised
            yield tuple(values)

    def shape(self, existing: Sequence[Column], *, takes_nul: bool) -> Shape:  # noqa: ARG002  # there is none in them
        """See Form."""
        return Homer7Shape(existing)


class Homer7Shape(Shape):
    """Makes HOMER 7's rows fit a table that somebody else made narrower, or in a database that is not UTF-8."""

    def __init__(self, existing: Sequence[Column]) -> None:
        found = {column.name: column for column in existing}
        self.columns = tuple(found[name] for name in COLUMNS if name in found)
        self.missing = tuple(name for name in COLUMNS if name not in found)
        self._placed = [(COLUMNS.index(column.name), column) for column in self.columns]
        self._pick = picker([place for place, _ in self._placed]) if self.missing and self.columns else None
        self._is_roomy = all(column.charset.holds_all and not column.is_bounded for column in self.columns)

    def fit(self, values: tuple[Any, ...], tally: Tally) -> tuple[Any, ...]:
        """See Shape."""
        if not self._is_roomy:
            values = self._adjust(values, tally)
        return values if self._pick is None else self._pick(values)

    def _adjust(self, values: tuple[Any, ...], tally: Tally) -> tuple[Any, ...]:
        fitted = list(values)
        is_truncated = is_sanitised = False
        for place, column in self._placed:
            # JSON stays JSON: its own characters are in every character set.
            clean = column.charset.clean(values[place])
            fitted[place] = column.cut(clean) if column.kind is Kind.TEXT else clean
            is_sanitised |= clean != values[place]
            is_truncated |= len(fitted[place]) < len(clean)
        tally.truncated += is_truncated
        tally.sanitised += is_sanitised
        return tuple(fitted)
