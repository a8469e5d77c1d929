"""Processes that share the sockets of one capture.

The parent opens the sockets and forks; a datagram goes to whichever worker takes it first. Workers ignore
signals: the parent tells them to stop by closing the lifeline, a pipe whose end they also see if the
parent dies. What they count stands in shared memory, so that it survives them.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Final

from sipcap.counters import Counters
from sipcap.errors import CannotStart
from sipcap.shared import SharedCount, SharedPage

_PAGE_BYTES: Final = 16_384


class SharedCounters(SharedPage):
    """Counters of one process, to be read by another one."""

    def __init__(self) -> None:
        super().__init__(_PAGE_BYTES)
        self.taken = SharedCount()
        """Messages received, exact where the values may be a moment old: for a process that is killed."""

    def publish(self, counters: Counters) -> None:
        """Write the values as they are now."""
        self.write(counters.as_dict())  # they fit: there are no more reasons than tokens


class Workers:
    """A fixed number of forked workers.

    Args:
        number: how many.
        body: what one does, given its index, its counters' page and a function that says when to
            stop; its return value is the exit code.
    """

    def __init__(self, number: int, body: Callable[[int, SharedCounters, Callable[[], bool]], int]) -> None:
        self._body = body
        self._pages = [SharedCounters() for _ in range(number)]
        self._pids: dict[int, int] = {}
        self._lifeline_read, self._lifeline_write = os.pipe()
        self.ended = 0
        """Workers that have ended, for whatever reason."""
        self._failed: set[int] = set()

    @property
    def failed(self) -> int:
        """Of those that have ended, the ones that did so with an error or were killed."""
        return len(self._failed)

    def start(self) -> None:
        """Fork them; the sockets must be open and no thread may run.

        Raises:
            CannotStart: the system has no room for so many processes.
        """
        gc.freeze()  # what exists now stays shared: the collector would touch, and so copy, every page
        for index in range(len(self._pages)):
            try:
                pid = os.fork()
            except OSError as error:
                self.kill()
                raise CannotStart(f"cannot start process {index + 1} of {len(self._pages)}: {error.strerror}") from None
            if pid == 0:
                self._be_worker(index)
            self._pids[pid] = index
        os.close(self._lifeline_read)

    def _be_worker(self, index: int) -> None:
        code = 70
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            os.close(self._lifeline_write)
            code = self._body(index, self._pages[index], self._told_to_stop)
        except BaseException:  # noqa: BLE001  # nothing may run the parent's code behind the fork
            import traceback  # noqa: PLC0415  # only for what cannot happen

            traceback.print_exc()
        finally:
            os._exit(code)

    def _told_to_stop(self) -> bool:
        poller = select.poll()  # select() cannot take a number beyond 1023: a range of ports has more sockets
        poller.register(self._lifeline_read, select.POLLIN)
        return bool(poller.poll(0))

    def stop(self) -> None:
        """Tell all workers to drain and end."""
        if self._lifeline_write >= 0:
            os.close(self._lifeline_write)
            self._lifeline_write = -1

    def reap(self) -> bool:
        """Note the workers that have ended; false when none is left."""
        for pid in list(self._pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                index = self._pids.pop(pid)
                self.ended += 1
                if os.waitstatus_to_exitcode(status) != 0:
                    self._failed.add(index)
        return bool(self._pids)

    def join(self, timeout_s: float) -> None:
        """Wait for all to end; those that do not are killed."""
        until_s = time.monotonic() + timeout_s
        while self.reap():
            if time.monotonic() >= until_s:
                self.kill()
                until_s += timeout_s
            time.sleep(0.01)

    def kill(self) -> None:
        """End all at once, whatever they hold."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)

    def counters(self) -> Counters:
        """What all of them have counted, added up.

        What a worker had read when it was killed, and had not handed on as far as it has said, is
        ``dropped{worker_killed}``.
        """
        total = Counters()
        for index, page in enumerate(self._pages):
            counted = Counters()
            counted.add(page.read())
            if index in self._failed:
                counted.received = max(counted.received, page.taken.value)
                if lost := counted.imbalance():
                    counted.dropped["worker_killed"] += lost
            total.add(counted.as_dict())
        return total
