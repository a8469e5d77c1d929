"""Plans of upkeep, without a database."""

from __future__ import annotations

import calendar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.patterns import DAY_S, Period, read_patterns
from sipcap.tables import (
    Chosen,
    Piece,
    Step,
    chosen,
    excess_bytes,
    plan_before,
    plan_create,
    plan_drop,
    plan_rotate,
)

NOW_S = calendar.timegm((2024, 3, 1, 10, 0, 0))
GB = 10**9
DAYS = read_patterns(["s_%Y%m%d"])
US = 1_000_000


def days(first: int, last: int, size_bytes: int = GB) -> list[Piece]:
    """Tables of days, counted from that of now: -1 is yesterday."""
    names = [next(DAYS[0].names(NOW_S + day * DAY_S, NOW_S + day * DAY_S + 1))[0] for day in range(first, last + 1)]
    return [Piece(name, size_bytes=size_bytes, rows=100) for name in names]


def plain(name: str = "sip", span_days: int = 10, **more: Any) -> Piece:
    """An undated table with rows of so many days until now."""
    values: dict[str, Any] = {"size_bytes": 10 * GB, "rows": 1_000}
    times = {"oldest_us": (NOW_S - span_days * DAY_S) * US, "newest_us": NOW_S * US}
    return Piece(name, **(values | times | more))


def nth_of(piece: Piece) -> Any:
    """Rows that came evenly."""

    def nth(_table: str, number: int) -> int:
        assert piece.oldest_us is not None
        assert piece.newest_us is not None
        return piece.oldest_us + (piece.newest_us - piece.oldest_us) * number // piece.rows

    return nth


def no_rows(_table: str, _number: int) -> int | None:
    """There is nothing to ask for."""
    raise AssertionError


def rotate(pieces: list[Chosen], keep_s: int | None = None, max_bytes: int | None = None) -> list[str]:
    """The names of what would be dropped."""
    return [step.table for step in plan_rotate(pieces, NOW_S, keep_s, max_bytes, no_rows)]


def test_chosen_takes_what_matches_and_sorts_by_age() -> None:
    """What no pattern makes is not even seen."""
    pieces = [*reversed(days(-2, 0)), Piece("s_20240230"), Piece("users"), Piece("s_2024"), Piece("sip")]
    found = chosen(pieces, read_patterns(["s_%Y%m%d|sip"]))
    assert [one.piece.table for one in found] == ["s_20240228", "s_20240229", "s_20240301", "sip"]


def test_chosen_believes_the_database_about_bounds() -> None:
    """A partition called _0000 that takes two hours is not of one minute."""
    bounds = Period(NOW_S - 7_200, NOW_S)
    (one,) = chosen([Piece("p_20240301_0800", bounds=bounds)], read_patterns(["p_%Y%m%d_%H%M"]))
    assert one.period == bounds


def test_keep_drops_a_day_when_its_last_message_is_too_old() -> None:
    """With 24 hours kept at ten o'clock, yesterday stays: it has messages of the last 14 hours."""
    pieces = chosen(days(-3, 1), DAYS)
    assert rotate(pieces, DAY_S) == ["s_20240227", "s_20240228"]
    assert rotate(pieces, DAY_S + 10 * 3_600) == ["s_20240227", "s_20240228"]
    assert rotate(pieces, DAY_S + 10 * 3_600 + 1) == ["s_20240227"]
    assert rotate(pieces, 0) == ["s_20240227", "s_20240228", "s_20240229"]


@given(keep_s=st.integers(0, 400 * DAY_S), now_s=st.integers(NOW_S, NOW_S + 800 * DAY_S))
def test_keep_never_drops_what_shall_be_kept(keep_s: int, now_s: int) -> None:
    """Whatever the time, only whole periods before the limit go, and all of them do."""
    pieces = chosen(days(-40, 10), DAYS)
    gone = {step.table for step in plan_rotate(pieces, now_s, keep_s, None, no_rows)}
    for one in pieces:
        assert one.period is not None
        assert (one.piece.table in gone) == (one.period.end_s <= now_s - keep_s)


