"""What changed between two looks at a service."""

from __future__ import annotations

import pytest

from sipcap.service.rates import Change
from tests.support.controlling import SmallService


def test_first_look_has_no_rates() -> None:
    """There is nothing to compare with."""
    service = SmallService()
    service.counters.received = 5
    change = Change(None, service.stats(), 1.0)
    assert change.counter("received") is None
    assert [row.rate for row in change.counters()] == [None] * 3


def test_rates_are_by_second() -> None:
    """Of plain counters, and of those by reason together."""
    service = SmallService()
    before = service.stats()
    service.counters.received, service.counters.stored = 100, 80
    service.counters.rejected.update({"short": 6, "chunk": 4})
    change = Change(before, service.stats(), 2.0)
    assert change.counter("received") == 50.0
    assert change.counter("rejected", "dropped") == 5.0
    assert {row.name: (row.count, row.rate) for row in change.counters()} == {
        "received": (100, 50.0), "stored": (80, 40.0), "reported": (0, 0.0), "rejected short": (6, 3.0),
        "rejected chunk": (4, 2.0),
    }  # fmt: skip


def test_gauges_have_no_rate() -> None:
    """What is on its way is not counted up."""
    service = SmallService()
    before = service.stats()
    service.counters.pending = 9
    change = Change(before, service.stats(), 1.0)
    assert next(row for row in change.counters() if row.name == "pending").rate is None


def test_top_has_who_sends_most_now() -> None:
    """Before who has sent most ever."""
    service = SmallService()
    service.activity.sources.update(["old"] * 100 + ["new"])
    before = service.stats()
    service.activity.sources.update(["new"] * 10 + ["other"] * 3)
    rows = Change(before, service.stats(), 1.0).top("sources", 2)
    assert [(row.name, row.count, row.rate) for row in rows] == [("new", 11, 10.0), ("other", 3, 3.0)]


def test_top_of_counts_that_shrink_is_not_negative() -> None:
    """Others that push in take from a count."""
    service = SmallService()
    service.activity.sources.update(["a"] * 9)
    before = service.stats()
    service.activity.sources.counts["a"] = 4
    assert Change(before, service.stats(), 1.0).top("sources", 1)[0].rate == 0.0


@pytest.mark.parametrize("key", ["pid", "started_us"])
def test_restarted_service_has_no_rates(key: str) -> None:
    """Its counters begin anew."""
    service = SmallService()
    before = service.stats() | {key: 1}
    assert Change(before, service.stats(), 1.0).counter("received") is None


def test_latency_is_that_of_the_interval() -> None:
    """Of ever if nothing was measured in it; nothing if nothing ever was."""
    service = SmallService()
    assert Change(None, service.stats(), 1.0).latency("batch_s") == "-"
    for _ in range(100):
        service.batches.observe(0.001)
    before = service.stats()
    assert Change(before, service.stats(), 1.0).latency("batch_s") == "95 % within 1 ms"
    for _ in range(10):
        service.batches.observe(0.2)
    assert Change(before, service.stats(), 1.0).latency("batch_s") == "95 % within 250 ms"
    service.batches.observe(1e6)
    assert Change(before, service.stats(), 1.0).latency("batch_s") == "more than 60 s"
