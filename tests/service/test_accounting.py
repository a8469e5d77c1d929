"""One sum over stages: it is balanced, whatever stood in shared memory when somebody looked or died."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sipcap.counters import Counters
from sipcap.service.accounting import added, joined, lose_pending, settle_spool

COUNT = st.integers(0, 1_000)


@st.composite
def balanced(draw: st.DrawFn) -> Counters:
    """The counters of a stage, which are balanced for themselves."""
    found = Counters()
    for name in ("stored", "reported", "pending", "dead_letter"):
        setattr(found, name, draw(COUNT))
    found.rejected["short"] = draw(COUNT)
    found.filtered["capture_off"] = draw(COUNT)
    found.dropped["worker_killed"] = draw(COUNT)
    found.received = found.imbalance() * -1
    return found


def stage(received: int, stored: int = 0, **more: int) -> Counters:
    """A stage with these counters; the rest of what it received is ``pending``."""
    found = Counters()
    found.received, found.stored = received, stored
    found.dropped.update(more)
    found.pending = found.imbalance()
    return found


@given(stages=st.lists(balanced(), min_size=1, max_size=4))
def test_joined_stages_are_balanced(stages: list[Counters]) -> None:
    """Whatever each of them says: nothing is accounted for nowhere, and nothing is negative."""
    total = joined(stages)
    assert total.imbalance() == 0
    assert min(total.received, total.stored, total.pending, *total.dropped.values(), 0) == 0


def test_joined_counts_what_is_between_two_stages_as_pending() -> None:
    """It was handed on, and the next one has not taken it."""
    total = joined([stage(100, 90), stage(60, 50)])
    assert (total.received, total.stored, total.pending) == (100, 50, 50)


def test_joined_believes_the_stage_that_took_more_than_was_said() -> None:
    """A worker that was killed had handed on more than it could say: so much less is lost."""
    total = joined([stage(100, 60, worker_killed=40), stage(90, 90)])
    assert (total.received, total.stored, total.dropped) == (100, 90, {"worker_killed": 10})
    total = joined([stage(100, 60, worker_killed=40), stage(130, 130)])
    assert (total.received, total.stored, total.dropped) == (130, 130, {})


def test_lost_is_what_nobody_has_any_more() -> None:
    """At the end, what still counts as under way has found no place."""
    total = joined([stage(100, 100), stage(60, 60)])
    lose_pending(total, "drain_timeout")
    assert (total.pending, total.dropped, total.imbalance()) == (0, {"drain_timeout": 40}, 0)


def test_spool_that_successors_emptied_is_neither_waiting_nor_foreign() -> None:
    """What a process left there and its successor stored was received once and is stored once."""
    first, second = Counters(), Counters()
    first.received = first.spooled = 10
    second.recovered = second.stored = 12
    total = added([first, second])
    settle_spool(total, 10)
    assert (total.received, total.recovered, total.stored, total.spooled, total.imbalance()) == (10, 2, 12, 0, 0)
