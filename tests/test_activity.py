"""What the traffic consists of: exact counts where they are few, bounded where they are many."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.activity import METHODS, Activity, TopCounts
from sipcap.limits import TOP_ENTRIES, TOP_KEY_CHARS
from sipcap.record import Record
from tests.support.records import report_record, sip_record


def request(method: str = "INVITE", agent: str = "", source: str = "10.0.0.1") -> Record:
    """A SIP request."""
    return sip_record(method=method, type=1, user_agent=agent, source_ip=source)


def reply(status: str) -> Record:
    """A SIP reply."""
    return sip_record(method=status, type=2, user_agent="", source_ip="10.0.0.2")


def test_count_sorts_records_by_what_they_are() -> None:
    """Requests by method, replies by class, reports apart."""
    activity = Activity()
    activity.count([request(), request("BYE"), request(), reply("180"), reply("200"), reply("202"), report_record()])
    assert activity.methods == {"INVITE": 2, "BYE": 1}
    assert activity.statuses == {"1xx": 1, "2xx": 2}
    assert (activity.requests, activity.replies, activity.reports) == (3, 3, 1)


def test_count_names_sources_and_user_agents() -> None:
    """A message without a user agent counts for none."""
    activity = Activity()
    activity.count([request(agent="A"), request(agent="B", source="::1"), request(agent="A"), request()])
    assert activity.as_dict()["user_agents"] == {"A": 2, "B": 1}
    assert activity.as_dict()["sources"] == {"10.0.0.1": 3, "::1": 1}


@pytest.mark.parametrize("method", ["invite", "X" * 1000, "INVITE\x1b[2J", ""])
def test_count_methods_that_nobody_knows_are_other(method: str) -> None:
    """Labels of metrics cannot be invented by those who send."""
    activity = Activity()
    activity.count([request(method)])
    assert activity.methods == {"other": 1}


@pytest.mark.parametrize("status", ["000", "799", "", "\x1b00"])
def test_count_statuses_that_do_not_exist_are_other(status: str) -> None:
    """The same for replies."""
    activity = Activity()
    activity.count([reply(status)])
    assert activity.statuses == {"other": 1}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_count_every_registered_method_has_its_name(method: str) -> None:
    """All of IANA's list."""
    activity = Activity()
    activity.count([request(method)])
    assert activity.methods == {method: 1}


def test_count_cuts_long_names() -> None:
    """A user agent of a megabyte takes no megabyte."""
    activity = Activity()
    activity.count([request(agent="x" * 1_000_000)])
    assert activity.as_dict()["user_agents"] == {"x" * TOP_KEY_CHARS: 1}


def test_add_is_as_if_one_had_counted_all() -> None:
    """Through JSON, as between processes, while the names are few."""
    records = [
        request(random.choice(["BYE", "ACK"]), f"agent {number % 7}", f"10.0.0.{number % 5}") for number in range(99)
    ]
    records += [reply("200"), report_record()]
    whole, first, second = Activity(), Activity(), Activity()
    whole.count(records)
    first.count(records[:40])
    second.count(records[40:])
    first.add(json.loads(json.dumps(second.as_dict())))
    assert first.as_dict() == whole.as_dict()


@given(st.lists(st.lists(st.sampled_from("abcdefgh"))))
def test_top_of_few_keys_is_exact(batches: list[list[str]]) -> None:
    """Nothing is missed before there are more keys than places."""
    top, exact = TopCounts(), Counter(key for batch in batches for key in batch)
    for batch in batches:
        top.update(batch)
    assert top.most() == (exact, 0)


def test_top_under_a_flood_of_keys_is_bounded_and_says_by_how_much_it_is_wrong() -> None:
    """Spoofed sources push nobody out who sends much; counts are never too high, and too low by ``missed`` at most."""
    random.seed(5)
    top, exact = TopCounts(), Counter[str]()
    for batch in range(200):
        keys = [f"{random.random()}" for _ in range(500)] + ["big"] * 20 + ["small"] * 3
        random.shuffle(keys)
        top.update(keys)
        exact.update(keys)
        assert len(top.counts) <= 2 * TOP_ENTRIES + 500
        assert batch < 200
    for number in (1, 10, TOP_ENTRIES):
        most, missed = top.most(number)
        assert len(most) <= number
        assert missed <= exact.total() / number
        assert next(iter(most)) == "big"
        assert all(exact[key] - missed <= count <= exact[key] for key, count in most.items())
    assert top.missed <= exact.total() / TOP_ENTRIES


@pytest.mark.parametrize("number", [100, TOP_ENTRIES])
def test_top_of_many_processes_keeps_its_promise(number: int) -> None:
    """Added up, the error stays within what ``missed`` says."""
    random.seed(6)
    total, exact = TopCounts(), Counter[str]()
    for worker in range(8):
        one = TopCounts()
        for _ in range(10):
            keys = [f"{worker} {random.random()}" for _ in range(400)] + ["big"] * 30
            one.update(keys)
            exact.update(keys)
        published, missed_there = one.most(number)
        total.add(json.loads(json.dumps(published)), missed_there)
    most, missed = total.most()
    assert len(most) <= TOP_ENTRIES
    assert exact["big"] - missed <= most["big"] <= exact["big"]
    assert missed < exact["big"]
