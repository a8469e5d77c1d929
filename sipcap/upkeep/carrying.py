"""Doing what a plan says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sipcap.errors import SinkError
from sipcap.patterns import Pattern
from sipcap.schemas import HOMER7
from sipcap.tables import Step
from sipcap.upkeep.base import Stopping, Upkeep

_REPORT_PREFIXES: Final = ("report_capture", "rtcp_capture", "logs_capture", "dns_capture", "isup_capture")


@dataclass(frozen=True)
class Outcome:
    """What became of a step; *error* is empty if it was done, *rows* how many were deleted."""

    step: Step
    done: bool
    rows: int = 0
    error: str = ""


def form_for(upkeep: Upkeep, name: str, pattern: Pattern, existing: Iterable[str]) -> str:
    """What a new table shall hold: what its newest sibling does; without one, what its name says."""
    for sibling in sorted(existing, reverse=True):
        if pattern.matches(sibling):
            form = upkeep.form(sibling)
            if form:
                return form
    if name.startswith("hep_proto_"):
        return HOMER7
    return "report" if name.startswith(_REPORT_PREFIXES) else "sip"


def carry_out(
    upkeep: Upkeep, steps: Sequence[Step], patterns: Sequence[Pattern], stopping: Stopping = lambda: False
) -> Iterator[Outcome]:
    """Do what a plan says, one step after the other; one that fails does not keep the others from being done.

    Whatever a plan says, nothing is touched that no pattern makes.
    """
    existing = upkeep.names() if any(step.action == "create" for step in steps) else []
    for step in steps:
        if stopping():
            return
        pattern = next((pattern for pattern in patterns if pattern.matches(step.table)), None)
        assert pattern is not None, f"{step.table} is not of --table"
        try:
            if step.action == "create":
                upkeep.create(step, form_for(upkeep, step.table, pattern, existing))
                yield Outcome(step, done=True)
            elif step.action == "drop":
                yield Outcome(step, done=upkeep.drop(step, stopping))
            elif step.action == "delete":
                rows = upkeep.delete(step, stopping)
                yield Outcome(step, not stopping(), rows)
        except SinkError as error:
            yield Outcome(step, done=False, error=str(error))
