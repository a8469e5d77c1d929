"""Table patterns read backwards."""

from __future__ import annotations

import calendar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipcap.patterns import DAY_S, Pattern, Period, read_patterns
from sipcap.routing import expand

DATED = (
    "sip_%Y%m%d", "sip_%Y%m%d_%H%M", "sip_%Y%m%d%H", "s_%y%m%d", "%Y-%j", "x_%Y_%W", "x_%Y_%U", "w_%G_%V", "m_%Y%b",
    "y%Y", "%s", "%F %T", "%Y%W%a", "%G%V%u", "100%%_%Y%m%d", "%d.%m.%Y", "%Y%m%d_%Y", "%Y%B", "%A_%d_%b_%Y", 'a"b`%F',
    "%U%m%a%Y",
)  # fmt: skip
CYCLIC = (
    "%d",
    "sip_%a",
    "h%H",
    "%m%d",
    "%H%M",
    "%j",
    "%Y%V",
    "%Y%H",
    "%Y%d",
    "%M",
    "%Y%m%d_%M",
    "%W",
    "%G",
    "%G%a",
    "%U%Y%W",
    "%G%V%U",
    "%Y_%G",
)
MOMENTS = st.integers(calendar.timegm((1970, 1, 2, 0, 0, 0)), calendar.timegm((2068, 12, 31, 0, 0, 0)))


def utc(*parts: int) -> int:
    """Seconds since 1970 of a time in UTC."""
    return calendar.timegm((*parts, 0, 0, 0)[:6])


@pytest.mark.parametrize("text", DATED)
@settings(max_examples=50)
@given(moment=MOMENTS)
def test_period_of_any_time_is_that_of_its_name(text: str, moment: int) -> None:
    """The name of a time gives a period that holds the time, begins and ends exactly where the name changes."""
    pattern = Pattern(text)
    name = expand(text, moment)
    period = pattern.period(name)
    assert period is not None
    assert period.start_s <= moment < period.end_s
    assert expand(text, period.start_s) == expand(text, period.end_s - 1) == name
    assert expand(text, period.start_s - 1) != name
    assert expand(text, period.end_s) != name


@pytest.mark.parametrize("text", DATED)
@settings(max_examples=50)
@given(name=st.from_regex(r"\A[a-z0-9_]{0,6}[0-9]{0,14}\Z"))
def test_matches_only_what_the_pattern_makes(text: str, name: str) -> None:
    """A name that matches is the name of its own time."""
    period = Pattern(text).period(name)
    assert period is None or expand(text, period.start_s) == name


@pytest.mark.parametrize("name", [
    "sip_20230229", "sip_20231301", "sip_20230100", "sip_2023010", "sip_202301011", "sip_20230101x", "xsip_20230101",
    "SIP_20230101", "sip_20230101\n", "sip_2023 101", "sip_\u0662\u0660\u0662\u06630101", "sip_00000101", "sip_%Y%m%d",
    "", "sip_", 'sip_20230101"; DROP TABLE x', "sip_-0230101", "sip_20230101\0",
])  # fmt: skip
def test_matches_refuses_what_only_looks_like_it(name: str) -> None:
    """Days that do not exist, other digits, more or less than the name: all of it is somebody else's table."""
    assert not Pattern("sip_%Y%m%d").matches(name)


