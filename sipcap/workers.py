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
import struct
import time
from collections.abc import Callable
from mmap import mmap
from typing import Any, Final

import msgspec

from sipcap.counters import Counters
from sipcap.errors import CannotStart

_PAGE_BYTES: Final = 16_384
_NUMBER: Final = struct.Struct("=Q")
_LENGTH: Final = struct.Struct("=I")
_HALF_BYTES: Final = (_PAGE_BYTES - _NUMBER.size) // 2


class SharedCounters:
    """Counters of one process, to be read by another one.

    Two halves are written in turn, and then the number of the writing, which tells the whole one: a writer
    that is killed leaves the previous values, and a reader notices that it was overtaken.
    """

    def __init__(self) -> None:
        self._page = mmap(-1, _PAGE_BYTES)

    def publish(self, counters: Counters) -> None:
        """Write the values as they are now."""
        data = msgspec.json.encode(counters.as_dict())
        if len(data) > _HALF_BYTES - _LENGTH.size:
            return  # more reasons than there are tokens: cannot be
        number = self._number() + 1
        begin = _begin_of(number)
        _LENGTH.pack_into(self._page, begin, len(data))
        begin += _LENGTH.size
        self._page[begin : begin + len(data)] = data
        _NUMBER.pack_into(self._page, 0, number)

    def read(self) -> dict[str, Any]:
        """The values that were published last; empty if none were."""
        while number := self._number():
            begin = _begin_of(number)
            half = self._page[begin : begin + _HALF_BYTES]
            if number == self._number():
                (size,) = _LENGTH.unpack_from(half)
                values: dict[str, Any] = msgspec.json.decode(half[_LENGTH.size : _LENGTH.size + size])
                return values
        return {}

    def _number(self) -> int:
        return int(_NUMBER.unpack_from(self._page)[0])


def _begin_of(number: int) -> int:
    return _NUMBER.size + number % 2 * _HALF_BYTES


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

        What a worker had read when it was killed, and had not handed on, is ``dropped{worker_killed}``.
        """
        total = Counters()
        for index, page in enumerate(self._pages):
            counted = Counters()
            counted.add(page.read())
            if index in self._failed and (lost := counted.imbalance()):
                counted.dropped["worker_killed"] += lost
            total.add(counted.as_dict())
        return total