def test_keep_deletes_old_rows_of_an_undated_table() -> None:
    """Its rows go up to the moment; how many is guessed from their times."""
    (step,) = plan_rotate(chosen([plain()], read_patterns(["sip"])), NOW_S, 7 * DAY_S, None, no_rows)
    assert (step.action, step.before_us, step.rows) == ("delete", (NOW_S - 7 * DAY_S) * US, 300)


def test_keep_leaves_an_undated_table_alone_that_is_young_enough() -> None:
    """Nothing to do is no step; neither is an empty table."""
    pieces = chosen([plain(), Piece("b")], read_patterns(["sip|b"]))
    assert plan_rotate(pieces, NOW_S, 11 * DAY_S, None, no_rows) == []


def test_keep_deletes_rows_of_a_cyclic_table() -> None:
    """The table of the 5th has messages of last month and of this one."""
    (step,) = plan_rotate(chosen([plain("s_05", 40)], read_patterns(["s_%d"])), NOW_S, 10 * DAY_S, None, no_rows)
    assert step.action == "delete"


def test_size_drops_the_oldest_and_never_the_present() -> None:
    """Ten tables of 1 GB: what is over goes from the old end, today's and tomorrow's stay."""
    pieces = chosen(days(-8, 1), DAYS)
    assert rotate(pieces, None, 10 * GB) == []
    assert rotate(pieces, None, 8 * GB) == ["s_20240222", "s_20240223"]
    assert rotate(pieces, None, 8 * GB - 1) == ["s_20240222", "s_20240223", "s_20240224"]
    steps = plan_rotate(pieces, NOW_S, None, 1, no_rows)
    assert len(steps) == 8
    assert excess_bytes(pieces, steps, 1) == 2 * GB - 1


def test_size_goes_over_all_patterns_together() -> None:
    """The limit is for the disk, not for each kind of table."""
    patterns = read_patterns(["a_%Y%m%d|b_%Y%m%d"])
    tables = [Piece(f"{kind}_2024022{day}", size_bytes=GB) for kind in "ab" for day in (1, 2)]
    assert rotate(chosen(tables, patterns), None, 2 * GB) == ["a_20240221", "b_20240221"]


def test_size_deletes_the_oldest_rows_of_an_undated_table() -> None:
    """A tenth too large: the oldest tenth goes, by time, so that doing it twice deletes it once."""
    piece = plain(size_bytes=10 * GB)
    (step,) = plan_rotate(chosen([piece], read_patterns(["sip"])), NOW_S, None, 9 * GB, nth_of(piece))
    assert (step.action, step.rows, step.size_bytes) == ("delete", 100, GB)
    assert step.before_us == (NOW_S - 9 * DAY_S) * US + 1


def test_age_and_size_together_do_not_count_twice() -> None:
    """What goes by age is not there any more when the size is looked at."""
    pieces = chosen(days(-8, 1), DAYS)
    assert rotate(pieces, 5 * DAY_S, 8 * GB) == rotate(pieces, 5 * DAY_S)
    piece = plain(size_bytes=10 * GB)
    one = chosen([piece], read_patterns(["sip"]))
    (by_age,) = plan_rotate(one, NOW_S, 5 * DAY_S, 9 * GB, nth_of(piece))
    assert by_age.before_us == (NOW_S - 5 * DAY_S) * US
    (by_size,) = plan_rotate(one, NOW_S, 9 * DAY_S, 2 * GB, nth_of(piece))
    assert by_size.before_us == (NOW_S - 2 * DAY_S) * US + 1


