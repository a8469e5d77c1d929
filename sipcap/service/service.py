"""``sipcap run``: capturing processes and one storing process, joined by a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sipcap.batching import Batcher, BatchOptions
from sipcap.capturing import CaptureJob, CaptureWorkers, log_summary, start_workers
from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import CannotStart, Unwritten
from sipcap.lanes import Lane
from sipcap.limits import SQLITE_BUSY_S
from sipcap.modes import DEFAULT_MODE
from sipcap.routing import Router
from sipcap.sinks.base import Sink
from sipcap.spool import SpoolPlace
from sipcap.stopping import Stop
from sipcap.storing import Store

_LOGGER = logging.getLogger("sipcap")
_PIPE_BYTES = 1 << 20  # the most that an unprivileged process gets
_LOOK_S = 0.05
_RECONNECT_S = 1.0
_GRACE_S = 2.0  # for whoever has the same deadline as we


@dataclass(frozen=True)
class StoreJob:
    """Where records go. ``connect`` opens the sink; it is called before and after the fork."""

    connect: Callable[[], Sink]
    router: Router
    batches: BatchOptions
    dead_letters: DeadLetterFile | None = None
    place: SpoolPlace | None = None


class Service:
    """Captures and stores until it is stopped.

    The stages are those of ``sipcap listen | sipcap store``, in processes of their own for the same reason:
    receiving does not wait for the database. Storing has a thread of its own, so that a database that does
    not answer keeps neither a signal nor the end of the time to drain from being noticed.

    Args:
        capture: its ``output`` is not used; the lines go into a pipe of the service.
        store: where they go.
    """

    def __init__(self, capture: CaptureJob, store: StoreJob) -> None:
        self._capture = capture
        self._store = store
        self._stored = Counters()
        self._until_s = float("inf")
        self._failure: BaseException | None = None
        self._unwritten = 0

    def run(self, stop: Stop) -> Counters:
        """Run until the stop, and then until everything that was received is stored.

        Raises:
            CannotStart: the database cannot be opened.
            Unwritten: a capturing process died, or records could not be stored within the drain time.
        """
        self._store.connect().close()  # a database that cannot be used shows before anything is received
        reading, writing = os.pipe()
        for end in (reading, writing):
            with contextlib.suppress(OSError):
                fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        # A worker that kept the reading end could not notice that this process is gone.
        workers = start_workers(replace(self._capture, output=writing), stop, inherited=(reading,))
        os.close(writing)
        storing = threading.Thread(target=self._store_all, args=(reading,), name="storing", daemon=True)
        storing.start()
        self._supervise(storing, workers, stop)
        self._begin_to_drain(workers)
        os.close(reading)
        workers.join(max(self._until_s - time.monotonic(), 0.0) + _GRACE_S)
        self._capture.source.close()
        total = self._total(workers)
        log_summary(total)
        self._check(total, workers)
        return total

    def _supervise(self, storing: threading.Thread, workers: CaptureWorkers, stop: Stop) -> None:
        """Tell the workers when a stop is wanted, and wait until all is stored or the time to drain is over."""
        while storing.is_alive():
            storing.join(_LOOK_S)
            workers.reap()
            if stop.requested or workers.ended:
                self._begin_to_drain(workers)
            if self._is_over():
                # The database does not answer; whoever waits for it has the same deadline, but may be slow to
                # notice, and then has records to bury.
                buries = self._store.dead_letters is not None or self._store.place is not None
                storing.join(SQLITE_BUSY_S + _GRACE_S if buries else _GRACE_S)
                return

    def _begin_to_drain(self, workers: CaptureWorkers) -> None:
        if self._until_s == float("inf"):
            self._until_s = time.monotonic() + self._capture.drain_timeout_s
            workers.stop()

    def _is_over(self) -> bool:
        return time.monotonic() >= self._until_s

    def _store_all(self, reading: int) -> None:
        """Store what comes out of the pipe; runs in the storing thread."""
        try:
            sink = self._reconnect()
            job = self._store
            batcher = Batcher(sink, job.batches, self._stored, job.dead_letters, self._is_over, job.place)
            try:
                Store(Lane(DEFAULT_MODE, self._store.router, batcher), self._stored).read(
                    reading, "capture", self._is_over
                )
            finally:
                self._unwritten = batcher.unwritten
                sink.close()
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits for this one
            self._failure = error

    def _reconnect(self) -> Sink:
        """Open the database again; it could be used a moment ago, so that nothing but time can be missing."""
        while True:
            try:
                return self._store.connect()
            except CannotStart as error:
                if self._is_over():
                    raise Unwritten(str(error)) from None
                _LOGGER.warning("%s; trying again", error)
                time.sleep(_RECONNECT_S)

    def _check(self, total: Counters, workers: CaptureWorkers) -> None:
        if self._failure is not None:
            raise self._failure
        workers.check()
        late = total.dropped["drain_timeout"] + total.dropped["output"]
        if late:
            raise Unwritten(f"{late} message(s) were received and could not be stored in time")
        if self._unwritten:
            raise Unwritten(f"{self._unwritten} record(s) remain unwritten")

    def _total(self, workers: CaptureWorkers) -> Counters:
        """What came in, from the capturing processes, and what became of it, from the storing one."""
        total = workers.counters()
        handed_on = total.stored + total.reported
        total.stored = total.reported = 0
        outcome = self._stored.as_dict()
        taken, outcome["received"] = outcome["received"], 0
        total.add(outcome)
        unfinished = max(self._stored.imbalance(), 0)  # in a batch that the database has not answered for
        unread = max(handed_on - taken, 0)
        if unfinished + unread:
            total.dropped["drain_timeout"] += unfinished + unread
        # A worker that was killed, or cut off while it wrote, had handed on more than it could say.
        unsaid = max(taken - handed_on, 0)
        for reason in ("worker_killed", "output"):
            found = min(unsaid, total.dropped[reason])
            total.dropped[reason] -= found
            unsaid -= found
        total.received += unsaid
        total.dropped = +total.dropped  # without zeros
        return total
