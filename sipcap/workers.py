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
from mmap import mmap
from typing import Any, Final

import msgspec

from sipcap.counters import Counters

_PAGE_BYTES: Final = 16_384
_HALF: Final = _PAGE_BYTES // 2


class SharedCounters:
    """Counters of one process, to be read by another one.

    Two halves are written in turn and the first byte says which one is whole, so that a writer that is
    killed leaves the previous values.
    """

    def __init__(self) -> None:
        self._page = mmap(-1, _PAGE_BYTES)
        self._turn = 0

    def publish(self, counters: Counters) -> None:
        """Write the values as they are now."""
        data = msgspec.json.encode(counters.as_dict())
        if len(data) > _HALF - 8:
            return  # more reasons than there are tokens: cannot be
        self._turn ^= 1
        begin = 8 + self._turn * (_HALF - 8)
        self._page[begin : begin + 4] = len(data).to_bytes(4, "big")
        self._page[begin + 4 : begin + 4 + len(data)] = data
        self._page[0] = self._turn + 1

    def read(self) -> dict[str, Any]:
        """The values that were published last; empty if none were."""
        turn = self._page[0]
        if not turn:
            return {}
        begin = 8 + (turn - 1) * (_HALF - 8)
        size = int.from_bytes(self._page[begin : begin + 4], "big")
        values: dict[str, Any] = msgspec.json.decode(self._page[begin + 4 : begin + 4 + size])
        return values


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
        self.failed = 0
        """Of these, those that ended with an error or were killed."""

    def start(self) -> None:
        """Fork them; the sockets must be open and no thread may run."""
        gc.freeze()  # what exists now stays shared: the collector would touch, and so copy, every page
        for index in range(len(self._pages)):
            pid = os.fork()
            if pid == 0:
                self._be_worker(index)
            self._pids[pid] = index
        os.close(self._lifeline_read)

    def _be_worker(self, index: int) -> None:
        code = 70
        try:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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
                del self._pids[pid]
                self.ended += 1
                self.failed += os.waitstatus_to_exitcode(status) != 0
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

        What a worker had read when it was killed, and had not handed on, is ``dropped{worker_killed}``.
        """
        total = Counters()
        for page in self._pages:
            counted = Counters()
            counted.add(page.read())
            if not self._pids and (lost := counted.imbalance()):
                counted.dropped["worker_killed"] += lost
            total.add(counted.as_dict())
        return total