def test_partition_without_bounds_is_never_dropped() -> None:
    """A catch-all partition takes everything; its old rows go by DELETE, once for the table."""
    bounds = Period(NOW_S - 9 * DAY_S, NOW_S - 8 * DAY_S)
    old = plain("t", 20)
    pieces = [Piece("t", "p1", bounds, GB), Piece("t", "pmax", None, GB, 5, False, old.oldest_us, old.newest_us)]
    steps = plan_rotate(chosen(pieces, read_patterns(["t"])), NOW_S, DAY_S, None, no_rows)
    assert [(step.action, step.table, step.partition) for step in steps] == [("drop", "t", "p1"), ("delete", "t", None)]
    assert [step.partition for step in plan_rotate(chosen(pieces, read_patterns(["t"])), NOW_S, None, 1, no_rows)] == [
        "p1"
    ]


def test_before_drops_only_the_past() -> None:
    """A date in the future does not drop the table that capture writes into."""
    pieces = chosen(days(-2, 2), DAYS)
    assert [step.table for step in plan_before(pieces, NOW_S + 9 * DAY_S, NOW_S)] == ["s_20240228", "s_20240229"]
    assert plan_before(pieces, calendar.timegm((2024, 2, 28, 0, 0, 0)), NOW_S) == []


def test_drop_takes_named_tables_and_partitions() -> None:
    """A partition is named by itself or with its table; whoever names a table gets all of it."""
    bounds = Period(0, 1)
    pieces = chosen([*days(-1, 0), Piece("t", "p1", bounds), Piece("t", "p2", bounds)], read_patterns(["s_%Y%m%d|t"]))
    patterns = read_patterns(["s_%Y%m%d|t"])
    for name in ("p1", "t.p1"):
        assert [(step.table, step.partition) for step in plan_drop(pieces, [name], patterns)] == [("t", "p1")]
    assert [(step.table, step.partition) for step in plan_drop(pieces, ["t"], patterns)] == [("t", None)]
    assert [step.table for step in plan_drop(pieces, ["s_20240229", "s_20240229"], patterns)] == ["s_20240229"]
    assert plan_drop(pieces, ["s_20200101"], patterns) == []


def test_drop_of_what_does_not_match_drops_nothing_at_all() -> None:
    """One wrong name, and the right ones beside it stay as well."""
    with pytest.raises(ValueError, match="users does not match"):
        plan_drop(chosen(days(-1, 0), DAYS), ["s_20240229", "users"], DAYS)


def test_create_makes_what_is_missing_from_now_on() -> None:
    """Today, and as far as asked; what is there is left as it is."""
    steps = plan_create(DAYS, ["s_20240302"], NOW_S, 2 * DAY_S)
    assert [step.table for step in steps] == ["s_20240301", "s_20240303"]
    assert [step.table for step in plan_create(DAYS, [], NOW_S, 0)] == ["s_20240301"]
    assert [step.table for step in plan_create(read_patterns(["sip"]), [], NOW_S, 9 * DAY_S)] == ["sip"]


def test_create_of_too_many_tables_is_refused() -> None:
    """A pattern with seconds would make 172,800 tables for two days."""
    with pytest.raises(ValueError, match="more than 1000 tables"):
        plan_create(read_patterns(["s_%Y%m%d%H%M%S"]), [], NOW_S, 2 * DAY_S)


def test_step_as_dict_tells_what_and_why() -> None:
    """Times are UTC; a field that has no value is left out, except the answer of a forecast."""
    step = Step("drop", "t", "p", Period(0, DAY_S), "older than 10d", 5, 6)
    assert step.as_dict() == {
        "action": "drop", "table": "t", "partition": "p", "start": "1970-01-01 00:00:00", "end": "1970-01-02 00:00:00",
        "size_bytes": 5, "rows": 6, "why": "older than 10d",
    }  # fmt: skip
    assert Step("keep", "t").as_dict()["go"] is None
    assert Step("delete", "t", before_us=US).as_dict()["before"] == "1970-01-01 00:00:01"
    assert Step("create", "t").as_dict() == {"action": "create", "table": "t"}
