"""Records to batches, and what happens to a batch that the database does not take (design 1.10)."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import SinkError, Unwritten
from sipcap.record import SipRecord
from sipcap.sinks.base import Row, Sink
from sipcap.sources.quiet import Throttle

_LOGGER = logging.getLogger("sipcap")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


@dataclass(frozen=True)
class BatchOptions:
    """When a batch is written and how often it is tried.

    ``retries`` further attempts follow a failed one, for ``retry_timeout_s`` at most; None = until told
    to stop.
    """

    size: int = 2_000
    interval_s: float = 0.5
    retries: int | None = 0
    retry_timeout_s: float = 60.0


class Batcher:
    """Collects records and writes them; nothing is lost without being counted.

    Args:
        sink: opened.
        options: sizes, times and retries.
        counters: ``stored``, ``reported``, ``retries``, ``dead_letter``, ``dropped{database}``.
        dead_letters: where refused rows go; None = they are dropped and counted.
        stopping: ends retries without a limit.
    """

    def __init__(
        self,
        sink: Sink,
        options: BatchOptions,
        counters: Counters,
        dead_letters: DeadLetterFile | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sink = sink
        self._options = options
        self._counters = counters
        self._dead_letters = dead_letters
        self._stopping = stopping
        self._tables: dict[str, list[Row]] = {}
        self._size = 0
        self._due_s = float("inf")
        self._writer_id = uuid.uuid4().hex
        self._number = 0
        self._refusals = Throttle("%s; %d record(s) to %s")

    @property
    def due_s(self) -> float:
        """When the batch must be written, on the monotonic clock; infinity if it is empty."""
        return self._due_s

    def add(self, table: str, row: Row) -> None:
        """Add one record; a full batch is written at once."""
        rows = self._tables.get(table)
        if rows is None:
            rows = self._tables[table] = []
        rows.append(row)
        self._size += 1
        if self._size == 1:
            # The write takes time as well: a fifth of the interval is left for it.
            self._due_s = time.monotonic() + 0.8 * self._options.interval_s
        if self._size >= self._options.size:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected.

        Raises:
            Unwritten: the database does not take it and there is no dead-letter file. The records are
                counted as dropped.
        """
        tables, self._tables = self._tables, {}
        self._size = 0
        self._due_s = float("inf")
        if tables:
            self._write(tables)

    def _write(self, tables: Mapping[str, Sequence[Row]]) -> None:
        self._number += 1
        error = self._try(f"{self._writer_id}-{self._number}", tables)
        if error is None:
            reports = sum(not isinstance(row.record, SipRecord) for rows in tables.values() for row in rows)
            self._counters.reported += reports
            self._counters.stored += sum(map(len, tables.values())) - reports
        elif error.transient:
            self._give_up(tables, error)
        else:
            self._bisect(tables, error)

    def _try(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> SinkError | None:
        """Write one batch with its retries; returns why it failed, None if it did not."""
        retries = self._options.retries
        until_s = time.monotonic() + self._options.retry_timeout_s
        pause_s = _FIRST_PAUSE_S
        attempt = 0
        while True:
            try:
                adjusted = self._sink.write(batch_id, tables)
            except SinkError as error:
                if not error.transient:
                    return error
                if self._stopping() if retries is None else attempt >= retries or time.monotonic() >= until_s:
                    return error
                if attempt == 0:
                    _LOGGER.warning("%s; trying again", error)
            else:
                self._counters.truncated += adjusted.truncated
                self._counters.sanitised += adjusted.sanitised
                if attempt:
                    _LOGGER.info("the database takes records again")
                return None
            attempt += 1
            self._counters.retries += 1
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _bisect(self, tables: Mapping[str, Sequence[Row]], error: SinkError) -> None:
        """A row of the batch is refused: write halves, until it is alone."""
        if len(tables) > 1:
            for name, rows in tables.items():
                self._write({name: rows})
            return
        ((name, rows),) = tables.items()
        if len(rows) > 1:
            half = len(rows) // 2
            self._write({name: rows[:half]})
            self._write({name: rows[half:]})
            return
        if self._dead_letters is None:
            self._counters.dropped["database"] += 1
            self._refusals.warning(error, 1, "nowhere: refused, and no --dead-letter file is set")
        else:
            self._bury(self._dead_letters, name, rows, str(error))

    def _give_up(self, tables: Mapping[str, Sequence[Row]], error: SinkError) -> None:
        if self._dead_letters is not None:
            for name, rows in tables.items():
                self._bury(self._dead_letters, name, rows, str(error))
            return
        lost = sum(map(len, tables.values()))
        self._counters.dropped["database"] += lost
        raise Unwritten(f"{error}; {lost} record(s) that were read could not be stored")

    def _bury(self, dead_letters: DeadLetterFile, table: str, rows: Sequence[Row], reason: str) -> None:
        try:
            dead_letters.write(table, rows, reason)
        except OSError as error:
            self._counters.dropped["dead_letter"] += len(rows)
            raise Unwritten(f"{reason}; cannot write dead letters either: {error.strerror}") from None
        self._counters.dead_letter += len(rows)
        self._refusals.warning(reason, len(rows), "the dead-letter file")
