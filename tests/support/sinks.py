"""A sink that fails on demand, for what a real database does too rarely, and a batcher over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sipcap.batching import Batcher, BatchOptions
from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import SinkError
from sipcap.record import Record
from sipcap.sinks.base import Adjusted, Row
from sipcap.spool import SpoolPlace
from tests.support.messages import BASE_TS_US
from tests.support.records import sip_record

Tables = Mapping[str, Sequence[Row]]
Trouble = Callable[[Tables], SinkError | None]


class MemorySink:
    """Keeps rows in lists; ``trouble``, asked at each write, may give the error to fail with."""

    def __init__(self, trouble: Trouble = lambda _tables: None) -> None:
        self.trouble = trouble
        self.tables: dict[str, list[Record]] = {}
        self.attempts: list[tuple[str, int]] = []
        self._committed: set[str] = set()

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def write(self, batch_id: str, tables: Tables) -> Adjusted:
        """Keep a batch once, or fail; one row a table was cut, one of all cleaned."""
        self.attempts.append((batch_id, sum(map(len, tables.values()))))
        error = self.trouble(tables)
        if error is not None:
            raise error
        if batch_id not in self._committed:
            self._committed.add(batch_id)
            for name, rows in tables.items():
                self.tables.setdefault(name, []).extend(row.record for row in rows)
        return Adjusted(truncated=len(tables), sanitised=1)


class Away:
    """The database is away for so many attempts."""

    def __init__(self, attempts: float = float("inf")) -> None:
        self.left = attempts

    def __call__(self, _tables: Tables) -> SinkError | None:
        """Fail with an error that passes."""
        self.left -= 1
        return SinkError("server has gone away", transient=True) if self.left >= 0 else None


class Refusing:
    """The database refuses the records of these times for themselves."""

    def __init__(self, *times: int) -> None:
        self.times = frozenset(times)

    def __call__(self, tables: Tables) -> SinkError | None:
        """Fail for good if one of them is among the rows."""
        if any(row.record.micro_ts in self.times for rows in tables.values() for row in rows):
            return SinkError("value too long", transient=False)
        return None


class Bench:
    """A batcher over a sink in memory."""

    def __init__(self, sink: MemorySink, dead_letters: Path | None = None, **options: Any) -> None:
        self.counters = Counters()
        self.sink = sink
        stopping: Callable[[], bool] = options.pop("stopping", lambda: False)
        self.letters = None if dead_letters is None else DeadLetterFile(dead_letters)
        place: SpoolPlace | None = options.pop("place", None)
        self.batcher = Batcher(sink, BatchOptions(**options), self.counters, self.letters, stopping, place)

    def add(self, first: int, count: int, table: str = "t") -> None:
        """Add records by their numbers, as what was received."""
        for number in range(first, first + count):
            self.counters.received += 1
            self.batcher.add(table, Row(sip_record(number), {}))

    def numbers(self, table: str = "t") -> list[int]:
        """The numbers of the records in a table."""
        return [record.micro_ts - BASE_TS_US for record in self.sink.tables.get(table, [])]

    @property
    def balanced(self) -> bool:
        """Whether every record that was added is accounted for."""
        return self.counters.imbalance() == 0
