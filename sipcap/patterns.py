"""Table patterns read backwards: which names one makes, and for which time each.

``routing.expand`` makes a name of a time. Here a name gives its period back, and only if the pattern makes
exactly this name of it: whoever drops tables must not take one that only looks like it.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from sipcap.errors import CannotStart
from sipcap.routing import expand, split_patterns

DAY_S: Final = 86_400

_SHORT_FORMS: Final = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "h": "%b"}
_TWO: Final = "[0-9]{2}"
_DIRECTIVES: Final = {
    "Y": "[0-9]{4}", "y": _TWO, "m": _TWO, "d": _TWO, "H": _TWO, "M": _TWO, "S": _TWO, "j": "[0-9]{3}",
    "G": "[0-9]{4}", "V": _TWO, "U": _TWO, "W": _TWO, "u": "[1-7]", "w": "[0-6]", "s": "-?[0-9]{1,12}",
    "b": "[A-Z][a-z]{2}", "B": "[A-Z][a-z]{2,8}", "a": "[A-Z][a-z]{2}", "A": "[A-Z][a-z]{5,8}",
}  # fmt: skip
_CALENDAR: Final = range(0, 28 * 366 * DAY_S, DAY_S)
"""28 years from 1970 have every day of the year on every day of the week."""


class Period(NamedTuple):
    """The times of which a pattern makes one name: from *start_s*, before *end_s*, seconds since 1970 UTC."""

    start_s: int
    end_s: int


class Pattern:
    """One table pattern.

    Args:
        text: a strftime pattern without ``|``.

    Raises:
        ValueError: a directive of it cannot be read back.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._used: set[str] = set()
        self._expression = re.compile(_expression(text, self._used), re.ASCII)
        self._unit = _finest_unit(self._used)
        self.is_dated = bool(self._used) and _tells_the_date(self._used)
        """Each name stands for one period."""
        self.is_cyclic = bool(self._used) and not self.is_dated
        """Names come again, as those of ``%d`` do every month: a name tells no time."""

    def matches(self, name: str) -> bool:
        """Whether the pattern makes this name of some time."""
        if not self._used:
            return name == self._plain
        return self._time_of(name) is not None

    def period(self, name: str) -> Period | None:
        """The period of a name; None if the pattern does not make it, or makes it again and again."""
        if not self.is_dated:
            return None
        start_s = self._time_of(name)
        return None if start_s is None else Period(start_s, self._end(name, start_s))

    def names(self, start_s: int, end_s: int) -> Iterator[tuple[str, Period | None]]:
        """The names of a stretch of time, each once, in the order of time; the first is that of its start."""
        if not self.is_dated:
            step_s = min(_STEPS[self._unit], DAY_S) if self._used else max(end_s - start_s, 1)
            times = range(start_s - start_s % step_s, end_s, step_s)
            yield from dict.fromkeys((expand(self.text, moment), None) for moment in times)
            return
        while start_s < end_s:
            name = expand(self.text, start_s)
            period = self.period(name)
            if period is None:  # a year that strftime writes with other than four digits
                return
            yield name, period
            start_s = period.end_s

    @property
    def _plain(self) -> str:
        return expand(self.text, 0)

    def _time_of(self, name: str) -> int | None:
        """The first second of which the pattern makes this name; for a cyclic one, any."""
        return _find_time(self, name)

    def read(self, name: str) -> int | None:
        """Work out the time that a name tells, and prove it; slow for cyclic patterns."""
        match = self._expression.fullmatch(name)
        if match is None:
            return None
        fields = match.groupdict()
        try:
            if self.is_cyclic:
                times = (day + _clock(fields) for day in _days(fields))
                return next((moment for moment in times if expand(self.text, moment) == name), None)
            start_s = _first_second(fields)
            return start_s if time.strftime(self.text, time.gmtime(start_s)) == name else None
        except (ValueError, OverflowError, OSError):  # 30 February, or beyond what the calendar knows
            return None

    def _end(self, name: str, start_s: int) -> int:
        if self._unit in {"year", "month"}:
            day = dt.datetime.fromtimestamp(start_s, dt.UTC).date()
            if self._unit == "year" or day.month == 12:
                return calendar.timegm((day.year + 1, 1, 1, 0, 0, 0))
            return calendar.timegm((day.year, day.month + 1, 1, 0, 0, 0))
        if self._unit == "week":  # the last and the first week of a year may be shorter
            ends = range(start_s + _STEPS["week"], start_s, -DAY_S)
            return next(end_s for end_s in ends if expand(self.text, end_s - 1) == name)
        return start_s + _STEPS[self._unit]


@lru_cache(maxsize=16_384)
def _find_time(pattern: Pattern, name: str) -> int | None:
    return pattern.read(name)


_STEPS: Final = {
    "second": 1, "minute": 60, "hour": 3_600, "day": DAY_S, "week": 7 * DAY_S,
    "month": 28 * DAY_S, "year": 365 * DAY_S,
}  # fmt: skip


