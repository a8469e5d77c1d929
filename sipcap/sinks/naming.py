"""What columns are called in the tables, where the module's ``*_column`` parameters rename them (spec 1.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from sipcap.errors import CannotStart
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS
from sipcap.sinks.shape import Column

_COLUMNS: Final = frozenset({*SIP_COLUMNS, *REPORT_COLUMNS})
_OWN: Final = frozenset({"id", "msg_raw", "envelope"})
_NAME: Final = re.compile(
    r"[^\x00-\x20\x7f-\x9f\ufffd\ud800-\udfff](?:[^\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]*[^\s\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff])?"
)
_MAX_NAME_BYTES: Final = 63
"""What every server takes; PostgreSQL cuts a longer one."""
_SHOWN: Final = 80
T = TypeVar("T")


class Naming:
    """Names of columns, there and back; names are the same in any case, as most databases have it.

    Args:
        names: the name in the table by the module's name; what is not in it keeps its name.

    Raises:
        CannotStart: there is no such column, nothing can be called so, or two columns would have one name.
    """

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self._names = {ours: name for ours, name in (names or {}).items() if name != ours}
        for ours, name in self._names.items():
            if ours not in _COLUMNS:
                raise CannotStart(f"there is no column {ours[:_SHOWN]!r} that could be renamed")
            if not _NAME.fullmatch(name) or len(name.encode()) > _MAX_NAME_BYTES:
                raise CannotStart(f"no column can be called {name[:_SHOWN]!r} (for {ours})")
        self._ours: dict[str, str] = {}
        for ours in (*sorted(_COLUMNS), *sorted(_OWN)):
            name = self.of(ours).lower()
            if name in self._ours:
                raise CannotStart(f"{self._ours[name]} and {ours} cannot both be the column {name!r}")
            self._ours[name] = ours
        self._words = re.compile(rf"(^\s+|\()({'|'.join(map(re.escape, self._names))})(?=[\s()])", re.MULTILINE)

    @property
    def is_usual(self) -> bool:
        """Whether all names are the module's."""
        return not self._names

    @property
    def names(self) -> Sequence[str]:
        """The names that are not the module's."""
        return tuple(self._names.values())

    def of(self, column: str) -> str:
        """What the table calls a column."""
        return self._names.get(column, column)

    def ours(self, name: str) -> str | None:
        """Which column a name of the table means; None if it is not one of a record."""
        return self._ours.get(name.lower())

    def existing(self, names: Mapping[str, T]) -> dict[str, T]:
        """What is known of a table's columns, by our names; those that mean nothing to us have other names."""
        if self.is_usual:
            return dict(names)
        return {self.ours(name) or (f"({name}" if name in _COLUMNS else name): value for name, value in names.items()}

    def translated(self, columns: Sequence[Column]) -> Sequence[Column]:
        """Columns of a table by our names; those that mean nothing to us are left out."""
        if self.is_usual:
            return columns
        pairs = ((column, self.ours(column.name)) for column in columns)
        return [
            column if column.name == ours else replace(column, name=ours, label=column.sql_name)
            for column, ours in pairs
            if ours is not None
        ]

    def in_definition(self, statement: str, quote: Callable[[str], str]) -> str:
        """A statement of ``sql/`` with the table's names: at the begin of a line, and alone in parentheses."""
        if self.is_usual:
            return statement
        return self._words.sub(lambda found: found[1] + quote(self._names[found[2]]), statement)
