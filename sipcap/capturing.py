"""Runs a capture: in this process, or in workers that share its sockets."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Final

from sipcap.capture_loop import capture
from sipcap.counters import Counters
from sipcap.errors import HookStarved, SipcapError, SourceLost, Unwritten
from sipcap.hooks import exit_handlers, leave_exit_handlers
from sipcap.limits import DRAIN_TIMEOUT_S, FLUSH_INTERVAL_S, HOOKS_DRAIN_SHARE
from sipcap.outlet import Outlet
from sipcap.pipeline import Encode, ExtractOptions
from sipcap.sources.base import LiveSource
from sipcap.stopping import Stop
from sipcap.turnstile import UNLIMITED, LocalTurnstile, SharedTurnstile
from sipcap.workers import SharedCounters, Workers

_GRACE_S: Final = 2.0  # for workers that are at their end when the time to drain is over
_LOGGER = logging.getLogger("sipcap")


@dataclass(frozen=True)
class CaptureJob:
    """What is captured, how, and where the lines go.

    ``source`` is opened. ``count`` ends the capture after so many records, ``duration_s`` after so long. ``switch``
    tells in each process whether capture is on.
    """

    source: LiveSource
    options: ExtractOptions
    encode: Encode
    output: int
    children: int = 1
    count: int | None = None
    duration_s: float | None = None
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    switch: Callable[[], bool] | None = None

    @property
    def limit(self) -> int:
        """Records that may pass."""
        return UNLIMITED if self.count is None else self.count

    def deadline_s(self) -> float:
        """When the duration is over, on the monotonic clock."""
        return float("inf") if self.duration_s is None else time.monotonic() + self.duration_s


class _Deadline:
    """Asks whether to stop, and remembers since when: one bound holds for all that follows."""

    def __init__(self, wanted: Callable[[], bool], drain_s: float) -> None:
        self._wanted = wanted
        self._drain_s = drain_s
        self._until_s = 0.0

    def __call__(self) -> bool:
        if not self._until_s and self._wanted():
            self._until_s = time.monotonic() + self._drain_s
        return self._until_s > 0

    @property
    def left_s(self) -> float:
        """What is left of the time to drain; all of it if it has not begun."""
        return max(self._until_s - time.monotonic(), 0.0) if self._until_s else self._drain_s

    def is_late(self) -> bool:
        """Whether what is left of the time to drain is for the reader of our output alone."""
        return self() and self.left_s <= self._drain_s * (1 - HOOKS_DRAIN_SHARE)


def capture_live(job: CaptureJob, stop: Stop) -> Counters:
    """Capture as ``capture_here`` or ``capture_in_workers`` does: whoever asks a hook may come to a sudden end by it.

    A hook that has started threads when it was loaded is asked in this process nevertheless: a fork leaves them behind.
    """
    is_dangerous = job.options.hook is not None and threading.active_count() == 1
    return (capture_in_workers if job.children > 1 or is_dangerous else capture_here)(job, stop)


def capture_here(job: CaptureJob, stop: Stop) -> Counters:
    """Capture in this process until the stop, the count or the duration; the counters are logged.

    Raises:
        Unwritten: the output cannot take the lines, and not because its reader went away.
        SourceLost: there is nothing to capture from any more; what came before has been written.
    """
    deadline_s = job.deadline_s()
    outlet = Outlet(job.output, job.source.stats, LocalTurnstile(job.limit))
    outlet.start()
    counters = job.source.stats
    try:
        _capture_into(
            outlet, job, lambda: stop.requested or time.monotonic() >= deadline_s,
            on_tick=lambda: stop.answer(lambda: counters),
        )  # fmt: skip
    finally:
        log_summary(counters)
    if outlet.failure is not None:
        raise Unwritten(f"cannot write the output: {outlet.failure.strerror}")
    if not outlet.reader_gone:
        _check_written(counters)
    return counters


def _capture_into(
    outlet: Outlet, job: CaptureJob, wanted: Callable[[], bool], on_batch: Callable[[], None] | None = None,
    on_tick: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    stopping = _Deadline(wanted, job.drain_timeout_s)
    try:
        capture(
            job.source, job.options, outlet, job.encode, stopping=stopping, on_batch=on_batch, on_tick=on_tick,
            switch=job.switch, is_late=stopping.is_late,
        )  # fmt: skip
    finally:
        job.source.close()
        outlet.close(stopping.left_s)


def _check_written(counters: Counters) -> None:
    lost = counters.dropped["output"] + counters.dropped["drain_timeout"]
    if lost:
        raise Unwritten(f"{lost} message(s) were received and could not be written in time")


def log_summary(counters: Counters) -> None:
    """Say at the end what became of every message."""
    _LOGGER.info("%s", counters.summary(), extra={"fields": counters.as_dict()})


class CaptureWorkers(Workers):
    """Workers that capture.

    Args:
        job: what they do; they write to its output in turn.
        inherited: file descriptors of the parent that a worker must not keep open.
    """

    def __init__(self, job: CaptureJob, inherited: Sequence[int] = ()) -> None:
        super().__init__(job.children, self._work)
        self._job = job
        self._inherited = inherited
        self._turnstile = SharedTurnstile(job.output, job.limit)
        self._ending = mmap(-1, 2)  # shared: a number of errno, and whether the reader went away

    def _work(self, index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        for descriptor in self._inherited:
            os.close(descriptor)
        if self._job.options.hook is None:
            return self._capture(index, page, told_to_stop)
        with exit_handlers():
            return self._capture(index, page, told_to_stop)

    def _capture(self, index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        source = self._job.source
        source.enter_worker(index)
        outlet = Outlet(self._job.output, source.stats, self._turnstile)
        outlet.start()
        publish = _Publisher(page, source.stats)

        def wanted() -> bool:
            return told_to_stop() or self._turnstile.left == 0

        try:
            _capture_into(outlet, self._job, wanted, publish.note_taken, publish)
        except (SourceLost, HookStarved) as error:
            page.publish(source.stats)
            _LOGGER.error("%s", error)  # noqa: TRY400  # no traceback: it is not ours
            return error.exit_code
        page.publish(source.stats)
        if outlet.reader_gone:
            self._ending[1] = 1
        if outlet.failure is None:
            # Nobody may end unasked: it would look like a clean stop, and whatever comes later would be lost.
            return 0 if wanted() or outlet.reader_gone else SipcapError.exit_code
        self._ending[0] = outlet.failure.errno or errno.EIO
        return Unwritten.exit_code

    def counters(self) -> Counters:
        """What all of them have counted; see Workers.

        When none is left, lines that a killed one has written and not counted are no loss: the turnstile knows them. Of
        which kind they were it does not; they count as ``stored``.
        """
        total = super().counters()
        if not self._pids:
            unsaid = self._job.limit - self._turnstile.left - total.stored - total.reported
            found = min(max(unsaid, 0), total.dropped["worker_killed"])
            total.stored += found
            total.dropped["worker_killed"] -= found
            total.dropped = +total.dropped  # without zeros
        return total

    @property
    def reader_gone(self) -> bool:
        """A worker found that nobody reads the output."""
        return bool(self._ending[1])

    def check(self) -> None:
        """Raise Unwritten if one of them, all of which have ended, did not end well."""
        if self._ending[0]:
            raise Unwritten(f"cannot write the output: {os.strerror(self._ending[0])}")
        if self.failed:
            children = self._job.children
            which = "the capturing process" if children == 1 else f"{self.failed} of {children} capturing processes"
            raise Unwritten(f"{which} failed or {'was' if children == 1 else 'were'} killed")


class _Publisher:
    """Publishes a worker's counters as often as lines are flushed, and what it has received at once."""

    def __init__(self, page: SharedCounters, counters: Counters) -> None:
        self._page = page
        self._counters = counters
        self._next_s = 0.0

    def note_taken(self) -> None:
        """Say what has been received, before anything is done with it: that may be the end of the process."""
        self._page.taken.value = self._counters.received

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + FLUSH_INTERVAL_S
            self._page.publish(self._counters)


def start_workers(job: CaptureJob, stop: Stop, inherited: Sequence[int] = ()) -> CaptureWorkers:
    """Fork the workers of a capture; see ``CaptureWorkers``. A second signal ends them with this process."""
    workers = CaptureWorkers(job, inherited)
    workers.start()
    if job.options.hook is not None:
        leave_exit_handlers()
    stop.leaving.append(workers.kill)
    return workers


def capture_in_workers(job: CaptureJob, stop: Stop) -> Counters:
    """Capture in ``job.children`` processes until the stop, the count or the duration; the counters are logged.

    Raises:
        Unwritten: a worker died, or could not write its lines.
    """
    deadline_s = job.deadline_s()
    workers = start_workers(job, stop)
    while workers.reap() and not workers.ended and not stop.requested and time.monotonic() < deadline_s:
        stop.answer(workers.counters)
        time.sleep(0.02)
    workers.stop()
    workers.join(job.drain_timeout_s + _GRACE_S)
    job.source.close()
    counters = workers.counters()
    log_summary(counters)
    workers.check()
    if not workers.reader_gone:
        _check_written(counters)
    return counters
