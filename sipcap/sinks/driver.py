"""What one kind of database server has to provide; ``server.py`` makes a sink of it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from sipcap.sinks.base import Row
from sipcap.sinks.budget import Budget
from sipcap.sinks.forms import Form
from sipcap.sinks.naming import Naming
from sipcap.sinks.shape import Column, Shape, Tally

LEDGER: Final = "sipcap_batches"
"""The table of the ids of committed batches (design 1.10)."""


_AWAY: Final = re.compile(
    r"refused|timed? ?out|unreachable|no route|translate host|resolve|name or service|name resolution|"
    r"no such file or directory|starting up|shutting down|can't connect",
    re.IGNORECASE,
)
"""Words of drivers and of the system for a server that cannot be reached."""


class Trouble(Enum):
    """What an error of a server means for the batch."""

    LOST = "the connection is gone"
    CLASH = "somebody else was in the way; the same again succeeds"
    BUSY = "not now"
    REFUSED = "never"


class Refused(Exception):
    """The sink itself finds that rows or their table cannot be stored."""


@dataclass(frozen=True)
class Found:
    """What the server says about a table that exists."""

    columns: Sequence[Column]
    transactional: bool = True


@dataclass(frozen=True)
class Table:
    """What is known of one table for one kind of record."""

    name: str
    shape: Shape
    transactional: bool
    form: Form


class Load:
    """The rows of a batch that go into one table; they are made to fit while they are read."""

    def __init__(self, table: Table, rows: Sequence[Row]) -> None:
        self.table = table
        self.size = len(rows)
        self.rows = rows

    def values(self, tally: Tally) -> Iterator[tuple[Any, ...]]:
        """The values of each row, in the order of the shape's columns; once more with every call."""
        fit = self.table.shape.fit
        for values in self.table.form.rows(self.rows, tally):
            yield fit(values, tally)


class Driver(ABC):
    """One connection to a database server; every method but ``disconnect`` may raise ``errors``."""

    errors: tuple[type[Exception], ...]
    """What the driver raises, what impossible values raise, and Refused."""

    takes_nul: bool
    """Whether text may hold NUL."""

    def __init__(self, place: str) -> None:
        self.place = place
        """The database, for messages."""
        self.budget: Budget | None = None
        """Of new tables and partitions; None = any number."""
        self.naming = Naming()
        """What columns are called in the tables that it creates."""
        self.is_delayed = False
        """Whether rows go in by INSERT DELAYED where the engine takes that."""

    def spend(self, name: str, shown: str) -> None:
        """Take a new table or partition off the budget; raise Refused if it is spent."""
        if self.budget is not None and not self.budget.allows(name):
            raise Refused(self.budget.reason(shown))

    @property
    @abstractmethod
    def connected(self) -> bool:
        """Whether there is a connection that may work."""

    @abstractmethod
    def connect(self) -> None:
        """Connect and set the session up."""

    @abstractmethod
    def disconnect(self) -> None:
        """Drop the connection, whatever its state; may be called twice."""

    def interrupt(self) -> None:  # noqa: B027  # not every driver has a way
        """Make what another thread waits for fail soon, if that can be done; returns at once."""

    @abstractmethod
    def trouble(self, error: Exception) -> Trouble:
        """What one of ``errors`` means."""

    @abstractmethod
    def text(self, error: Exception) -> str:
        """What one of ``errors`` says, in one line."""

    def is_away(self, error: Exception) -> bool:
        """Whether an error of ``connect`` says that no server answers; one that refuses us answers."""
        return not self.connected and _AWAY.search(self.text(error)) is not None

    def check_name(self, name: str) -> None:
        """Raise Refused for a name that no table of messages can have."""
        if not name or "\0" in name:
            raise Refused(f"no table can be called {name!r}")
        if name.lower() == LEDGER:
            raise Refused(f"{name}: reserved, no table for messages")

    @abstractmethod
    def find(self, name: str) -> Found | None:
        """Look at a table; None if there is none of this name."""

    @abstractmethod
    def create(self, kind: str, name: str) -> None:
        """Create a table as ``sql/<database>/<kind>.sql`` has it; another process may do so at the same time."""

    def make_room(self, loads: Sequence[Load]) -> None:  # noqa: B027  # not every database has something to do
        """Create what tables need for these rows, outside a transaction; most need nothing."""

    @abstractmethod
    def begin(self) -> None:
        """Begin a transaction."""

    @abstractmethod
    def claim(self, batch_id: str, now_s: int) -> bool:
        """Enter a batch in the ledger, within the transaction; false if it is there already."""

    @abstractmethod
    def store(self, loads: Sequence[Load], tally: Tally) -> None:
        """Store rows, within the transaction."""

    @abstractmethod
    def commit(self) -> None:
        """End the transaction for good."""

    @abstractmethod
    def rollback(self) -> None:
        """Undo the transaction, if there is one."""

    @abstractmethod
    def clean_ledger(self, before_s: int) -> None:
        """Delete old batch ids, outside a transaction."""


def one_line(text: str) -> str:
    """The first line of what a server says; the others repeat captured text or the statement."""
    return (text.strip().splitlines() or [""])[0]
