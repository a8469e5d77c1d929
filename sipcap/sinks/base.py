"""What every sink of records can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from sipcap.record import Record


class Row(NamedTuple):
    """A record on its way into a table, with the keys that sipcap does not know."""

    record: Record
    unknown: dict[str, Any]


class Adjusted(NamedTuple):
    """Rows of a stored batch that a table could not take exactly as they are (design 1.6)."""

    truncated: int = 0
    """Text was cut to the width of its column."""
    sanitised: int = 0
    """Characters that the table's character set cannot hold were replaced."""


class Sink(Protocol):
    """Stores batches; a batch is stored whole or not at all."""

    def open(self) -> None:
        """Connect; raises CannotStart with one line that says why and not the password."""

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch in one transaction over all its tables; missing tables are created.

        A batch whose id is already stored is not stored again: its commit was in doubt.

        Raises:
            SinkError: nothing of the batch is stored. ``transient`` tells whether the same batch may
                succeed later, or a row of it will never be taken.
        """

    def close(self) -> None:
        """Disconnect; may be called twice."""


def is_in_process(sink: object) -> bool:
    """Whether a sink does the database's work itself (SQLite, files): then reading beside it gains nothing.

    Its attribute of that name says so.
    """
    return bool(getattr(sink, "is_in_process", False))


@runtime_checkable
class RemembersBatches(Protocol):
    """What a sink with a ledger may have besides: it forgets the ids of batches after a time."""

    def remember_since(self, oldest_s: Callable[[], float]) -> None:
        """Keep the ids of batches at least since a time, which is asked for when ids are deleted.

        Args:
            oldest_s: seconds since 1970 when the oldest batch was given up that may still come; infinity = none.
        """


@runtime_checkable
class Interruptible(Protocol):
    """What a sink may have besides: a way to end a write that does not come back."""

    def interrupt(self) -> None:
        """Make the write that runs in another thread fail soon, and never repeat it; returns at once.

        Nothing is written afterwards. Whether a commit that was interrupted took place stays open.
        """
