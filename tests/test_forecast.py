"""Growth, and when what would go, without a database."""

from __future__ import annotations

import calendar

from sipcap.forecast import forecast, growth_per_day, listing, summary
from sipcap.patterns import DAY_S, Period, read_patterns
from sipcap.tables import Piece, chosen, plan_rotate
from tests.test_tables import DAYS, GB, NOW_S, US, days, no_rows, plain


def test_growth_is_the_mean_of_the_last_full_days() -> None:
    """Today is not over, and last year was another time."""
    pieces = [*days(-30, -8, 9 * GB), *days(-7, -1, 2 * GB), *days(0, 1, 77)]
    assert growth_per_day(chosen(pieces, DAYS), NOW_S) == 2 * GB


def test_growth_of_undated_tables_is_size_by_age() -> None:
    """Two tables grow together; one without rows does not."""
    pieces = chosen([plain("a"), plain("b"), Piece("c")], read_patterns(["a|b|c"]))
    assert growth_per_day(pieces, NOW_S) == 2 * GB
    assert growth_per_day([], NOW_S) == 0


def test_forecast_tells_for_each_table_when_it_goes() -> None:
    """By age: ten days after its end. By size: when what is added has used up the room."""
    pieces = chosen(days(-3, 0), DAYS)
    by_age = list(forecast(pieces, [], NOW_S, 10 * DAY_S, None))
    assert [step.action for step in by_age] == ["keep"] * 4
    assert by_age[0].go_s == calendar.timegm((2024, 3, 9, 0, 0, 0))
    by_size = list(forecast(pieces, [], NOW_S, None, 5 * GB))
    assert [step.go_s for step in by_size] == [NOW_S + days * DAY_S for days in (1, 2, 3, 4)]
    both = list(forecast(pieces, [], NOW_S, 10 * DAY_S, 5 * GB))
    assert [step.go_s for step in both] == [NOW_S + days * DAY_S for days in (1, 2, 3, 4)]
    assert [step.go_s for step in forecast(pieces, [], NOW_S, None, None)] == [None] * 4


def test_forecast_begins_with_what_would_be_done_now() -> None:
    """Each piece is told once."""
    pieces = chosen(days(-3, 0), DAYS)
    steps = plan_rotate(pieces, NOW_S, DAY_S, None, no_rows)
    told = list(forecast(pieces, steps, NOW_S, DAY_S, None))
    assert [step.action for step in told] == ["drop", "drop", "keep", "keep"]
    assert len({step.table for step in told}) == 4


def test_listing_tells_what_is_known() -> None:
    """A time that nobody knows is null."""
    (one,) = chosen([Piece("s_20240301", size_bytes=5, rows=6, oldest_us=NOW_S * US)], DAYS)
    assert listing(one) == {
        "table": "s_20240301", "start": "2024-03-01 00:00:00", "end": "2024-03-02 00:00:00", "size_bytes": 5, "rows": 6,
        "exact": False, "oldest": "2024-03-01 10:00:00", "newest": None,
    }  # fmt: skip
    (part,) = chosen([Piece("t", "p", Period(0, 1))], read_patterns(["t"]))
    assert listing(part)["partition"] == "p"


def test_summary_tells_where_growth_leads_to() -> None:
    """What the kept days take, and when the disk is full; nothing that cannot be known."""
    pieces = chosen(days(-3, 0), DAYS)
    assert summary(pieces, GB, NOW_S, 10 * DAY_S, 5 * GB) == {
        "action": "sum", "tables": 4, "size_bytes": 4 * GB, "rows": 400, "bytes_per_day": GB, "bytes_kept": 10 * GB,
        "free_bytes": 5 * GB, "disk_full": "2024-03-06 10:00:00",
    }  # fmt: skip
    assert summary([], 0, NOW_S, None, 5)["disk_full"] is None
    assert "free_bytes" not in summary([], 0, NOW_S, None, None)
