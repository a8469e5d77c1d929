"""``sipcap run``: capturing processes and one storing process, joined by a pipe."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from sipcap.batching import Batcher, BatchOptions
from sipcap.capturing import CaptureJob, start_workers
from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import SipcapError, Unwritten
from sipcap.routing import Router
from sipcap.sinks.base import Sink
from sipcap.stopping import Stop
from sipcap.storing import Store
from sipcap.workers import Workers

_LOGGER = logging.getLogger("sipcap")
_PIPE_BYTES = 1 << 20  # the most that an unprivileged process gets


@dataclass(frozen=True)
class StoreJob:
    """Where records go. ``connect`` opens the sink; it is called before and after the fork."""

    connect: Callable[[], Sink]
    router: Router
    batches: BatchOptions
    dead_letters: DeadLetterFile | None = None


class Service:
    """Captures and stores until it is stopped.

    The stages are those of ``sipcap listen | sipcap store``, in processes of their own for the same reason:
    receiving does not wait for the database.

    Args:
        capture: its ``output`` is not used; the lines go into a pipe of the service.
        store: where they go.
    """

    def __init__(self, capture: CaptureJob, store: StoreJob) -> None:
        self._capture = capture
        self._store = store
        self._stored = Counters()

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
        workers = start_workers(replace(self._capture, output=writing))
        workers.start()
        os.close(writing)
        try:
            self._store_all(reading, workers, stop)
        finally:
            workers.stop()
            os.close(reading)
            workers.join(self._capture.drain_timeout_s)
            self._capture.source.close()
            total = self._total(workers)
            _LOGGER.info("%s", total.summary(), extra={"fields": total.as_dict()})
        if workers.failed:
            raise Unwritten(f"{workers.failed} capturing process(es) failed")
        return total

    def _store_all(self, reading: int, workers: Workers, stop: Stop) -> None:
        stopping = self._stopping(workers, stop)
        sink = self._store.connect()
        batcher = Batcher(sink, self._store.batches, self._stored, self._store.dead_letters, stopping)
        try:
            Store(self._store.router, batcher, self._stored).read(reading, "capture", stopping)
        except SipcapError:
            with contextlib.suppress(SipcapError):
                sink.close()
            raise
        sink.close()

    def _stopping(self, workers: Workers, stop: Stop) -> Callable[[], bool]:
        """Tells the workers when a stop is wanted, and says when the time to drain is over."""
        until_s = float("inf")

        def stopping() -> bool:
            nonlocal until_s
            workers.reap()
            if until_s == float("inf") and (stop.requested or workers.ended):
                until_s = time.monotonic() + self._capture.drain_timeout_s
                workers.stop()
            return time.monotonic() >= until_s

        return stopping

    def _total(self, workers: Workers) -> Counters:
        """What came in, from the capturing processes, and what became of it, from the storing one."""
        total = workers.counters()
        stored = self._stored
        handed_on = total.stored + total.reported
        total.stored = total.reported = 0
        outcome = stored.as_dict()
        outcome["received"] = 0
        total.add(outcome)
        if handed_on > stored.received:
            total.dropped["drain_timeout"] += handed_on - stored.received
        return total
