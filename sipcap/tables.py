"""Upkeep of tables: what shall be created, dropped or deleted, as data (design 1.4, ``sipcap tables``).

Nothing in here asks a database: ``upkeep/`` looks, this plans, ``upkeep/`` carries out. Every function takes
what matches the patterns and nothing else; ``chosen()`` is the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sipcap.limits import MAX_TABLES_AHEAD
from sipcap.patterns import Pattern, Period
from sipcap.quantities import duration_text, size_text
from sipcap.record import date_text
from sipcap.schemas import HOMER5, HOMER7

_US: Final = 1_000_000
SCHEMA_PATTERNS: Final = {
    HOMER5: (
        "sip_capture_call_%Y%m%d", "sip_capture_registration_%Y%m%d", "sip_capture_rest_%Y%m%d",
        "rtcp_capture_all_%Y%m%d", "logs_capture_all_%Y%m%d", "report_capture_all_%Y%m%d",
    ),
    HOMER7: (
        "hep_proto_1_call", "hep_proto_1_registration", "hep_proto_1_default", "hep_proto_5_default",
        "hep_proto_35_default", "hep_proto_53_default", "hep_proto_54_default", "hep_proto_100_default",
    ),
}  # fmt: skip
"""The tables that a schema has, all of them."""


@dataclass(frozen=True)
class Piece:
    """A table, or one partition of it: what can be dropped as a whole.

    *bounds* is what the database says which rows it takes; *size_bytes* and *rows* are estimates unless
    *exact*; *oldest_us* and *newest_us* are times of rows, None if there is none.
    """

    table: str
    partition: str | None = None
    bounds: Period | None = None
    size_bytes: int = 0
    rows: int = 0
    exact: bool = False
    oldest_us: int | None = None
    newest_us: int | None = None


@dataclass(frozen=True)
class Chosen:
    """A piece that a pattern names; *period* None: it is not for one time, its rows go one by one."""

    piece: Piece
    pattern: Pattern
    period: Period | None

    @property
    def name(self) -> str:
        """How it is named to people."""
        return self.piece.table if self.piece.partition is None else f"{self.piece.table}.{self.piece.partition}"


@dataclass(frozen=True)
class Step:
    """One thing to do: ``create``, ``drop``, ``delete`` (rows before *before_us*) or ``keep`` (nothing).

    *go_s* is when a kept piece would go, None if never.
    """

    action: str
    table: str
    partition: str | None = None
    period: Period | None = None
    why: str = ""
    size_bytes: int = 0
    rows: int = 0
    before_us: int | None = None
    go_s: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The step as a JSON object."""
        keys: dict[str, Any] = {"action": self.action, "table": self.table}
        if self.partition is not None:
            keys["partition"] = self.partition
        if self.period is not None:
            keys |= {"start": date_text(self.period.start_s), "end": date_text(self.period.end_s)}
        if self.before_us is not None:
            keys["before"] = date_text(self.before_us // _US)
        if self.action != "create":
            keys |= {"size_bytes": self.size_bytes, "rows": self.rows}
        if self.action == "keep":
            keys["go"] = None if self.go_s is None else date_text(self.go_s)
        return keys | ({"why": self.why} if self.why else {})


NthOldest = Callable[[str, int], int | None]
"""Given a table and a number n: the time of its n-th oldest row, in microseconds."""


def chosen(pieces: Iterable[Piece], patterns: Sequence[Pattern]) -> list[Chosen]:
    """Those that a pattern names, the oldest first; what matches none is left alone."""
    found = []
    for piece in pieces:
        pattern = next((pattern for pattern in patterns if pattern.matches(piece.table)), None)
        if pattern is not None:
            period = piece.bounds or (pattern.period(piece.table) if piece.partition is None else None)
            found.append(Chosen(piece, pattern, period))
    return sorted(found, key=lambda one: (one.period is None, one.period or (0, 0), one.name))


def plan_keep(pieces: Sequence[Chosen], now_s: int, keep_s: int) -> list[Step]:
    """What goes when the messages of the last *keep_s* seconds stay."""
    why = f"older than {duration_text(keep_s)}"
    return _plan_before(pieces, now_s - keep_s, why, now_s)


def plan_before(pieces: Sequence[Chosen], before_s: int, now_s: int) -> list[Step]:
    """What goes when everything before a time does."""
    return _plan_before(pieces, before_s, f"before {date_text(before_s)}", now_s)


def _plan_before(pieces: Sequence[Chosen], before_s: int, why: str, now_s: int) -> list[Step]:
    steps: list[Step] = []
    for one in pieces:
        piece = one.piece
        if one.period is not None:
            if one.period.end_s <= min(before_s, now_s):
                steps.append(drop_step(one, why))
        elif piece.oldest_us is not None and piece.oldest_us < before_s * _US:
            steps.append(_delete(one, before_s * _US, why))
    return list(dict.fromkeys(steps))  # two partitions without bounds are one DELETE


def plan_size(pieces: Sequence[Chosen], now_s: int, max_bytes: int, nth_oldest: NthOldest) -> list[Step]:
    """What goes so that the rest takes *max_bytes* at most: whole pieces of the past, the oldest first, then rows.

    The piece of the present stays: capture writes into it.
    """
    excess = sum(one.piece.size_bytes for one in pieces) - max_bytes
    why = f"all together are larger than {size_text(max_bytes)}"
    steps = []
    for one in pieces:
        if excess <= 0:
            break
        if one.period is not None and one.period.end_s <= now_s:
            steps.append(drop_step(one, why))
            excess -= one.piece.size_bytes
    undated = [one for one in pieces if one.period is None and one.piece.partition is None and one.piece.rows]
    whole = sum(one.piece.size_bytes for one in undated)
    if excess > 0 and whole:
        for one in undated:
            rows = min(-(-one.piece.rows * min(excess, whole) // whole), one.piece.rows)
            before_us = nth_oldest(one.piece.table, rows)
            if before_us is not None:
                size = one.piece.size_bytes * rows // one.piece.rows
                steps.append(replace(_delete(one, before_us + 1, why), rows=rows, size_bytes=size))
    return steps


def plan_rotate(
    pieces: Sequence[Chosen], now_s: int, keep_s: int | None, max_bytes: int | None, nth_oldest: NthOldest
) -> list[Step]:
    """What goes by age, and of the rest what goes by size."""
    steps = [] if keep_s is None else plan_keep(pieces, now_s, keep_s)
    if max_bytes is None:
        return steps
    dropped = {(step.table, step.partition) for step in steps if step.action == "drop"}
    gone = {step.table: step for step in steps if step.action == "delete"}
    rest = [_without(one, gone) for one in pieces if (one.piece.table, one.piece.partition) not in dropped]

    def nth_of_rest(table: str, number: int) -> int | None:
        return nth_oldest(table, number + (gone[table].rows if table in gone else 0))

    merged = {(step.action, step.table, step.partition): step for step in steps}
    for step in plan_size(rest, now_s, max_bytes, nth_of_rest):
        other = merged.get((step.action, step.table, step.partition))
        if other is None or (step.before_us or 0) > (other.before_us or 0):
            merged[step.action, step.table, step.partition] = step
    return list(merged.values())


def _without(one: Chosen, gone: dict[str, Step]) -> Chosen:
    """An undated table as it is when the rows of a DELETE are gone."""
    step = gone.get(one.piece.table)
    if step is None or one.period is not None:
        return one
    piece = one.piece
    size, rows = max(piece.size_bytes - step.size_bytes, 0), max(piece.rows - step.rows, 0)
    return replace(one, piece=replace(piece, size_bytes=size, rows=rows))


def excess_bytes(pieces: Sequence[Chosen], steps: Sequence[Step], max_bytes: int) -> int:
    """By how much the rest is too large after these steps; 0 if it is not."""
    size = sum(one.piece.size_bytes for one in pieces) - sum(step.size_bytes for step in steps)
    return max(size - max_bytes, 0)


def plan_drop(pieces: Sequence[Chosen], names: Sequence[str], patterns: Sequence[Pattern]) -> list[Step]:
    """The named tables and partitions.

    Raises:
        ValueError: a name that no pattern makes; then nothing shall be dropped at all.
    """
    known = {one.name: one for one in pieces} | {one.piece.partition: one for one in pieces if one.piece.partition}
    tables = {one.piece.table for one in pieces}
    for name in names:
        if name not in known and name not in tables and not any(pattern.matches(name) for pattern in patterns):
            raise ValueError(f"{name} does not match --table; nothing is dropped")
    whole = [Step("drop", name, why="named") for name in names if name in tables and name not in known]
    return whole + [drop_step(known[name], "named") for name in dict.fromkeys(names) if name in known]


def plan_create(patterns: Sequence[Pattern], existing: Iterable[str], now_s: int, ahead_s: int) -> list[Step]:
    """The tables that messages of the time from now to *ahead_s* later go to and that are missing.

    Raises:
        ValueError: there would be too many.
    """
    there = set(existing)
    steps = []
    for pattern in patterns:
        for name, period in pattern.names(now_s, now_s + max(ahead_s, 1)):
            if name not in there:
                there.add(name)
                steps.append(Step("create", name, period=period, why=f"for the next {duration_text(ahead_s)}"))
            if len(steps) > MAX_TABLES_AHEAD:
                raise ValueError(f"{pattern.text} makes more than {MAX_TABLES_AHEAD} tables; less ahead?")
    return steps


Missing = Callable[[Sequence[Piece]], Sequence[tuple[str, Period]]]
"""Given all pieces of a table: names and bounds of the partitions that it lacks."""


def plan_partitions(pieces: Sequence[Chosen], ahead_s: int, missing: Missing) -> list[Step]:
    """The partitions that messages of the time from now to *ahead_s* later go to and that are missing.

    Raises:
        ValueError: a pattern names partitions as if they were tables, or there would be too many.
    """
    tables: dict[str, list[Piece]] = {}
    for one in pieces:
        if one.piece.bounds is not None and one.piece.partition is None:
            raise ValueError(f"{one.piece.table} is a partition: name the table that it belongs to")
        tables.setdefault(one.piece.table, []).append(one.piece)
    why = f"for the next {duration_text(ahead_s)}"
    steps = [
        Step("create", table, name, period, why) for table, parts in tables.items() for name, period in missing(parts)
    ]
    if len(steps) > MAX_TABLES_AHEAD:
        raise ValueError(f"more than {MAX_TABLES_AHEAD} partitions; less ahead?")
    return steps


def drop_step(one: Chosen, why: str) -> Step:
    """The step that drops a piece."""
    piece = one.piece
    return Step("drop", piece.table, piece.partition, one.period, why, piece.size_bytes, piece.rows)


def _delete(one: Chosen, before_us: int, why: str) -> Step:
    """Rows of an undated table; how many there are is guessed, as if they had come evenly."""
    piece = one.piece
    oldest_us, newest_us = piece.oldest_us or 0, piece.newest_us or 0
    part = min((before_us - oldest_us) / max(newest_us - oldest_us, 1), 1.0)
    rows, size = int(piece.rows * part), int(piece.size_bytes * part)
    return Step("delete", piece.table, None, None, why, size, rows, before_us)
