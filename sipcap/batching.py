"""Records to batches, and what happens to a batch that the database does not take (design 1.10)."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import SinkError, Unwritten
from sipcap.recovering import Batch, Part, Recovery, Refused, count_stored, rows_in, split
from sipcap.sinks.base import Row, Sink
from sipcap.spool import SpoolPlace
from sipcap.throttle import Throttle

_LOGGER = logging.getLogger("sipcap")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_MAX_CHARACTERS = (
    64 << 20
)  # of what one batch was read from: 2,000 of a megabyte, or of a line's 8, would fill the memory
_LOOK_S = 0.1  # a pause is no longer than this without a look at whether to stop


@dataclass(frozen=True)
class BatchOptions:
    """When a batch is written and how often it is tried.

    ``retries`` further attempts follow a failed one, None = without end; if they are counted, none begins
    later than ``retry_timeout_s`` after the first.
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
        counters: ``stored``, ``reported``, ``retries``, ``dead_letter``, ``spooled``, ``recovered``,
            ``dropped{database|dead_letter|spool_full}``.
        dead_letters: where refused rows go; None = they are dropped and counted.
        stopping: ends all retries.
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
        self.counters = self._counters = counters
        self._dead_letters = dead_letters
        self._stopping = stopping
        self._tables: dict[str, list[Row]] = {}
        self._size = 0
        self._characters = 0
        self._due_s = float("inf")
        self._writer_id = uuid.uuid4().hex
        self._number = 0
        self._refusals = Throttle("%s; %d record(s) to %s")
        self._given_up = 0
        self._recovery = None if place is None else Recovery(sink, place, counters, self._bury_refused)

    @property
    def due_s(self) -> float:
        """When the batch must be written, on the monotonic clock; infinity if it is empty."""
        return self._due_s

    def add(self, table: str, row: Row, length: int = 0) -> None:
        """Add one record; a full batch is written at once.

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
            self.flush()

    @property
    def given_up(self) -> int:
        """Records that the database should have taken and that are in the dead-letter file instead."""
        return self._given_up

    @property
    def unwritten(self) -> int:
        """Records that the database should have taken and that exist nowhere, or in the dead-letter file alone.

        A row in that file that was refused for itself does not count: that is what the file is for.
        """
        dropped = self._counters.dropped
        return self._given_up + dropped["database"] + dropped["dead_letter"] + dropped["spool_full"]

    def flush(self) -> None:
        """Write what has been collected.

        Raises:
            Unwritten: the database does not take it, and there is no dead-letter file or it takes nothing
                either. The records are counted as dropped.
        """
        tables, self._tables = self._tables, {}
        self._size = self._characters = 0
        self._due_s = float("inf")
        if not tables:
            return
        batch = self._new_batch(tables)
        if self._recovery is not None and self._recovery.error is not None and not self._recovery.may_try:
            self._give_up([batch], self._recovery.error)
        else:
            self._write(batch)

    @property
    def is_recovering(self) -> bool:
        """Whether something waits in the spool that can be tried now."""
        return self._recovery is not None and self._recovery.is_due

    def recover(self) -> bool:
        """Try one batch of the spool, due or not; returns whether that brought us on."""
        return self._recovery is not None and self._recovery.step()

    def take_in(self, batch_id: str, tables: Part) -> None:
        """Write a batch that has an id already, after what has been collected; raises as ``flush``."""
        self.flush()
        self._write(Batch(batch_id, tables))

    def _new_batch(self, part: Part) -> Batch:
        self._number += 1
        return Batch(f"{self._writer_id}-{self._number}", part)

    def _write(self, whole: Batch) -> None:
        """Write a batch; if rows of it are refused, write its parts until these are alone."""
        batches = [whole]
        refused: list[Refused] = []
        away: SinkError | None = None
        while batches and away is None:
            batch = batches.pop()
            error = self._try(batch)
            if error is None:
                continue
            if error.transient:
                away = error
                batches.append(batch)  # with its id: perhaps it was committed
            elif smaller := split(batch.part):
                batches += map(self._new_batch, reversed(smaller))
            else:
                ((name, (row,)),) = batch.part.items()
                refused.append(Refused(name, row, str(error)))
        self._bury_refused(refused)
        if away is not None:
            if self._recovery is not None:
                self._recovery.fail(away)
            self._give_up(batches, away)

    def _try(self, batch: Batch) -> SinkError | None:
        """Write one part with its retries; returns why it failed, None if it did not."""
        retries = self._options.retries
        if self._recovery is not None and self._recovery.error is not None:
            retries = 0  # this only looks whether the database is back
        until_s = float("inf") if retries is None else time.monotonic() + self._options.retry_timeout_s
        pause_s = _FIRST_PAUSE_S
        attempt = 0
        while True:
            try:
                adjusted = self._sink.write(*batch)
            except SinkError as error:
                is_last = attempt == retries or time.monotonic() + pause_s > until_s
                if not error.transient or is_last or self._stopping():
                    return error
                if attempt == 0:
                    _LOGGER.warning("%s; trying again", error)
            else:
                count_stored(self._counters, batch.part, adjusted)
                if attempt:
                    _LOGGER.info("the database takes records again")
                if self._recovery is not None:
                    self._recovery.succeed()
                return None
            attempt += 1
            self._counters.retries += 1
            self._pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _pause(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0 and not self._stopping():
            time.sleep(min(left_s, _LOOK_S))

    def _bury_refused(self, refused: Sequence[Refused]) -> None:
        """Put refused rows aside; a dead-letter file that is full must not keep the other rows out of the database."""
        for (name, reason), group in groupby(refused, key=lambda row: (row.table, row.reason)):
            rows = [entry.row for entry in group]
            failure = self._bury(name, rows, reason)
            if self._dead_letters is None:
                self._counters.dropped["database"] += len(rows)
                self._refusals.warning(reason, len(rows), "nowhere: refused, and no --dead-letter file is set")
            elif failure is not None:
                self._counters.dropped["dead_letter"] += len(rows)
                self._refusals.warning(reason, len(rows), f"nowhere: refused, and no dead letters: {failure.strerror}")
            else:
                self._refusals.warning(reason, len(rows), "the dead-letter file")

    def _give_up(self, batches: Sequence[Batch], error: SinkError) -> None:
        """The database is away: what it has not taken goes to the spool, else to the dead-letter file."""
        if self._recovery is not None:
            batches = self._recovery.keep(batches, error)
        failure: OSError | None = None
        lost = 0
        for name, rows in (item for batch in batches for item in batch.part.items()):
            failure = failure or self._bury(name, rows, str(error))
            if self._dead_letters is None or failure is not None:
                lost += len(rows)
            else:
                self._given_up += len(rows)
        if lost:
            self._lose(lost, error, failure)
        elif batches:
            self._refusals.warning(error, sum(rows_in(batch.part) for batch in batches), "the dead-letter file")

    def _lose(self, lost: int, error: SinkError, failure: OSError | None) -> None:
        """Count what has no place; whoever has a spool goes on nevertheless: the database may come back."""
        if self._recovery is not None:
            self._counters.dropped["spool_full"] += lost
            self._refusals.warning(error, lost, "nowhere: the spool takes no more")
            return
        if failure is None:
            self._counters.dropped["database"] += lost
            raise Unwritten(f"{error}; {lost} record(s) that were read could not be stored")
        self._counters.dropped["dead_letter"] += lost
        raise Unwritten(f"{error}; cannot write dead letters either: {failure.strerror}")

    def _bury(self, table: str, rows: Sequence[Row], reason: str) -> OSError | None:
        """Write dead letters, if there is a file for them; returns why that failed."""
        if self._dead_letters is not None:
            try:
                self._dead_letters.write(table, rows, reason)
            except OSError as error:
                return error
            self._counters.dead_letter += len(rows)
        return None
