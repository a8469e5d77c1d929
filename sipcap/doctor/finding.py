"""What a check found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

OK: Final = "ok"
WRONG: Final = "wrong"
UNKNOWN: Final = "unknown"
"""It cannot be seen from here, or there is nothing to see; no reason for alarm."""


@dataclass(frozen=True)
class Finding:
    """One answer of a check.

    Args:
        check: the group that it belongs to, as ``--skip`` names it.
        state: ``OK``, ``WRONG`` or ``UNKNOWN``.
        text: what was seen, in one line without secrets; it names what it is about.
        command: what mends it, to be typed into a shell; "" where no command does.
    """

    check: str
    state: str
    text: str
    command: str = ""


Check = Callable[[], Iterable[Finding]]
"""Looks at one thing; may raise CannotStart, whose text is then what is wrong."""


def fine(text: str) -> Finding:
    """All is well."""
    return Finding("", OK, text)


def wrong(text: str, command: str = "") -> Finding:
    """Something keeps the service from working, or will."""
    return Finding("", WRONG, text, command)


def unknown(text: str) -> Finding:
    """There is nothing to be seen."""
    return Finding("", UNKNOWN, text)


def of_check(check: str, found: Finding) -> Finding:
    """The same finding with the name of its check."""
    return replace(found, check=check)
