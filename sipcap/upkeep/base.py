"""What a database has to do so that its tables can be looked after, and how a plan is carried out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sipcap.errors import SinkError
from sipcap.patterns import Pattern
from sipcap.tables import Piece, Step

_REPORT_PREFIXES = ("report_capture", "rtcp_capture", "logs_capture", "dns_capture", "isup_capture")

Stopping = Callable[[], bool]
"""Asked between bounded steps; true ends it after the one that is being done."""


class Upkeep(ABC):
    """A connection that looks at tables and changes them, in steps so small that capture goes on beside them.

    Every method raises SinkError, with one line that has no secret, if the database does not do it now; whoever else
    looks after the same tables at the same time does no harm.
    """

    place: str
    """The database, for messages."""

    @abstractmethod
    def open(self, *, create: bool = False) -> None:
        """Connect; *create*: an SQLite file is made if there is none. Raises CannotStart."""

    @abstractmethod
    def close(self) -> None:
        """Disconnect; may be called twice."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names of all tables; of a partitioned one, that of the whole."""

    @abstractmethod
    def look(self, names: Collection[str]) -> list[Piece]:
        """Sizes, rows and times of tables and their partitions; of one that is gone, nothing."""

    @abstractmethod
    def form(self, table: str) -> str:
        """What a table holds: ``sip``, ``report``, ``homer7``; "" if none of these."""

    @abstractmethod
    def nth_oldest(self, table: str, number: int) -> int | None:
        """The time of the n-th oldest row in microseconds, counted from 1; None if there are fewer."""

    @abstractmethod
    def create(self, step: Step, form: str) -> None:
        """Create a table, or a partition, as the sinks do; no harm if it is there."""

    @abstractmethod
    def drop(self, step: Step, stopping: Stopping) -> bool:
        """Drop a table or a partition; whether it was there, and is gone."""

    @abstractmethod
    def delete(self, step: Step, stopping: Stopping) -> int:
        """Delete the rows of a table before a time, in bounded batches; how many there were."""

    def settle(self, stopping: Stopping) -> int:
        """Give space back to the system; how many bytes."""
        del stopping
        return 0

    def room_bytes(self) -> int | None:
        """Free bytes of the disk that the database is on; None if that cannot be known from here."""
        return None


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
        return "homer7"
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
