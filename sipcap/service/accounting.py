"""One sum over the stages of a service: what came in at the first one, and what became of it (design 1.9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sipcap.counters import Counters


def added(parts: Iterable[Counters]) -> Counters:
    """The sum of counters."""
    total = Counters()
    for part in parts:
        total.add(part.as_dict())
    return total


def joined(stages: Sequence[Counters]) -> Counters:
    """The counters of all stages as those of one.

    In every stage but the last, ``stored`` and ``reported`` mean handed on to the next one. What was handed on and
    not taken yet is ``pending``. A process that was killed may have handed on more than it could say: so much less of
    what it had is lost, or so much more was received.

    Args:
        stages: in the order of a message's way; each is balanced for itself.
    """
    total = Counters()
    handed_on = 0
    for place, stage in enumerate(stages):
        part = Counters()
        part.add(stage.as_dict())
        if place:
            _meet(total, handed_on, part.received)
            part.received = 0
        if place < len(stages) - 1:
            handed_on = part.stored + part.reported
            part.stored = part.reported = 0
        total.add(part.as_dict())
    for reasons in (total.filtered, total.rejected, total.dropped):
        for reason in [reason for reason, count in reasons.items() if not count]:
            del reasons[reason]
    return total


def _meet(total: Counters, handed_on: int, taken: int) -> None:
    """Account for the difference between what stages before have handed on and what the next one has taken."""
    if handed_on >= taken:
        total.pending += handed_on - taken
        return
    unsaid = taken - handed_on
    for reason in ("worker_killed", "output", "drain_timeout"):
        found = min(unsaid, total.dropped[reason])
        total.dropped[reason] -= found
        unsaid -= found
    found = min(unsaid, total.pending)
    total.pending -= found
    total.received += unsaid - found


def settle_spool(total: Counters, left: int) -> None:
    """What processes of ours left in the spool and their successors have taken out is neither waiting nor foreign.

    Args:
        total: with what the successors have ``recovered``.
        left: what the former ones had ``spooled`` at their end; it is a part of the total.
    """
    found = min(left, total.recovered)
    total.spooled -= found
    total.recovered -= found


def lose_pending(total: Counters, reason: str) -> None:
    """Nothing is under way any more: what still counts as such is lost."""
    if total.pending:
        total.dropped[reason] += total.pending
        total.pending = 0
