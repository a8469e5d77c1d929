"""One batch into the database: attempts, halves, dead letters, the spool (design 1.10)."""

from __future__ import annotations

import itertools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from sipcap.counters import COUNTING, Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import SinkError, Unwritten
from sipcap.recovering import Batch, Part, Recovery, Refused, count_stored, rows_in, split
from sipcap.sinks.base import Row, Sink
from sipcap.spool import SpoolPlace
from sipcap.throttle import Throttle

_LOGGER = logging.getLogger("sipcap")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_LOOK_S: Final = 0.1  # a pause is no longer than this without a look at whether to stop
_NEVER: Final = float("inf")
LATE: Final = "the database did not answer in time"


class Retries(NamedTuple):
    """Further attempts after a failed one, None = without end; if limited, none begins later than *timeout_s*."""

    limit: int | None = 0
    timeout_s: float = 60.0


class Abandoned(Exception):
    """The attempt ended after its batch had been given up by somebody else."""


class BatchWriter:
    """Writes batches one after the other; what becomes of each row is counted.

    One thread writes. Another may, meanwhile, ``expire`` it and, if that does not help, ``abandon`` it: then what was
    being written is given up, and whatever the attempt comes to is not counted.

    Args: as Batcher.
    """

    def __init__(
        self,
        sink: Sink,
        retries: Retries,
        counters: Counters,
        dead_letters: DeadLetterFile | None,
        stopping: Callable[[], bool],
        place: SpoolPlace | None,
    ) -> None:
        self._sink = sink
        self._retries = retries
        self._counters = counters
        self._dead_letters = dead_letters
        self._stopping = stopping
        self._writer_id = uuid.uuid4().hex
        self._numbers = itertools.count(1)  # taken by more than one thread
        self._refusals = Throttle("%s; %d record(s) to %s")
        self.given_up = 0
        """Records that the database should have taken and that are in the dead-letter file instead."""
        self._recovery = None if place is None else Recovery(sink, place, counters, self._bury_refused)
        self._left: list[Batch] = []  # of the batch that is being written
        self._refused: list[Refused] = []
        self._expired: SinkError | None = None
        self._has_failed = False
        self._attempt = threading.Lock()  # guards what follows
        self._since_s = _NEVER
        self._is_abandoned = False

    @property
    def unwritten(self) -> int:
        """Records that the database should have taken and that exist nowhere, or in the dead-letter file alone.

        A row in that file that was refused for itself does not count: that is what the file is for.
        """
        dropped = self._counters.dropped
        return self.given_up + dropped["database"] + dropped["dead_letter"] + dropped["spool_full"]

    def new_batch(self, part: Part) -> Batch:
        """Give rows an id."""
        return Batch(f"{self._writer_id}-{next(self._numbers)}", part)

    def write_live(self, batch: Batch) -> None:
        """Write a batch, or put it into the spool at once while the database is known to be away; see ``write``."""
        if self._recovery is not None and self._recovery.error is not None and not self._recovery.may_try:
            self._give_up([batch], self._recovery.error)
        else:
            self.write(batch)

    @property
    def is_recovering(self) -> bool:
        """Whether something waits in the spool that can be tried now."""
        return self._expired is None and self._recovery is not None and self._recovery.is_due

    def recover(self) -> bool:
        """Try one batch of the spool, due or not; returns whether that brought us on."""
        if self._expired is not None or self._recovery is None:
            return False
        self._begin()
        try:
            return self._recovery.step(self._end)
        finally:
            self._end()

    def write(self, whole: Batch) -> None:
        """Write a batch; if rows of it are refused, write its parts until these are alone.

        Raises:
            Unwritten: the database does not take it, and there is no dead-letter file or it takes nothing
                either. The records are counted as dropped.
        """
        self._left, self._refused = [whole], []
        away: SinkError | None = None
        while self._left and away is None:
            batch = self._left[-1]  # it stays there, with its id, if it is not known to be stored
            error = self._try(batch)
            if error is None:
                self._left.pop()
            elif error.transient:
                away = error
            elif smaller := split(batch.part):
                self._left[-1:] = map(self.new_batch, reversed(smaller))
            else:
                ((name, (row,)),) = batch.part.items()
                self._left.pop()
                self._refused.append(Refused(name, row, str(error)))
        self._give_up_left(away)

    def _give_up_left(self, away: SinkError | None) -> None:
        left, self._left = self._left, []
        refused, self._refused = self._refused, []
        self._bury_refused(refused)
        if away is not None and left:
            if self._recovery is not None:
                self._recovery.fail(away)
            self._give_up(left, away)

    # A database that does not answer when the time is over.

    @property
    def attempt_since_s(self) -> float:
        """When the attempt that is running began, on the monotonic clock; infinity if there is none."""
        return self._since_s

    def expire(self) -> None:
        """Begin no further attempt: what is not written yet is given up."""
        self._expired = SinkError(LATE, transient=True)

    def abandon(self) -> bool:
        """Give up what the other thread does not come back with; false if it just came back."""
        with self._attempt:
            if self._since_s == _NEVER:
                return False
            self._is_abandoned = True
        self._give_up_left(self._expired or SinkError(LATE, transient=True))
        return True

    def _begin(self) -> None:
        with self._attempt:
            self._since_s = time.monotonic()

    def _end(self) -> None:
        """After the sink has answered; raises Abandoned if nobody waits for that any more."""
        with self._attempt:
            self._since_s = _NEVER
            if self._is_abandoned:
                raise Abandoned

    def _try(self, batch: Batch) -> SinkError | None:
        """Write one part with its retries; returns why it failed, None if it did not."""
        retries = self._retries.limit
        if self._has_failed or (self._recovery is not None and self._recovery.error is not None):
            retries = 0  # this only looks whether the database is back
        until_s = _NEVER if retries is None else time.monotonic() + self._retries.timeout_s
        pause_s = _FIRST_PAUSE_S
        attempt = 0
        while self._expired is None:
            self._begin()
            try:
                adjusted = self._sink.write(*batch)
            except SinkError as error:
                self._end()
                is_last = attempt == retries or time.monotonic() + pause_s > until_s
                if not error.transient or is_last or self._stopping():
                    return error
                if attempt == 0:
                    _LOGGER.warning("%s; trying again", error)
            except BaseException:
                self._end()
                raise
            else:
                self._end()
                count_stored(self._counters, batch.part, adjusted)
                if attempt:
                    _LOGGER.info("the database takes records again")
                if self._recovery is not None:
                    self._recovery.succeed()
                return None
            attempt += 1
            with COUNTING:
                self._counters.retries += 1
            self._pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return self._expired

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
                self._drop("database", len(rows))
                self._refusals.warning(reason, len(rows), "nowhere: refused, and no --dead-letter file is set")
            elif failure is not None:
                self._drop("dead_letter", len(rows))
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
                self.given_up += len(rows)
        if lost:
            self._lose(lost, error, failure)
        elif batches:
            self._refusals.warning(error, sum(rows_in(batch.part) for batch in batches), "the dead-letter file")

    def _lose(self, lost: int, error: SinkError, failure: OSError | None) -> None:
        """Count what has no place; whoever has a spool goes on nevertheless: the database may come back."""
        if self._recovery is not None:
            self._drop("spool_full", lost)
            self._refusals.warning(error, lost, "nowhere: the spool takes no more")
            return
        self._has_failed = True
        if failure is None:
            self._drop("database", lost)
            raise Unwritten(f"{error}; {lost} record(s) that were read could not be stored")
        self._drop("dead_letter", lost)
        raise Unwritten(f"{error}; cannot write dead letters either: {failure.strerror}")

    def _bury(self, table: str, rows: Sequence[Row], reason: str) -> OSError | None:
        """Write dead letters, if there is a file for them; returns why that failed."""
        if self._dead_letters is not None:
            try:
                self._dead_letters.write(table, rows, reason)
            except OSError as error:
                return error
            with COUNTING:
                self._counters.dead_letter += len(rows)
        return None

    def _drop(self, reason: str, count: int) -> None:
        with COUNTING:
            self._counters.dropped[reason] += count