@pytest.mark.parametrize(("name", "start", "end"), [
    ("sip_20240229", (2024, 2, 29), (2024, 3, 1)),
    ("sip_20231231", (2023, 12, 31), (2024, 1, 1)),
    ("sip_20240331", (2024, 3, 31), (2024, 4, 1)),
])  # fmt: skip
def test_period_of_a_day_at_the_edges_of_the_calendar(name: str, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    """Leap days, the end of a year and the days on which clocks change are days of 24 hours: all is UTC."""
    period = Pattern("sip_%Y%m%d").period(name)
    assert period == Period(utc(*start), utc(*end))
    assert period is not None
    assert period.end_s - period.start_s == DAY_S


@pytest.mark.parametrize(("text", "name", "start", "end"), [
    ("m%Y%m", "m202402", (2024, 2, 1), (2024, 3, 1)),
    ("m%Y%m", "m202312", (2023, 12, 1), (2024, 1, 1)),
    ("y%Y", "y2024", (2024, 1, 1), (2025, 1, 1)),
    ("w%Y%W", "w202353", (2023, 12, 25), (2024, 1, 1)),
    ("w%Y%W", "w202352", (2023, 12, 25), (2024, 1, 1)),
    ("w%Y%W", "w202200", (2022, 1, 1), (2022, 1, 3)),
    ("w%G%V", "w202053", (2020, 12, 28), (2021, 1, 4)),
])  # fmt: skip
def test_period_of_longer_units_follows_the_calendar(
    text: str, name: str, start: tuple[int, ...], end: tuple[int, ...]
) -> None:
    """Months, years and weeks end where the name changes; a week that a year does not have is no name."""
    expected = Period(utc(*start), utc(*end)) if name != "w202353" else None
    assert Pattern(text).period(name) == expected


@pytest.mark.parametrize("text", CYCLIC)
@settings(max_examples=20)
@given(moment=MOMENTS)
def test_cyclic_pattern_matches_its_names_and_tells_no_period(text: str, moment: int) -> None:
    """A table that is used again every month must not be dropped because its day is past."""
    pattern = Pattern(text)
    assert pattern.is_cyclic
    assert pattern.matches(expand(text, moment))
    assert pattern.period(expand(text, moment)) is None


@pytest.mark.parametrize(("text", "name"), [("%d", "32"), ("%d", "00"), ("%H", "24"), ("%m%d", "0230"), ("%a", "Abc"),
                                            ("%Y%V", "202154"), ("%H%M", "2360")])  # fmt: skip
def test_cyclic_pattern_refuses_what_it_never_makes(text: str, name: str) -> None:
    """Two digits are not always a day."""
    assert not Pattern(text).matches(name)


def test_plain_pattern_matches_itself_alone() -> None:
    """Without a directive it is a name; a doubled percent sign is one."""
    assert Pattern("sip_capture").matches("sip_capture")
    assert not Pattern("sip_capture").matches("sip_capture2")
    assert not Pattern("sip_capture").is_dated
    assert Pattern("a%%b").matches("a%b")
    assert list(Pattern("sip").names(0, 10 * DAY_S)) == [("sip", None)]


@pytest.mark.parametrize("text", ["%q", "sip_%", "%Z", "%Ey", "%-d", "%c"])
def test_pattern_that_cannot_be_read_back_is_refused(text: str) -> None:
    """What strftime might write in any form is not guessed."""
    with pytest.raises(ValueError, match="cannot be read back"):
        Pattern(text)


def test_names_ahead_cross_the_end_of_the_year() -> None:
    """From now on, each name once, without a gap."""
    names = list(Pattern("s_%Y%m%d").names(utc(2023, 12, 30, 23), utc(2024, 1, 1, 23)))
    assert [name for name, _ in names] == ["s_20231230", "s_20231231", "s_20240101"]
    periods = [period for _, period in names if period is not None]
    assert [one.end_s for one in periods[:-1]] == [one.start_s for one in periods[1:]]


def test_names_ahead_of_a_cyclic_pattern_come_once() -> None:
    """Two weeks have seven days of the week."""
    assert len(list(Pattern("s_%a").names(utc(2024, 1, 1), utc(2024, 1, 15)))) == 7


def test_read_patterns_splits_and_keeps_each_once() -> None:
    """``a|b`` and a repeated option are the same."""
    assert [pattern.text for pattern in read_patterns(["a|b_%Y", "a", " c "])] == ["a", "b_%Y", "c"]
    with pytest.raises(ValueError, match="no table"):
        read_patterns(["|"])
