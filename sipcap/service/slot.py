"""A process of the service that is started again when it ends unasked."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from sipcap.counters import Counters
from sipcap.errors import CannotStart, SipcapError, SourceLost
from sipcap.limits import RESTART_PAUSE_S, RESTART_STEADY_S
from sipcap.service.accounting import settle_spool
from sipcap.service.tally import Tally
from sipcap.shared import Pulse, SharedCount, SharedPage

_PAGE_BYTES: Final = 512 << 10  # two copies of counters, activity and histograms
_FIRST_PAUSE_S: Final = 0.1
_LOGGER = logging.getLogger("sipcap")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Descriptors:
    """Ends of pipes that the supervisor keeps open; every child closes them but those that it is for."""

    def __init__(self) -> None:
        self._open: set[End] = set()

    def pipe(self, size: int = 0) -> tuple[End, End]:
        """Make a pipe, of so many bytes if the system allows it; returns the ends to read and to write."""
        reading, writing = (End(fd, self._open) for fd in os.pipe())
        if size:
            with contextlib.suppress(OSError):
                fcntl.fcntl(reading.fd, fcntl.F_SETPIPE_SZ, size)
        return reading, writing

    def close_all_but(self, kept: Iterable[End]) -> None:
        """In a child: close what is not for it."""
        for end in self._open.difference(kept):
            end.close()


class End:
    """One end of a pipe."""

    def __init__(self, fd: int, among: set[End]) -> None:
        self.fd = fd
        self._among = among
        among.add(self)

    def close(self) -> None:
        """Close it; may be called twice."""
        if self in self._among:
            self._among.discard(self)
            os.close(self.fd)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait to be read."""
        return int.from_bytes(fcntl.ioctl(self.fd, termios.FIONREAD, bytes(4)), sys.byteorder)


class Child:
    """What a process knows of itself; made before its fork.

    Args:
        index: among its like, from 0.
        restarts: how often such a process was started before.
    """

    def __init__(self, index: int, restarts: int) -> None:
        self.index = index
        self.restarts = restarts
        self.errors: Callable[[], list[dict[str, Any]]] = list
        """The latest warnings of this process."""
        self.page = SharedPage(_PAGE_BYTES)
        self.pulse = Pulse()
        self.taken = SharedCount()
        """Messages received, exact where the published counters may be a moment old: for one that is killed."""
        self.left = SharedCount()
        """Batches that the database has and that leave the spool, or have left it; exact as well."""

    def note_left(self) -> None:
        """Another batch leaves the spool; for whoever holds ``COUNTING``."""
        self.left.value += 1

    def publish(self, counters: Counters, **more: Any) -> None:
        """Let the supervisor see what was counted, and that this process works."""
        values = {"counters": counters.as_dict(), "ready": True}
        if errors := self.errors():
            more["errors"] = errors
        if not self.page.write(values | more):
            self.page.write(values)
        self.pulse.beat()


