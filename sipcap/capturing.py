"""Runs a capture: in this process, or in workers that share its sockets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sipcap.counters import Counters
from sipcap.errors import Unwritten
from sipcap.limits import FLUSH_INTERVAL_S
from sipcap.outlet import UNLIMITED, LocalTurnstile, Outlet, SharedTurnstile
from sipcap.pipeline import Encode, ExtractOptions, capture
from sipcap.sources.hep import HepSource
from sipcap.stopping import Stop
from sipcap.workers import SharedCounters, Workers


@dataclass(frozen=True)
class CaptureJob:
    """What is captured, how, and where the lines go.

    ``source`` is opened. ``count`` ends the capture after so many records, ``duration_s`` after so long.
    """

    source: HepSource
    options: ExtractOptions
    encode: Encode
    output: int
    children: int = 1
    count: int | None = None
    duration_s: float | None = None
    drain_timeout_s: float = 10.0

    @property
    def limit(self) -> int:
        """Records that may pass."""
        return UNLIMITED if self.count is None else self.count

    def deadline_s(self) -> float:
        """When the duration is over, on the monotonic clock."""
        return float("inf") if self.duration_s is None else time.monotonic() + self.duration_s


def capture_here(job: CaptureJob, stop: Stop) -> Counters:
    """Capture in this process until the stop, the count or the duration.

    Raises:
        Unwritten: the output cannot take the lines, and not because its reader went away.
    """
    deadline_s = job.deadline_s()
    outlet = Outlet(job.output, job.source.stats, LocalTurnstile(job.limit))
    outlet.start()
    capture(
        job.source,
        job.options.extractor(),
        outlet,
        job.encode,
        stopping=lambda: stop.requested or time.monotonic() >= deadline_s,
    )
    job.source.close()
    outlet.close(job.drain_timeout_s)
    if outlet.failure is not None:
        raise Unwritten(f"cannot write the output: {outlet.failure.strerror}")
    return job.source.stats


def start_workers(job: CaptureJob) -> Workers:
    """Fork the workers of a capture; they write to the job's output in turn."""
    turnstile = SharedTurnstile(job.output, job.limit)

    def body(index: int, page: SharedCounters, told_to_stop: Callable[[], bool]) -> int:
        job.source.counts_kernel_drops = index == 0
        counters = job.source.stats
        outlet = Outlet(job.output, counters, turnstile)
        outlet.start()
        publish = _Publisher(page, counters)
        capture(
            job.source,
            job.options.extractor(),
            outlet,
            job.encode,
            stopping=lambda: told_to_stop() or turnstile.left == 0,
            on_tick=publish,
        )
        job.source.close()
        outlet.close(job.drain_timeout_s)
        page.publish(counters)
        return 0 if outlet.failure is None else Unwritten.exit_code

    return Workers(job.children, body)


class _Publisher:
    """Publishes a worker's counters as often as lines are flushed."""

    def __init__(self, page: SharedCounters, counters: Counters) -> None:
        self._page = page
        self._counters = counters
        self._next_s = 0.0

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + FLUSH_INTERVAL_S
            self._page.publish(self._counters)


def capture_in_workers(job: CaptureJob, stop: Stop) -> Counters:
    """Capture in ``job.children`` processes until the stop, the count or the duration.

    Raises:
        Unwritten: a worker died, or could not write its lines.
    """
    deadline_s = job.deadline_s()
    workers = start_workers(job)
    workers.start()
    while workers.reap() and not workers.ended and not stop.requested and time.monotonic() < deadline_s:
        time.sleep(0.02)
    workers.stop()
    workers.join(job.drain_timeout_s + 2.0)
    job.source.close()
    if workers.failed:
        raise Unwritten(f"{workers.failed} of {job.children} capturing processes failed: {workers.counters().summary()}")
    return workers.counters()
