"""Batches on their way to the database while the next are read: a thread, and a bound on what it may have to do."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from sipcap.errors import Unwritten
from sipcap.limits import BATCH_CHARACTERS
from sipcap.recovering import Batch, rows_in
from sipcap.sinks.base import Interruptible, Sink
from sipcap.writing import Abandoned, BatchWriter

_LOOK_S: Final = 0.1  # whoever waits looks this often at whether the time is over
_PATIENCE_S: Final = 2.0
"""When the time to drain is over, the attempt that is running may take so much longer."""
_GRACE_S: Final = 1.0
"""An attempt that was interrupted has so long to come back."""


class _Job(NamedTuple):
    act: Callable[[], object]
    records: int = 0
    characters: int = 0


class Backlog:
    """Has batches written by a thread of its own, in their order; one thread may use it.

    A database that does not answer keeps nobody longer than a few seconds once *stopping* says that the time is
    over: the attempt is interrupted, and left alone if that does not help. What it was about is given up as the writer
    gives up; if it was committed after all, the ledger keeps it from being stored twice.

    Args:
        writer: does the writing.
        sink: what it writes to; see ``Interruptible``.
        depth: batches that may be here at a time.
        stopping: whether the time is over.
    """

    def __init__(self, writer: BatchWriter, sink: Sink, depth: int, stopping: Callable[[], bool]) -> None:
        self._writer = writer
        self._sink = sink
        self._depth = depth
        self._stopping = stopping
        self._over_s = float("inf")
        self._is_interrupted = False
        self._failure: BaseException | None = None
        self._jobs: deque[_Job] = deque()  # the first of them is being done
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.is_abandoned = False
        """Whether the thread hangs in the sink, which nobody may touch any more."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._jobs

    @property
    def pending(self) -> int:
        """Records on their way."""
        with self._changed:
            return sum(job.records for job in self._jobs)

    def put(self, batch: Batch, characters: int) -> None:
        """Hand a batch over; waits until there is room for it.

        Raises:
            Unwritten: as BatchWriter, of a batch that was handed over before, or of this one. All others have been
                tried as well.
        """
        self._submit(_Job(partial(self._write, batch), rows_in(batch.part), characters))

    def write(self, batch: Batch) -> None:
        """Write a batch that is known to be tried, and wait for it; raises as ``put``."""
        self._submit(_Job(partial(self._writer.write, batch), rows_in(batch.part)))
        self.wait()

    def recover(self) -> bool:
        """Try one batch of the spool, and wait for it; returns whether that brought us on."""
        answers: list[bool] = []
        self._submit(_Job(lambda: answers.append(self._writer.recover())))
        self.wait()
        return answers == [True]

    def wait(self) -> None:
        """Wait until nothing is on its way; raises as ``put``."""
        with self._changed:
            self._await(lambda: not self._jobs)
        self._raise()

    def close(self) -> None:
        """End the thread, if it does not hang; may be called twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None and not self.is_abandoned:
            self._thread.join()

    def _submit(self, job: _Job) -> None:
        with self._changed:
            self._await(lambda: self._has_room(job))
            if not self.is_abandoned:
                self._jobs.append(job)
                self._changed.notify_all()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="writing", daemon=True)
                    self._thread.start()
        if self.is_abandoned:  # the writer has expired: it gives the batch up at once
            self._do(job)
        if self._failure is not None:
            self.wait()

    def _has_room(self, job: _Job) -> bool:
        waiting = sum(each.characters for each in self._jobs)
        return not self._jobs or (len(self._jobs) < self._depth and waiting + job.characters <= BATCH_CHARACTERS)

    def _await(self, is_done: Callable[[], bool]) -> None:
        """Wait, with the lock, until something holds, or the thread hangs."""
        while not is_done() and not self.is_abandoned:
            self._changed.wait(_LOOK_S)
            self._look_at_the_time()

    def _look_at_the_time(self) -> None:
        if not self._stopping():
            return
        now_s = time.monotonic()
        self._over_s = min(self._over_s, now_s)
        late_s = now_s - max(self._over_s, self._writer.attempt_since_s)
        if late_s >= _PATIENCE_S and not self._is_interrupted:
            self._is_interrupted = True
            self._writer.expire()
            if isinstance(self._sink, Interruptible):
                self._sink.interrupt()
        elif late_s >= _PATIENCE_S + _GRACE_S and self._is_interrupted:
            self._abandon()

    def _abandon(self) -> None:
        try:
            self.is_abandoned = self._writer.abandon()
        except Unwritten as error:
            self.is_abandoned = True
            self._failure = self._failure or error
        if self.is_abandoned:
            self._jobs.popleft()
            while self._jobs:
                self._do(self._jobs.popleft())

    def _raise(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._is_closed)
                if not self._jobs:
                    return
                job = self._jobs[0]
            try:
                self._do(job)
            except Abandoned:
                return
            with self._changed:
                if self._failure is not None and not isinstance(self._failure, Unwritten):
                    self._jobs.clear()  # a bug: the program ends with it
                else:
                    self._jobs.popleft()
                self._changed.notify_all()

    def _do(self, job: _Job) -> None:
        try:
            job.act()
        except Abandoned:
            raise
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits for this one
            self._failure = self._failure or error

    def _write(self, batch: Batch) -> None:
        self._writer.write_live(batch)
        if not self._stopping() and self._writer.is_recovering:  # whoever is busy takes in what waits by turns
            self._writer.recover()
