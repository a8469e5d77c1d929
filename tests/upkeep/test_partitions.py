"""What bounds of partitions mean, without a database."""

from __future__ import annotations

import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.patterns import DAY_S, Period
from sipcap.tables import Piece
from sipcap.upkeep.partitions import mysql_bound, mysql_seconds, next_periods, postgresql_period

NOW_S = calendar.timegm((2024, 2, 28, 10, 0, 0))
DAY = calendar.timegm((2024, 2, 28, 0, 0, 0))


@pytest.mark.parametrize(("expression", "less_than", "seconds"), [
    ("unix_timestamp(`date`)", "1709078400", DAY),
    ("UNIX_TIMESTAMP(date)", "1709078400", DAY),
    ("to_days(`date`)", "739309", DAY),
    ("to_seconds(`date`)", "63876297600", DAY),
    ("year(`date`)", "2024", calendar.timegm((2024, 1, 1, 0, 0, 0))),
    ("`micro_ts`", "1709078400000000", DAY),
    ("`date`", "'2024-02-28'", DAY),
    ("`date`", "'2024-02-28 00:00:00'", DAY),
    ("unix_timestamp(`date`)", "MAXVALUE", None),
    ("hour(`date`)", "5", None),
    ("`name`", "'zebra'", None),
])  # fmt: skip
def test_mysql_bound_is_read(expression: str, less_than: str, seconds: int | None) -> None:
    """Whatever a table is partitioned by; what is no time is none."""
    assert mysql_seconds(expression, less_than) == seconds


@pytest.mark.parametrize(
    "expression", ["unix_timestamp(`date`)", "to_days(`d`)", "TO_SECONDS(d)", "`micro_ts`", "`date`"]
)
@given(days=st.integers(2_000, 40_000))
def test_mysql_bound_is_written_as_it_is_read(expression: str, days: int) -> None:
    """A new partition ends where it shall."""
    bound = mysql_bound(expression, days * DAY_S)
    assert bound is not None
    assert mysql_seconds(expression, bound) == days * DAY_S
    assert mysql_bound("hour(`date`)", 0) is None


@pytest.mark.parametrize(("bound", "period"), [
    ("FOR VALUES FROM ('2024-02-28 00:00:00+00') TO ('2024-02-28 02:00:00+00')", Period(DAY, DAY + 7_200)),
    ("FOR VALUES FROM ('2024-02-27') TO ('2024-02-28')", Period(DAY - DAY_S, DAY)),
    ("FOR VALUES FROM ('1709078400000000') TO ('1709164800000000')", Period(DAY, DAY + DAY_S)),
    ("FOR VALUES FROM (MINVALUE) TO ('2024-02-28 00:00:00')", Period(DAY - DAY_S, DAY)),
    ("FOR VALUES FROM ('2024-02-28') TO (MAXVALUE)", None),
    ("DEFAULT", None),
    ("FOR VALUES IN ('x')", None),
    ("FOR VALUES FROM ('a') TO ('b')", None),
    ("FOR VALUES FROM ('2024-02-28', 1) TO ('2024-02-29', 1)", None),
    ("FOR VALUES WITH (modulus 4, remainder 0)", None),
])  # fmt: skip
def test_postgresql_bounds_are_read(bound: str, period: Period | None) -> None:
    """Times and microseconds; a default partition, a list or two columns tell no time."""
    assert postgresql_period(bound) == period


def pieces(*names: str, first: int = DAY - DAY_S, step: int = DAY_S) -> list[Piece]:
    """Partitions one after the other."""
    return [Piece("t", name, Period(first + n * step, first + (n + 1) * step)) for n, name in enumerate(names)]


def test_next_periods_go_on_as_those_before() -> None:
    """Over the leap day, by the day."""
    found = list(next_periods(pieces("p20240227", "p20240228"), NOW_S, 2 * DAY_S))
    assert found == [
        ("p20240229", Period(DAY + DAY_S, DAY + 2 * DAY_S)), ("p20240301", Period(DAY + 2 * DAY_S, DAY + 3 * DAY_S)),
    ]  # fmt: skip


def test_next_periods_leave_out_what_is_past() -> None:
    """After a long pause only what is needed is made, at the same hours."""
    old = pieces("t_20230101_0000", first=calendar.timegm((2023, 1, 1, 0, 0, 0)), step=7_200)
    found = list(next_periods(old, NOW_S, 3_600))
    assert found == [("t_20240228_1000", Period(NOW_S, NOW_S + 7_200))]


def test_next_periods_of_months_follow_the_calendar() -> None:
    """28, 29, 30 and 31 days, and the end of the year."""
    first = calendar.timegm((2023, 12, 1, 0, 0, 0))
    old = [Piece("t", "t_202312", Period(first, calendar.timegm((2024, 1, 1, 0, 0, 0))))]
    names = [name for name, _ in next_periods(old, first, 100 * DAY_S)]
    assert names == ["t_202401", "t_202402", "t_202403"]


def test_next_periods_with_unknown_names_find_own() -> None:
    """Kamailio's pYYYYMMDDnn cannot be told from an hour; whatever it is, no name comes twice."""
    found = [name for name, _ in next_periods(pieces("x1", "p20240229_0000"), NOW_S, 3 * DAY_S)]
    assert len(set(found)) == len(found) == 3
    assert "p20240229_0000" not in found


def test_next_periods_without_bounds_are_none() -> None:
    """A table that is not partitioned by time is not continued."""
    assert list(next_periods([Piece("t", "pmax"), Piece("t")], NOW_S, DAY_S)) == []
