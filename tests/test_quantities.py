"""Durations, sizes and times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.quantities import duration_s, duration_text, size_bytes, size_text, time_us
from sipcap.record import date_text

NOW_US = 1_795_000_000_000_000


@pytest.mark.parametrize(("text", "seconds"), [("10d", 864_000), ("36h", 129_600), ("2w", 1_209_600), ("45min", 2_700),
                                               ("90s", 90), (" 1 d", 86_400), ("0d", 0)])  # fmt: skip
def test_duration_is_read(text: str, seconds: int) -> None:
    """Weeks, days, hours, minutes and seconds."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "d", "-1d", "1.5d", "3m", "1y", "10D", "1d2h", "\u0661d", "99999999999d"])
def test_duration_that_is_none_is_refused(text: str) -> None:
    """Nothing is guessed: what is kept and dropped depends on it."""
    with pytest.raises(ValueError, match="no duration"):
        duration_s(text)


def test_duration_of_m_says_how_to_write_it() -> None:
    """``--keep 3m`` must not keep three minutes of what was meant to be three months."""
    with pytest.raises(ValueError, match="min for minutes"):
        duration_s("3m")


@pytest.mark.parametrize(("text", "number"), [("20GB", 20 * 10**9), ("20GiB", 20 << 30), ("20G", 20 << 30), ("5", 5),
                                              ("1.5kB", 1_500), ("1tb", 10**12), ("9b", 9)])  # fmt: skip
def test_size_is_read(text: str, number: int) -> None:
    """GB is a power of 1000; G and GiB are powers of 1024."""
    assert size_bytes(text) == number


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1,5GB", "1e9", "1XB", "1GBB", "0x10"])
def test_size_that_is_none_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="no size"):
        size_bytes(text)


@pytest.mark.parametrize(("text", "moment"), [
    ("-1h", "2026-11-18 10:06:40"), ("-2d", "2026-11-16 11:06:40"), ("+1d", "2026-11-19 11:06:40"),
    ("-15m", "2026-11-18 10:51:40"), ("now", "2026-11-18 11:06:40"), ("2026-11-23", "2026-11-23 00:00:00"),
    ("2026-11-23 10:11:12", "2026-11-23 10:11:12"), ("2026-11-23T10:11:12Z", "2026-11-23 10:11:12"),
    ("2026-11-23T10:11:12+02:00", "2026-11-23 08:11:12"), ("1763995872", "2025-11-24 14:51:12"),
])  # fmt: skip
def test_time_is_read_as_utc(text: str, moment: str) -> None:
    """Relative to now, ISO 8601, and seconds since 1970; without a zone it is UTC."""
    assert date_text(time_us(text, NOW_US) // 1_000_000) == moment


def test_time_keeps_microseconds() -> None:
    """Two messages of one second can be told apart."""
    assert time_us("2026-11-23 10:11:12.000001", 0) % 1_000_000 == 1
    assert time_us("1763995872.25", 0) == 1_763_995_872_250_000


@pytest.mark.parametrize("text", ["", "yesterday", "-1", "1h", "2026-13-01", "25:00", "-1 fortnight", "12345"])
def test_time_that_is_none_is_refused(text: str) -> None:
    """The message shows how one looks."""
    with pytest.raises(ValueError, match=r"no (time|duration)"):
        time_us(text, NOW_US)


@given(seconds=st.integers(1, 10**9))
def test_duration_text_is_read_back(seconds: int) -> None:
    """What is shown can be typed."""
    assert duration_s(duration_text(seconds)) == seconds


def test_size_text_is_short() -> None:
    """One decimal and a unit."""
    shown = [size_text(number) for number in (0, 999, 1_000, 1_234_567, 20 * 10**9, 5 * 10**12, 7 * 10**15)]
    assert shown == ["0 B", "999 B", "1.0 kB", "1.2 MB", "20.0 GB", "5.0 TB", "7.0 PB"]
