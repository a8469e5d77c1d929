"""Lines on their way to the reader of a pipe: a bounded queue and one thread that writes.

Receiving must not wait for a reader that is busy for a moment (a database that commits), and must wait
for one that stays busy: then the kernel counts what it drops, and memory stays bounded (design 1.5).
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import tempfile
import threading
import time
from collections import deque
from mmap import mmap
from typing import Final, NamedTuple, Protocol

from sipcap.counters import Counters
from sipcap.limits import OUTPUT_QUEUE_BYTES, OUTPUT_WRITE_BYTES

UNLIMITED: Final = 2**64 - 1


class Lines(NamedTuple):
    """Encoded lines and how many records of each kind they are."""

    data: bytes
    sip: int
    reports: int


class Turnstile(Protocol):
    """What writers of one pipe share: whose turn it is, and how many records may still pass."""

    def __enter__(self) -> int:
        """Wait for the turn; returns how many records may pass."""

    def __exit__(self, *_: object) -> None:
        """End the turn."""

    def passed(self, records: int) -> None:
        """Take so many off the limit, within the turn."""


class LocalTurnstile:
    """One writer only: there is nobody to wait for."""

    def __init__(self, limit: int = UNLIMITED) -> None:
        self._left = limit

    def __enter__(self) -> int:
        return self._left

    def __exit__(self, *_: object) -> None:
        pass

    def passed(self, records: int) -> None:
        self._left -= records


class SharedTurnstile:
    """Several processes write to one pipe: whole batches, one after the other.

    The lock is one that the kernel releases when its holder dies. A writer that died in the middle of a
    line leaves a mark, so that the next one ends that line instead of gluing its own to it.
    """

    _STATE = struct.Struct("=QQ")  # records that may still pass, 1 while somebody writes

    def __init__(self, pipe: int, limit: int = UNLIMITED) -> None:
        self._pipe = pipe
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the processes that share it
        self._shared = mmap(-1, self._STATE.size)
        self._STATE.pack_into(self._shared, 0, limit, 0)

    def __enter__(self) -> int:
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        left, writing = self._STATE.unpack_from(self._shared)
        if writing:
            os.write(self._pipe, b"\n")
        self._STATE.pack_into(self._shared, 0, left, 1)
        return int(left)

    def __exit__(self, *_: object) -> None:
        left, _writing = self._STATE.unpack_from(self._shared)
        self._STATE.pack_into(self._shared, 0, left, 0)
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def passed(self, records: int) -> None:
        left, writing = self._STATE.unpack_from(self._shared)
        self._STATE.pack_into(self._shared, 0, left - records, writing)

    @property
    def left(self) -> int:
        """Records that may still pass, as any process may ask without a turn."""
        return int(self._STATE.unpack_from(self._shared)[0])


class Outlet:
    """Writes lines to a file descriptor in a thread of its own.

    It counts ``stored`` and ``reported`` when the lines are written, ``filtered{count}`` for what a limit
    keeps back, and ``dropped{output}`` for what could not be written.
    """

    def __init__(self, fd: int, counters: Counters, turnstile: Turnstile | None = None) -> None:
        self._fd = fd
        self._counters = counters
        self._turnstile: Turnstile = turnstile or LocalTurnstile()
        self._queue: deque[Lines] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self.reader_gone = False
        """The reader closed the pipe: nothing can be written any more."""
        self.limit_reached = False
        """As many records as wanted have passed."""
        self.failure: OSError | None = None
        """Why nothing can be written, if it is not that the reader went away: a full disk."""
        self._thread = threading.Thread(target=self._run, name="outlet", daemon=True)

    def start(self) -> None:
        """Start the thread; after any fork."""
        self._thread.start()

    @property
    def pending(self) -> int:
        """Records in the queue."""
        with self._changed:
            return sum(lines.sip + lines.reports for lines in self._queue)

    @property
    def ended(self) -> bool:
        """Nothing that is put will ever be written."""
        return self.reader_gone or self.limit_reached or self.failure is not None

    def probe(self) -> None:
        """Notice a reader that went away while there is nothing to write."""
        poller = select.poll()
        poller.register(self._fd, 0)
        if any(event & select.POLLERR for _, event in poller.poll(0)):
            self.reader_gone = True

    def put(self, lines: Lines) -> None:
        """Queue lines; they are written in this order."""
        with self._changed:
            self._queue.append(lines)
            self._queued_bytes += len(lines.data)
            self._changed.notify_all()

    def wait_for_space(self, timeout_s: float) -> bool:
        """Wait until the queue has room again; False if it has none after the time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._queued_bytes < OUTPUT_QUEUE_BYTES or self.ended, timeout_s
            )

    def close(self, timeout_s: float) -> None:
        """Write what is queued, for so long at most, and count the rest as dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            while self._queue:
                self._lose(self._queue.popleft())

    def _lose(self, lines: Lines) -> None:
        if self.limit_reached:
            self._counters.filtered["count"] += lines.sip + lines.reports
        else:
            self._counters.dropped["output"] += lines.sip + lines.reports

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                lines = self._queue[0]
            try:
                self._write_in_turn(lines)
            except BrokenPipeError:
                self.reader_gone = True
            except OSError as error:  # a full disk behind a redirection: as final for a stream of lines
                self.failure = error
            with self._changed:
                if self._queue and self._queue[0] is lines:
                    self._queue.popleft()
                    self._queued_bytes -= len(lines.data)
                while self.ended and self._queue:
                    self._lose(self._queue.popleft())
                self._changed.notify_all()

    def _write_in_turn(self, lines: Lines) -> None:
        total = lines.sip + lines.reports
        with self._turnstile as allowed:
            written = lines
            if allowed <= total:
                self.limit_reached = True
                written = _first_lines(lines, allowed)
            try:
                self._write(written.data)
            except OSError:
                self._counters.dropped["output"] += total
                raise
            count = written.sip + written.reports
            self._turnstile.passed(count)
        self._counters.stored += written.sip
        self._counters.reported += written.reports
        if total > count:
            self._counters.filtered["count"] += total - count

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view[:OUTPUT_WRITE_BYTES]) :]
            except BlockingIOError:  # somebody else made our pipe non-blocking
                time.sleep(0.01)


def _first_lines(lines: Lines, count: int) -> Lines:
    kept = lines.data.splitlines(keepends=True)[:count]
    reports = sum(b'"kind":"report"' in line[:30] for line in kept)
    return Lines(b"".join(kept), len(kept) - reports, reports)
