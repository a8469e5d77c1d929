"""What a search looks for, whatever the database is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
_ELSEWHERE: Final = {
    "report": {"callid": "correlation_id"},
    "homer7": {
        "callid": "sid",
        "from_user": "data_header.from_user",
        "to_user": "data_header.to_user",
        "ruri_user": "data_header.ruri_user",
        "method": "data_header.method",
        "source_ip": "protocol_header.srcIp",
        "destination_ip": "protocol_header.dstIp",
        "node": "protocol_header.captureId",
    },
}
"""Where tables of another form have what the user asks for: RTCP and logs carry the Call-ID as correlation id."""


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


def in_columns(condition: Condition, form: str, existing: Iterable[str]) -> tuple[str, ...]:
    """Where a table has what a condition looks at, ``column`` or ``column.key``; nothing if it cannot fulfil it."""
    there = set(existing)
    names = _ELSEWHERE.get(form, {})
    wanted = [names.get(name, name) for name in condition.columns]
    return tuple(name for name in wanted if name.partition(".")[0] in there)


def holds(query: Query, form: str, value_of: Callable[[str], object], ts_us: int) -> bool:
    """Whether a row fulfils all of a query.

    Args:
        query: what is looked for.
        form: of the row.
        value_of: gives a column; None if there is none of this name.
        ts_us: the row's time.
    """
    if (query.since_us is not None and ts_us < query.since_us) or (
        query.until_us is not None and ts_us >= query.until_us
    ):
        return False
    return all(_fulfils(condition, form, value_of) for condition in query.conditions)


def _fulfils(condition: Condition, form: str, value_of: Callable[[str], object]) -> bool:
    names = _ELSEWHERE.get(form, {})
    for column in condition.columns:
        value = value_of(names.get(column, column))
        if isinstance(value, str) and (
            value in condition.values or (condition.prefix and value.startswith(condition.prefix))
        ):
            return True
    return False
