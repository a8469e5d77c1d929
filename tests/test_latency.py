"""Histograms of durations: buckets, and adding up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.latency import BOUNDS_S, Histogram

DURATIONS = st.lists(st.floats(0, 1000))


def histogram(durations: list[float]) -> Histogram:
    """One that has measured these."""
    found = Histogram()
    for seconds in durations:
        found.observe(seconds)
    return found


@pytest.mark.parametrize("number", range(len(BOUNDS_S)))
def test_observe_a_bound_belongs_to_its_bucket(number: int) -> None:
    """As in Prometheus: less than or equal."""
    counts = histogram([BOUNDS_S[number]]).counts
    assert counts == [int(each == number) for each in range(len(BOUNDS_S) + 1)]


def test_observe_what_is_longer_than_all_bounds_is_counted() -> None:
    """In the last bucket."""
    assert histogram([1e9]).counts[-1] == 1


def test_observe_a_clock_that_went_back_is_nothing() -> None:
    """No sum becomes smaller."""
    found = histogram([-5.0])
    assert (found.count, found.sum_s, found.counts[0]) == (1, 0.0, 1)


@given(DURATIONS, DURATIONS)
def test_add_is_as_if_one_had_measured_all(some: list[float], others: list[float]) -> None:
    """Also through JSON, as between processes."""
    added = histogram(some)
    added.add(json.loads(json.dumps(histogram(others).as_dict())))
    whole = histogram([*some, *others])
    assert added.counts == whole.counts
    assert added.count == whole.count == sum(whole.counts)
    assert added.sum_s == pytest.approx(whole.sum_s)


def test_add_other_buckets_is_refused() -> None:
    """Rather than to count wrongly."""
    other = Histogram().as_dict() | {"bounds_s": [1.0]}
    with pytest.raises(ValueError, match="buckets"):
        Histogram().add(other)
