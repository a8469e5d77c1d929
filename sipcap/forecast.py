"""What is there, how fast it grows and when it would go, as data: what ``sipcap tables list`` and ``plan`` show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from sipcap.patterns import DAY_S
from sipcap.record import date_text
from sipcap.tables import Chosen, Piece, Step, drop_step

_US: Final = 1_000_000
_EVER_S: Final = 100 * 365 * DAY_S
_GROWTH_PERIODS: Final = 7
"""Full periods whose mean is the growth: a week of days, so that a Sunday does not count for all."""


def growth_per_day(pieces: Sequence[Chosen], now_s: int) -> int:
    """Bytes that are added a day, as it was of late; 0 if that cannot be told."""
    dated = [one for one in pieces if one.period is not None and one.piece.size_bytes]
    past = [one for one in dated if one.period is not None and one.period.end_s <= now_s]
    recent = sorted({one.period for one in past if one.period is not None})[-_GROWTH_PERIODS:]
    if recent:
        span_s = recent[-1].end_s - recent[0].start_s
        total = sum(one.piece.size_bytes for one in past if one.period is not None and one.period >= recent[0])
    else:
        current = [one.piece for one in dated]
        total, span_s = sum(piece.size_bytes for piece in current), _span_s(current)
    growth = total * DAY_S // span_s if span_s else 0
    for one in pieces:
        if one.period is None and (span_s := _span_s([one.piece])):
            growth += one.piece.size_bytes * DAY_S // span_s
    return growth


def _span_s(pieces: Sequence[Piece]) -> int:
    """Seconds from the oldest to the newest row; 0 if that is too little to tell a growth."""
    oldest = [piece.oldest_us for piece in pieces if piece.oldest_us is not None]
    newest = [piece.newest_us for piece in pieces if piece.newest_us is not None]
    span_s = (max(newest) - min(oldest)) // _US if oldest and newest else 0
    return span_s if span_s >= 60 else 0


def forecast(
    pieces: Sequence[Chosen], steps: Sequence[Step], now_s: int, keep_s: int | None, max_bytes: int | None
) -> Iterator[Step]:
    """Every piece: the step that would be done now, or when it would go if all goes on as it did of late."""
    yield from steps
    growth = growth_per_day(pieces, now_s)
    doing = {(step.table, step.partition) for step in steps}
    room = 0 if max_bytes is None else max_bytes - sum(one.piece.size_bytes for one in pieces)
    room += sum(step.size_bytes for step in steps)
    for one in pieces:
        if (one.piece.table, one.piece.partition) in doing:
            continue
        times = []
        if keep_s is not None:
            last_s = one.period.end_s if one.period else (one.piece.oldest_us or now_s * _US) // _US
            times.append(max(last_s + keep_s, now_s))
        if max_bytes is not None and growth:
            full_s = now_s + max(room, 0) * DAY_S // growth
            times.append(max(full_s, one.period.end_s if one.period else 0))
            room += one.piece.size_bytes if one.period else 0
        yield replace(drop_step(one, ""), action="keep", go_s=min(times, default=None))


def listing(one: Chosen) -> dict[str, Any]:
    """A table or partition as it is, as a JSON object."""
    piece = one.piece
    keys: dict[str, Any] = {"table": piece.table}
    if piece.partition is not None:
        keys["partition"] = piece.partition
    if one.period is not None:
        keys |= {"start": date_text(one.period.start_s), "end": date_text(one.period.end_s)}
    keys |= {"size_bytes": piece.size_bytes, "rows": piece.rows, "exact": piece.exact}
    times = {"oldest": piece.oldest_us, "newest": piece.newest_us}
    return keys | {name: None if time_us is None else date_text(time_us // _US) for name, time_us in times.items()}


def summary(
    pieces: Sequence[Chosen], growth: int, now_s: int, keep_s: int | None, room_bytes: int | None
) -> dict[str, Any]:
    """What all pieces are together, as a JSON object: growth, and where it leads to.

    Args:
        pieces: all.
        growth: bytes a day.
        now_s: the time.
        keep_s: what shall be kept; None = all.
        room_bytes: what is free on the disk; None if nobody knows.
    """
    keys: dict[str, Any] = {
        "action": "sum",
        "tables": len({one.piece.table for one in pieces}),
        "size_bytes": sum(one.piece.size_bytes for one in pieces),
        "rows": sum(one.piece.rows for one in pieces),
        "bytes_per_day": growth,
    }
    if keep_s is not None:
        keys["bytes_kept"] = growth * keep_s // DAY_S
    if room_bytes is not None:
        keys["free_bytes"] = room_bytes
        left_s = room_bytes * DAY_S // growth if growth else _EVER_S
        keys["disk_full"] = date_text(now_s + left_s) if left_s < _EVER_S else None
    return keys
