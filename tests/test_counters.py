"""The counters and their identity."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.counters import Counters

PLAIN = (
    "received", "recovered", "stored", "reported", "dead_letter", "spooled", "pending", "kernel_dropped", "datagrams",
    "packets", "truncated", "sanitised", "clock_skew", "retries", "bytes",
    "hook_calls", "hook_us", "forwarded", "forward_dropped",
)  # fmt: skip
BY_REASON = ("filtered", "rejected", "dropped")
BESIDE = PLAIN[7:]
"""Counted beside the identity."""

reasons = st.dictionaries(st.sampled_from(["short", "count", "database"]), st.integers(0, 10**9))
values = st.fixed_dictionaries(
    {**{name: st.integers(0, 10**12) for name in PLAIN}, **dict.fromkeys(BY_REASON, reasons)}
)


def counters_of(values: dict[str, Any]) -> Counters:
    """Counters with these values."""
    counters = Counters()
    counters.add(values)
    return counters


def test_new_counters_are_zero_and_balanced() -> None:
    """Nothing happened yet."""
    counters = Counters()
    assert counters.as_dict() == dict.fromkeys(PLAIN, 0) | {name: {} for name in BY_REASON}
    assert (counters.imbalance(), counters.trouble(), counters.summary()) == (0, False, "received 0, stored 0")


@given(values=values)
def test_as_dict_is_json_and_comes_back(values: dict[str, Any]) -> None:
    """What one process counted another one can read."""
    counters = counters_of(values)
    assert counters.as_dict() == values
    assert counters_of(json.loads(json.dumps(counters.as_dict()))).as_dict() == values


@given(one=values, other=values)
def test_add_sums_each_name_and_reason(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Counters of several processes are one sum, and so is what they cannot account for."""
    both = counters_of(one)
    both.add(other)
    for name in PLAIN:
        assert getattr(both, name) == one[name] + other[name]
    for name in BY_REASON:
        for reason in one[name] | other[name]:
            assert getattr(both, name)[reason] == one[name].get(reason, 0) + other[name].get(reason, 0)
    assert both.imbalance() == counters_of(one).imbalance() + counters_of(other).imbalance()


def test_add_takes_what_is_missing_as_zero() -> None:
    """An older process need not know every name."""
    counters = counters_of({"received": 3})
    assert counters.received == 3


@pytest.mark.parametrize("name", [*PLAIN[:7], *BY_REASON])
def test_imbalance_each_outcome_accounts_for_a_message(name: str) -> None:
    """What came in is balanced by any outcome, and by nothing else."""
    counters = counters_of({name: 5} if name in PLAIN else {name: {"a": 2, "b": 3}})
    assert counters.imbalance() == (5 if name in ("received", "recovered") else -5)
    counters.add(dict.fromkeys(BESIDE, 7))
    assert counters.imbalance() == (5 if name in ("received", "recovered") else -5)


@pytest.mark.parametrize("name", ["rejected", "dropped", "dead_letter", "filtered", "stored", "kernel_dropped"])
def test_trouble_is_what_was_rejected_dropped_or_put_aside(name: str) -> None:
    """A filter that did its work is no trouble."""
    counters = counters_of({name: {"a": 1}} if name in BY_REASON else {name: 1})
    assert counters.trouble() is (name in ("rejected", "dropped", "dead_letter"))


def test_summary_names_what_is_not_zero() -> None:
    """One line for people: numbers first, reasons in brackets, in a fixed order."""
    counters = counters_of({"received": 9, "recovered": 1, "stored": 2, "retries": 3})
    counters.dropped.update(output=4, database=1, zero=0)
    counters.rejected["short"] = 2
    counters.filtered["count"] = 0
    assert counters.summary() == (
        "received 9, stored 2, recovered 1, retries 3, rejected 2 (short 2), dropped 5 (database 1, output 4)"
    )


@given(values=values)
def test_asking_changes_nothing(values: dict[str, Any]) -> None:
    """Reading the counters, also of reasons that there are not, leaves them as they are."""
    counters = counters_of(values)
    counters.imbalance()
    counters.trouble()
    counters.summary()
    assert counters.dropped["never"] == 0
    assert counters.as_dict() == values