class Slot:
    """A place for one process.

    Args:
        name: for messages: ``listener hep, process 1``.
        body: what the process does; it returns the exit code.
        descriptors: those of the supervisor.
        kept: the ones among them that the process needs.
        index: among its like, from 0.
        enter: what else a child does before anything else.
    """

    def __init__(
        self,
        name: str,
        body: Callable[[Child], int],
        descriptors: Descriptors,
        kept: Iterable[End],
        *,
        index: int = 0,
        enter: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._body = body
        self._descriptors = descriptors
        self._kept = tuple(kept)
        self._index = index
        self._enter = enter
        self.pid = 0
        """0 = no process is there."""
        self.restarts = 0
        self.code: int | None = None
        """How the last process ended: its exit code, or minus the signal."""
        self.child = Child(index, 0)
        self._past = Counters()
        self._past_tally = Tally()
        self._pause_s = _FIRST_PAUSE_S
        self._started_s = 0.0
        self._next_s = 0.0

    def start(self) -> None:
        """Fork the process.

        Raises:
            CannotStart: the system has no room for it.
        """
        if self.code is not None:
            self.restarts += 1
        try:
            self.child = Child(self._index, self.restarts)
            pid = os.fork()
        except OSError as error:
            raise CannotStart(f"cannot start {self.name}: {error.strerror}") from None
        if pid == 0:
            self._be_child()
        self.pid = pid
        self._started_s = time.monotonic()

    def _be_child(self) -> None:
        code = SipcapError.exit_code
        try:
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            self._descriptors.close_all_but(self._kept)
            self._enter()
            code = self._body(self.child)
        except SipcapError as error:
            code = error.exit_code
            told = {"failure": str(error), "source_lost": isinstance(error, SourceLost)}
            self.child.page.write(self.child.page.read() | told)
        except BaseException:  # noqa: BLE001  # nothing may run the parent's code behind the fork
            import traceback  # noqa: PLC0415  # only for what cannot happen

            traceback.print_exc()
        finally:
            os._exit(code)

    def reap(self, reason: str = "worker_killed") -> bool:
        """Whether the process has ended since the last look.

        What it had taken and not settled counts as ``dropped`` for this reason.
        """
        if not self.pid:
            return False
        ended, status = os.waitpid(self.pid, os.WNOHANG)
        if not ended:
            return False
        self.code = os.waitstatus_to_exitcode(status)
        final = Counters()
        final.add(self.counted)
        final.received = max(final.received, self.child.taken.value)
        self._note_left(final)
        if lost := final.imbalance():
            final.dropped[reason] += lost
        self._past.add(final.as_dict())
        self._past_tally.add(self.values)
        self.pid = 0
        now_s = time.monotonic()
        if now_s - self._started_s > RESTART_STEADY_S:
            self._pause_s = _FIRST_PAUSE_S
        self.put_off()
        return True

    def _note_left(self, final: Counters) -> None:
        """Count a batch that left the spool, as the database had taken it, before the process could say so.

        A file may also be gone because somebody else has taken it: what becomes of that one is not ours to say.
        """
        unsaid = self.child.left.value - self.values.get("left", 0)
        for path, records, is_own in self.values.get("leaving", []):
            if unsaid > 0 and not Path(path).exists():
                unsaid -= 1
                final.stored += records
                if is_own:
                    final.spooled -= records
                else:
                    final.recovered += records

    @property
    def is_due(self) -> bool:
        """Whether no process is there, and the pause before the next one is over."""
        return not self.pid and time.monotonic() >= self._next_s

    def put_off(self) -> None:
        """Begin another pause, longer than the last one."""
        self._next_s = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, RESTART_PAUSE_S)

    def restart_if_due(self) -> None:
        """Start the process again, if its pause is over."""
        if self.is_due:
            self.start()

    def kill(self) -> None:
        """End the process at once."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    @property
    def values(self) -> dict[str, Any]:
        """What the process, or the last one, has published."""
        return self.child.page.read()

    @property
    def is_ready(self) -> bool:
        """Whether the process does its work."""
        return bool(self.values.get("ready"))

    @property
    def failure(self) -> str:
        """Why it ended, in one line; "" if it did not say."""
        return str(self.values.get("failure", ""))

    @property
    def has_lost_source(self) -> bool:
        """Whether it ended because what it captured from is gone; its exit code says less: others have the same."""
        return bool(self.values.get("source_lost"))

    @property
    def counted(self) -> dict[str, Any]:
        """What the process itself has counted."""
        found: dict[str, Any] = self.values.get("counters", {})
        return found

    def total(self) -> Counters:
        """What all processes of this place have counted; what the present one has under way is ``pending``."""
        total = Counters()
        total.add(self._past.as_dict())
        if self.pid:
            now = Counters()
            now.add(self.counted)
            now.pending += now.imbalance()
            total.add(now.as_dict())
        settle_spool(total, self._past.spooled)
        return total

    def add_to(self, tally: Tally) -> None:
        """Add what else all processes of this place have told."""
        tally.add(self._past_tally.as_dict())
        if self.pid:
            tally.add(self.values)

    def end_text(self) -> str:
        """How the process ended, for people."""
        code = self.code or 0
        if code < 0:
            return f"{self.name} was killed by {signal.Signals(-code).name}"
        return f"{self.name} ended with {code}" + (f": {self.failure}" if self.failure else "")