def _expression(text: str, used: set[str]) -> str:
    """The regular expression of all names that look right; *used* gets the directives."""
    for short, long in _SHORT_FORMS.items():
        text = re.sub(rf"(?<!%)((?:%%)*)%{short}", rf"\g<1>{long}", text)
    pieces: list[str] = []
    position = 0
    while position < len(text):
        if text[position] != "%":
            pieces.append(re.escape(text[position]))
            position += 1
            continue
        letter = text[position + 1 : position + 2]
        if letter == "%":
            pieces.append("%")
        elif letter not in _DIRECTIVES:
            raise ValueError(f"%{letter} cannot be read back from a table's name; use %Y, %m, %d, %H, %M …")
        else:
            pieces.append(f"(?P={letter})" if letter in used else f"(?P<{letter}>{_DIRECTIVES[letter]})")
            used.add(letter)
        position += 2
    return "".join(pieces)


def _finest_unit(used: set[str]) -> str:
    units = {"Ss": "second", "M": "minute", "H": "hour", "djuwaA": "day", "VUW": "week", "mbB": "month"}
    return next((unit for letters, unit in units.items() if used & set(letters)), "year")


def _tells_the_date(used: set[str]) -> bool:
    """Whether a name tells its period: everything coarser than the finest directive is there, too."""
    if "s" in used:
        return True
    has_year = bool(used & set("Yy"))
    has_month = bool(used & set("mbB"))
    has_week = "G" in used and "V" in used and not has_year
    has_day = has_year and ("j" in used or (has_month and "d" in used) or bool(used & set("UW") and used & set("uwaA")))
    has_day = has_day or (has_week and bool(used & set("uwaA")))
    clock = [letter in used for letter in "HMS"]
    if not has_day and (used & set("djuwaA") or any(clock)):
        return False
    if clock != sorted(clock, reverse=True):
        return False
    if has_day:
        return True
    if len(used & set("UVW")) > 1 or (has_year and "G" in used):
        return False  # weeks or years that begin on different days: a name may stand for a part of one
    return has_week or (has_year and not (used & set("V")) and not (has_month and used & set("UW")))


def _first_second(fields: dict[str, str]) -> int:
    """The first second of the period that complete fields tell."""
    if "s" in fields:
        return int(fields["s"])
    return calendar.timegm(_first_day(fields).timetuple()) + _clock(fields)


def _days(fields: dict[str, str]) -> range:
    """The days that the name of a cyclic pattern may mean."""
    if "Y" not in fields and "y" not in fields:
        if "G" not in fields:
            return _CALENDAR
        monday_s = calendar.timegm(dt.date.fromisocalendar(int(fields["G"]), 1, 1).timetuple())
        return range(monday_s, monday_s + 53 * 7 * DAY_S, DAY_S)
    new_year_s = calendar.timegm((_year(fields), 1, 1, 0, 0, 0))
    return range(new_year_s, new_year_s + 366 * DAY_S, DAY_S)


def _clock(fields: dict[str, str]) -> int:
    hour, minute, second = (int(fields.get(letter, "0")) for letter in "HMS")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("no time of the day")
    return hour * 3_600 + minute * 60 + second


def _first_day(fields: dict[str, str]) -> dt.date:
    if "Y" not in fields and "y" not in fields:
        return dt.date.fromisocalendar(int(fields["G"]), int(fields["V"]), _weekday(fields) or 1)
    year = _year(fields)
    if "j" in fields:
        return dt.date(year, 1, 1) + dt.timedelta(int(fields["j"]) - 1)
    month = _month(fields)
    if month and ("d" in fields or not fields.keys() & set("UW")):
        return dt.date(year, month, int(fields.get("d", "1")))
    for letter, first_weekday in (("U", 7), ("W", 1)):
        if letter in fields:
            return _day_of_week(year, int(fields[letter]), first_weekday, _weekday(fields))
    return dt.date(year, 1, 1)


def _year(fields: dict[str, str]) -> int:
    if "Y" in fields:
        return int(fields["Y"])
    short = int(fields["y"])
    return short + (2_000 if short < 69 else 1_900)  # as strptime reads it


def _month(fields: dict[str, str]) -> int:
    if "m" in fields:
        return int(fields["m"])
    names = {"b": calendar.month_abbr, "B": calendar.month_name}
    return next((list(known).index(fields[letter]) for letter, known in names.items() if letter in fields), 0)


def _weekday(fields: dict[str, str]) -> int:
    """1 for Monday to 7 for Sunday; 0 if no field tells it."""
    if "u" in fields or "w" in fields:
        return int(fields.get("u") or fields["w"]) or 7
    names = {"a": calendar.day_abbr, "A": calendar.day_name}
    return next((list(known).index(fields[letter]) + 1 for letter, known in names.items() if letter in fields), 0)


def _day_of_week(year: int, week: int, first_weekday: int, weekday: int) -> dt.date:
    """A day of week *week* (%U, %W) of a year; its first one if no weekday is given. Week 0 begins on 1 January."""
    new_year = dt.date(year, 1, 1)
    first = new_year + dt.timedelta((first_weekday - new_year.isoweekday()) % 7)  # of week 1
    start = first + dt.timedelta(7 * (week - 1))
    if weekday:
        return start + dt.timedelta((weekday - first_weekday) % 7)
    return max(start, new_year)


def read_patterns(texts: Sequence[str]) -> tuple[Pattern, ...]:
    """The patterns of ``--table``: split at ``|``, each once.

    Raises:
        ValueError: none is left, or one cannot be read back.
    """
    try:
        return tuple(map(Pattern, dict.fromkeys(split_patterns(texts))))
    except CannotStart as error:
        raise ValueError(str(error)) from None
