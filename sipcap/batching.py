"""Records to batches: when they are written, and how far reading may be ahead of writing (design 1.4 and 1.10)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sipcap.backlog import Backlog
from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.limits import ASYNC_BATCHES, BATCH_CHARACTERS
from sipcap.recovering import Batch, Part
from sipcap.sinks.base import Row, Sink, is_in_process
from sipcap.spool import SpoolPlace
from sipcap.writing import BatchWriter, Retries

INSERT_MODES: Final = ("plain", "delayed", "async")
"""How a batch is inserted, in the order of the module's ``db_insert_mode`` 0, 1, 2 (spec 1.1)."""

_MAX_CHARACTERS = BATCH_CHARACTERS


def batches_ahead(insert_mode: str) -> int:
    """How many batches may be on their way while the next is read: see ``BatchOptions``."""
    return ASYNC_BATCHES if insert_mode == "async" else 1


@dataclass(frozen=True)
class BatchOptions:
    """When a batch is written and how often it is tried.

    ``retries`` further attempts follow a failed one, None = without end; if they are counted, none begins
    later than ``retry_timeout_s`` after the first. ``ahead`` batches may be on their way while the next is read; one
    is none where the sink works in this process, because they would wait for each other (SQLite: 10 to 20 % slower).
    A batch has a ``deadline`` if ``stopping`` ends an attempt that does not come back, see Backlog.
    """

    size: int = 2_000
    interval_s: float = 0.5
    retries: int | None = 0
    retry_timeout_s: float = 60.0
    ahead: int = 0
    deadline: bool = False


class Batcher:
    """Collects records and has them written; nothing is lost without being counted.

    Args:
        sink: opened.
        options: sizes, times and retries.
        counters: ``stored``, ``reported``, ``retries``, ``dead_letter``, ``spooled``, ``recovered``,
            ``dropped{database|dead_letter|spool_full}``.
        dead_letters: where refused rows go; None = they are dropped and counted.
        stopping: ends all retries; an attempt that is running then is given a few seconds, see Backlog.
        place: where batches wait while the database is away; None = there is no such place.
    """

    def __init__(
        self,
        sink: Sink,
        options: BatchOptions,
        counters: Counters,
        dead_letters: DeadLetterFile | None = None,
        stopping: Callable[[], bool] = lambda: False,
        place: SpoolPlace | None = None,
    ) -> None:
        self._sink = sink
        self._options = options
        self.counters = counters
        retries = Retries(options.retries, options.retry_timeout_s)
        self._ahead = 0 if options.ahead == 1 and is_in_process(sink) else options.ahead
        self._writer = BatchWriter(sink, retries, counters, dead_letters, stopping, place)
        self._backlog = self._new_backlog(stopping)
        self._tables: dict[str, list[Row]] = {}
        self._size = 0
        self._characters = 0
        self._due_s = float("inf")

    def _new_backlog(self, stopping: Callable[[], bool]) -> Backlog | None:
        if not self._options.ahead and not self._options.deadline:
            return None
        return Backlog(self._writer, self._sink, max(self._ahead, 1), stopping)

    @property
    def due_s(self) -> float:
        """When the batch must be written, on the monotonic clock; infinity if it is empty."""
        return self._due_s

    def add(self, table: str, row: Row, length: int = 0) -> None:
        """Add one record; a full batch is sent.

        Args:
            table: where it goes.
            row: the record.
            length: of the text that it was read from, which is what it takes in memory; its message counts anyway.
        """
        rows = self._tables.get(table)
        if rows is None:
            rows = self._tables[table] = []
        rows.append(row)
        self._size += 1
        self._characters += max(length, len(row.record.msg))
        if self._size == 1:
            # The write takes time as well: a fifth of the interval is left for it.
            self._due_s = time.monotonic() + 0.8 * self._options.interval_s
        if self._size >= self._options.size or self._characters >= _MAX_CHARACTERS:
            self.send()

    @property
    def given_up(self) -> int:
        """Records that the database should have taken and that are in the dead-letter file instead."""
        return self._writer.given_up

    @property
    def unwritten(self) -> int:
        """Records that the database should have taken and that exist nowhere, or in the dead-letter file alone.

        A row in that file that was refused for itself does not count: that is what the file is for.
        """
        return self._writer.unwritten

    @property
    def pending(self) -> int:
        """Records that were added and of which nothing is counted yet."""
        return self._size + (self._backlog.pending if self._backlog is not None else 0)

    def send(self) -> None:
        """Have written what has been collected; waits until there is room for it on the way, not until it is stored.

        Raises:
            Unwritten: the database does not take this or an earlier batch, and there is no dead-letter file or it
                takes nothing either. The records are counted as dropped.
        """
        tables, self._tables = self._tables, {}
        characters, self._characters = self._characters, 0
        self._size = 0
        self._due_s = float("inf")
        if not tables:
            return
        batch = self._writer.new_batch(tables)
        if self._backlog is not None:
            self._backlog.put(batch, characters)
            if not self._ahead:
                self._backlog.wait()
        else:
            self._writer.write_live(batch)

    def flush(self) -> None:
        """Write what has been collected, and wait until all has found its place; raises as ``send``."""
        self.send()
        if self._backlog is not None:
            self._backlog.wait()

    @property
    def is_recovering(self) -> bool:
        """Whether something waits in the spool that can be tried now; false while batches are on their way."""
        return (self._backlog is None or self._backlog.is_idle) and self._writer.is_recovering

    def recover(self) -> bool:
        """Try one batch of the spool, due or not; returns whether that brought us on."""
        return self._writer.recover() if self._backlog is None else self._backlog.recover()

    def take_in(self, batch_id: str, tables: Part) -> None:
        """Write a batch that has an id already, after what has been collected; raises as ``flush``."""
        self.flush()
        batch = Batch(batch_id, tables)
        if self._backlog is None:
            self._writer.write(batch)
        else:
            self._backlog.write(batch)

    def close(self) -> None:
        """Disconnect the sink, unless an attempt hangs in it; what was added has been flushed. May be called twice."""
        if self._backlog is not None:
            self._backlog.close()
            if self._backlog.is_abandoned:
                return
        self._sink.close()
