"""Lines on their way to the reader of a pipe: a bounded queue and one thread that writes.

Receiving must not wait for a reader that is busy for a moment (a database that commits), and must wait
for one that stays busy: then the kernel counts what it drops, and memory stays bounded (design 1.5).
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from mmap import mmap
from typing import Final, NamedTuple, Protocol

from sipcap.counters import Counters
from sipcap.limits import OUTPUT_QUEUE_BYTES, OUTPUT_WRITE_BYTES

UNLIMITED: Final = 2**64 - 1
_WAKING: Final = signal.SIGURG  # ignored by default, and nothing else here uses it
_WAKE_S: Final = 1.0


class Lines(NamedTuple):
    """Encoded lines and how many records of each kind they are."""

    data: bytes
    sip: int
    reports: int


NO_LINES: Final = Lines(b"", 0, 0)


class Turnstile(Protocol):
    """What writers of one pipe share: whose turn it is, and how many records may still pass."""

    def __enter__(self) -> int:
        """Wait for the turn; returns how many records may pass."""

    def __exit__(self, *reason: object) -> None:
        """End the turn; an exception may have ended it in the middle of a line."""

    def passed(self, records: int) -> None:
        """Take so many off the limit, within the turn."""


class _Outcome(NamedTuple):
    """What became of lines: those written whole, and how many a limit keeps back; the rest is lost."""

    written: Lines
    kept_back: int


class _TimeIsOver(Exception):
    """What is being written is given up, perhaps in the middle of a line."""


class LocalTurnstile:
    """One writer only: there is nobody to wait for."""

    def __init__(self, limit: int = UNLIMITED) -> None:
        self._left = limit

    def __enter__(self) -> int:
        return self._left

    def __exit__(self, *_: object) -> None:
        pass

    def passed(self, records: int) -> None:
        """Take so many off the limit."""
        self._left -= records


class SharedTurnstile:
    """Several processes write to one pipe: whole batches, one after the other.

    The lock is one that the kernel releases when its holder dies. A writer that died or failed in the middle
    of a line leaves a mark, so that the next one ends that line instead of gluing its own to it. What a writer
    wrote in the turn in which it was killed is not taken off the limit.
    """

    _LEFT, _WRITING = 0, 1  # records that may still pass; 1 while somebody writes, or if that failed

    def __init__(self, pipe: int, limit: int = UNLIMITED) -> None:
        self._pipe = pipe
        self._lock = os.memfd_create("sipcap-turnstile")  # holds nothing; a file is what can be locked
        # Each number is stored as a whole: who looks without a turn must never see half of one, as struct's
        # pack_into shows (it writes zeros first, and "none left" ends a capture).
        self._shared = memoryview(mmap(-1, 16)).cast("Q")
        self._shared[self._LEFT] = limit

    def __enter__(self) -> int:
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            if self._shared[self._WRITING]:
                for _ in _write_pieces(self._pipe, b"\n"):
                    pass
        except OSError:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)
            raise
        self._shared[self._WRITING] = 1
        return self._shared[self._LEFT]

    def __exit__(self, *reason: object) -> None:
        self._shared[self._WRITING] = 0 if reason[0] is None else 1
        fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def passed(self, records: int) -> None:
        """Take so many off the limit that all share."""
        self._shared[self._LEFT] -= records

    @property
    def left(self) -> int:
        """Records that may still pass, as any process may ask without a turn."""
        return self._shared[self._LEFT]


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
        self._given_up = threading.Event()
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
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0)):
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
            return self._changed.wait_for(lambda: self._queued_bytes < OUTPUT_QUEUE_BYTES or self.ended, timeout_s)

    def close(self, timeout_s: float) -> None:
        """Write what is queued, for so long at most, and count all lines that are not out whole as dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        self._given_up.set()
        if self._thread.is_alive():
            self._interrupt()
        with self._changed:
            while self._queue:  # the first of them may still be on its way: it is counted here, and only here
                self._settle(self._unwritten(self._queue[0]))

    def _interrupt(self) -> None:
        """End a write(2) that waits for the reader: only then it tells how much it has written."""
        if threading.current_thread() is not threading.main_thread():
            return  # only there handlers can be set
        before = signal.signal(_WAKING, lambda *_: None)
        until_s = time.monotonic() + _WAKE_S
        while self._thread.is_alive() and time.monotonic() < until_s:
            signal.pthread_kill(self._thread.ident or 0, _WAKING)
            self._thread.join(_WAKE_S / 20)
        signal.signal(_WAKING, before)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                lines = self._queue[0]
            # After a failure nothing more is written, even if it could be: it would stand behind half a line.
            outcome = self._unwritten(lines) if self.ended or self._given_up.is_set() else self._write_in_turn(lines)
            with self._changed:
                if self._queue and self._queue[0] is lines:
                    self._settle(outcome)
                self._changed.notify_all()

    def _unwritten(self, lines: Lines) -> _Outcome:
        return _Outcome(NO_LINES, lines.sip + lines.reports if self.limit_reached else 0)

    def _settle(self, outcome: _Outcome) -> None:
        """Take the first lines out of the queue and count what became of them; while the lock is held."""
        lines = self._queue.popleft()
        self._queued_bytes -= len(lines.data)
        written, kept_back = outcome
        self._counters.stored += written.sip
        self._counters.reported += written.reports
        if kept_back:
            self._counters.filtered["count"] += kept_back
        if lost := lines.sip + lines.reports - written.sip - written.reports - kept_back:
            self._counters.dropped["output"] += lost

    def _check_time(self) -> None:
        if self._given_up.is_set():
            raise _TimeIsOver

    def _write_in_turn(self, lines: Lines) -> _Outcome:
        total = lines.sip + lines.reports
        wanted, written, sent = lines, NO_LINES, 0
        try:
            with self._turnstile as allowed:
                self._check_time()
                if allowed <= total:
                    self.limit_reached = True
                    wanted = _first_lines(lines, allowed)
                try:
                    for so_far in _write_pieces(self._fd, wanted.data):
                        sent = so_far
                        if sent < len(wanted.data):
                            self._check_time()
                finally:
                    whole = sent == len(wanted.data)
                    written = wanted if whole else _first_lines(wanted, wanted.data.count(b"\n", 0, sent))
                    self._turnstile.passed(written.sip + written.reports)
        except _TimeIsOver:
            pass
        except BrokenPipeError:
            self.reader_gone = True
        except OSError as error:  # a full disk behind a redirection: as final for a stream of lines
            self.failure = error
        except MemoryError:  # a hook has it; without this thread the process would go on, and write nothing any more
            self.failure = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return _Outcome(written, total - wanted.sip - wanted.reports)


def _write_pieces(fd: int, data: bytes) -> Iterator[int]:
    """Write all of the data; yields how much of it has been written so far."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view[:OUTPUT_WRITE_BYTES]) :]
        except BlockingIOError:  # somebody else made our pipe non-blocking
            time.sleep(0.01)
        else:
            yield len(data) - len(view)


def _first_lines(lines: Lines, count: int) -> Lines:
    kept = [line + b"\n" for line in lines.data.split(b"\n", count)[:count]]
    reports = sum(b'"kind":"report"' in line[:30] for line in kept)
    return Lines(b"".join(kept), len(kept) - reports, reports)
