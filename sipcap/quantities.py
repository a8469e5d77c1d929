"""What people write for durations, sizes and times, as numbers."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

_SECONDS: Final = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_DURATION: Final = re.compile(r"([0-9]{1,10})\s*([a-z]+)", re.ASCII)
_SIZE: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(?:([kmgtp])(i?b)?|b)?", re.ASCII | re.IGNORECASE)
_POWERS: Final = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_RELATIVE: Final = re.compile(r"([+-])([0-9].*)", re.ASCII)
_EPOCH: Final = re.compile(r"[0-9]{9,10}(\.[0-9]{1,6})?", re.ASCII)
_EPOCH_START: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def duration_s(text: str) -> int:
    """Read ``10d``, ``36h``, ``2w``, ``45min`` or ``90s`` as seconds.

    Raises:
        ValueError: it is none; a lone ``m`` is none either, because it may mean minutes or months.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or match[2] not in _SECONDS:
        hint = "; write min for minutes, and months in days" if match is not None and match[2] == "m" else ""
        raise ValueError(f"{text!r} is no duration like 10d, 36h, 2w, 45min or 90s{hint}")
    return int(match[1]) * _SECONDS[match[2]]


def size_bytes(text: str) -> int:
    """Read ``20GB`` (powers of 1000), ``20GiB`` or ``20G`` (powers of 1024), or plain bytes.

    Raises:
        ValueError: it is none of these.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size like 20GB, 500MiB or 1000000")
    base = 1_000 if (match[3] or "").lower() == "b" else 1_024
    return int(float(match[1]) * base ** _POWERS[match[2].lower()]) if match[2] else int(float(match[1]))


def time_us(text: str, now_us: int) -> int:
    """Read a time: ``-1h`` before now, ISO 8601 (UTC where it has no zone), seconds since 1970, or ``now``.

    Returns:
        Microseconds since 1970 UTC.

    Raises:
        ValueError: it is none of these.
    """
    text = text.strip()
    if text == "now":
        return now_us
    if relative := _RELATIVE.fullmatch(text):
        offset_us = _short_duration_s(relative[2]) * 1_000_000
        return now_us - offset_us if relative[1] == "-" else now_us + offset_us
    if _EPOCH.fullmatch(text):
        whole, _, fraction = text.partition(".")
        return int(whole) * 1_000_000 + int(fraction.ljust(6, "0"))
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time like -1h, 2026-11-23, '2026-11-23 14:00:00' or a Unix time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return (moment - _EPOCH_START) // dt.timedelta(microseconds=1)


def _short_duration_s(text: str) -> int:
    """A duration where ``m`` can only mean minutes: nobody looks back three months by ``-3m``."""
    return duration_s(f"{text}in" if text.endswith("m") else text)


def size_text(number: float) -> str:
    """Write a number of bytes for people: ``1.5 GB``, powers of 1000 as in ``--max-size``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(number) < 1_000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1_000
    return f"{number:.1f} PB"


def duration_text(seconds: int) -> str:
    """Write a duration as it would be typed: ``10d``, ``36h``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
