"""What a search looks for, whatever the database is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final


@dataclass(frozen=True)
class Condition:
    """A row matches if one of *columns* is one of *values*, or begins with *prefix*.

    *option* is what the user typed, for messages.
    """

    option: str
    columns: tuple[str, ...]
    values: tuple[str, ...]
    prefix: str = ""


@dataclass(frozen=True)
class Query:
    """Messages from *since_us*, before *until_us*, that fulfil all conditions; None = without that bound."""

    since_us: int | None = None
    until_us: int | None = None
    conditions: tuple[Condition, ...] = ()


_EQUAL: Final = {
    "--callid": ("callid",),
    "--from-user": ("from_user",),
    "--to-user": ("to_user",),
    "--ruri-user": ("ruri_user",),
    "--method": ("method",),
}
_REPORT_COLUMN: Final = {"callid": "correlation_id"}
"""Where a report has what the user asks for: RTCP and logs carry the Call-ID as correlation id."""


def equals(option: str, values: Iterable[str]) -> Condition:
    """A condition on the column of an option: one of these values, exactly."""
    return Condition(option, _EQUAL[option], tuple(dict.fromkeys(values)))


def address_is(text: str) -> Condition:
    """Sent from or to an address; an IPv6 address in any of its spellings.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(text.strip("[]"))
    return Condition("--ip", ("source_ip", "destination_ip"), tuple(dict.fromkeys((str(address), text.strip("[]")))))


def node_is(name: str) -> Condition:
    """Captured by a node: the whole column, or its name before the capture id."""
    return Condition("--node", ("node",), (name,), prefix=f"{name}:")


def in_columns(condition: Condition, existing: Iterable[str], *, is_report: bool) -> tuple[str, ...]:
    """The columns of a table that a condition looks at; none if the table cannot fulfil it."""
    there = set(existing)
    wanted = [_REPORT_COLUMN.get(name, name) if is_report else name for name in condition.columns]
    return tuple(name for name in wanted if name in there)
