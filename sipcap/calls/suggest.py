"""The tables of a database that are most like a pattern of which it has none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from typing import Final

from sipcap.patterns import Pattern
from sipcap.sinks.driver import LEDGER

_MOST: Final = 5  # names in one line
_LOOKED_AT: Final = 10_000  # tables; a database with more is not sipcap's alone
_LIKE: Final = 0.5
_NUMBERS: Final = re.compile(r"(?:%[A-Za-z]|\d)+")


def nearest_tables(pattern: Pattern, names: Collection[str]) -> str:
    """Say what tables there are, those most like a pattern first.

    Tables whose names differ in digits only, as those of days do, are one of them with a count of the others.

    Args:
        pattern: that matches none of the names.
        names: of the tables of a database.

    Returns:
        The end of a sentence, which begins with "; ".
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(names)[:_LOOKED_AT]:
        if name != LEDGER:
            groups.setdefault(_shape(name), []).append(name)
    if not groups:
        return "; there is no table at all"
    shapes = {shape.lower(): shape for shape in groups}
    close = difflib.get_close_matches(_shape(pattern.text).lower(), shapes, _MOST, _LIKE)
    if close:
        return f"; there is {', '.join(_told(groups[shapes[each]]) for each in close)}"
    others = len(groups) - _MOST
    more = f" and {others} more" if others > 0 else ""
    return f"; there is none like it: {', '.join(_told(group) for group in list(groups.values())[:_MOST])}{more}"


def _shape(text: str) -> str:
    return _NUMBERS.sub("0", text)


def _told(group: list[str]) -> str:
    others = len(group) - 1
    return group[-1] + (f" (and {others} more of its kind)" if others else "")
