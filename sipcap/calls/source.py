"""What a search reads: tables of whatever kind, each as streams of places in the order of time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sipcap.calls.query import Query
from sipcap.calls.rebuild import Found


@dataclass
class Block:
    """Where rows that match are, in the order of time: their times in microseconds, and a key that finds each."""

    times: array[int] = field(default_factory=lambda: array("q"))
    keys: array[int] = field(default_factory=lambda: array("q"))


class Source(ABC):
    """One table, for one query."""

    name: str

    @abstractmethod
    def streams(self) -> list[Iterator[Block]]:
        """All matching rows, as streams of which each is in the order of time; a block may be empty.

        Raises:
            Gone: the table is not there any more; also while a stream is read.
        """

    @abstractmethod
    def found(self, block: Block, keys: Sequence[int]) -> Iterable[tuple[int, int, Found]]:
        """The rows of some keys of a block, in any order: time, key and record. Raises Gone."""


class Tables(Protocol):
    """The tables of a database, for a search."""

    place: str
    """The database, for messages."""

    def names(self) -> list[str]:
        """The names of all tables; raises CannotStart."""

    def source(self, name: str, query: Query) -> Source | None:
        """A table; None if nothing of it can match, which has been said. Raises CannotStart and Gone."""

    def close(self) -> None:
        """Disconnect; may be called twice."""
