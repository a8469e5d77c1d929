"""Lines on their way to the reader of a pipe: a bounded queue and one thread that writes.

Receiving must not wait for a reader that is busy for a moment (a database that commits), and must wait
for one that stays busy: then the kernel counts what it drops, and memory stays bounded (design 1.5).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from collections import deque
from typing import Final, NamedTuple

from sipcap.counters import Counters
from sipcap.limits import OUTPUT_QUEUE_BYTES
from sipcap.turnstile import MEMORY_PAUSES_S, LocalTurnstile, Turnstile, write_pieces

_WAKING: Final = signal.SIGURG  # ignored by default, and nothing else here uses it
_WAKE_S: Final = 1.0


class Lines(NamedTuple):
    """Encoded lines and how many records of each kind they are."""

    data: bytes
    sip: int
    reports: int


NO_LINES: Final = Lines(b"", 0, 0)


class _Outcome(NamedTuple):
    """What became of lines: those written whole, and how many a limit keeps back; the rest is lost."""

    written: Lines
    kept_back: int


class _TimeIsOver(Exception):
    """What is being written is given up, perhaps in the middle of a line."""


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

    def _next(self) -> Lines | None:
        """Wait for lines; None at the end."""
        while True:
            try:
                with self._changed:
                    self._changed.wait_for(lambda: self._queue or self._closing)
                    return self._queue[0] if self._queue else None
            except MemoryError:  # even a lock to wait with takes some
                time.sleep(MEMORY_PAUSES_S[0])

    def _run(self) -> None:
        while (lines := self._next()) is not None:
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
        for pause_s in MEMORY_PAUSES_S:
            outcome = self._attempt(lines)
            if outcome is not None:
                return outcome
            time.sleep(pause_s)
        return self._attempt(lines, is_last=True) or self._unwritten(lines)

    def _attempt(self, lines: Lines, *, is_last: bool = False) -> _Outcome | None:
        """Write lines in our turn; None if there was no memory for it and nothing of them has been written."""
        total = lines.sip + lines.reports
        wanted, written, sent = lines, NO_LINES, 0
        try:
            with self._turnstile as allowed:
                self._check_time()
                if allowed <= total:
                    self.limit_reached = True
                    wanted = _first_lines(lines, allowed)
                try:
                    for so_far in write_pieces(self._fd, wanted.data):
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
            if not sent and not is_last:
                return None
            self.failure = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return _Outcome(written, total - wanted.sip - wanted.reports)


def _first_lines(lines: Lines, count: int) -> Lines:
    kept = [line + b"\n" for line in lines.data.split(b"\n", count)[:count]]
    reports = sum(b'"kind":"report"' in line[:30] for line in kept)
    return Lines(b"".join(kept), len(kept) - reports, reports)
