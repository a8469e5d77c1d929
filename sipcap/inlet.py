"""Bytes from a pipe or file, read ahead by a thread: input flows on while a batch is being written."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import Final

from sipcap.limits import OUTPUT_WRITE_BYTES, READ_AHEAD_BYTES

_LOOK_MS: Final = 500  # how long a poll waits before it is seen whether anybody still wants the data
_READ_S: Final = 1.0
"""How long a stop waits for a read that is at work. It began when there was data; only a file of a network can be slow,
or a pipe that somebody else has emptied meanwhile: then nothing was taken."""


class Inlet:
    """Reads a file descriptor to its end in a thread of its own; what is read ahead is bounded."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self.at_end = False
        """The end was reached and everything before it was handed out."""
        self.failure: OSError | None = None
        """Why reading ended, if not at the end of input."""
        self._ended = False
        self._stopped = False
        self._reading = False
        threading.Thread(target=self._run, name="inlet", daemon=True).start()

    def get(self, timeout_s: float) -> bytes:
        """Hand out the next bytes; empty if none came in time, or ever will (see ``at_end``)."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._ended, timeout_s)
            if not self._queue:
                self.at_end = self._ended
                return b""
            data = self._queue.popleft()
            self._queued_bytes -= len(data)
            self._changed.notify_all()
            return data

    def stop(self) -> list[bytes]:
        """Read no more; returns what was read ahead, so that nothing is lost that left a pipe."""
        with self._changed:
            self._stopped = True
            self._changed.wait_for(lambda: not self._reading, _READ_S)
            left = list(self._queue)
            self._queue.clear()
            self.at_end = self._ended
            self._changed.notify_all()
            return left

    def _run(self) -> None:
        while not self._stopped:
            if not self._has_data() or not self._may_read():
                continue
            data = self._read()
            with self._changed:
                self._reading = False
                if data:
                    self._queue.append(data)
                    self._queued_bytes += len(data)
                elif data is not None:
                    self._ended = True
                self._changed.notify_all()
                if self._ended:
                    return
                self._changed.wait_for(lambda: self._queued_bytes < READ_AHEAD_BYTES or self._stopped)

    def _may_read(self) -> bool:
        """Say that a read begins, unless nobody would ask for what it gives."""
        with self._changed:
            self._reading = not self._stopped
            return self._reading

    def _read(self) -> bytes | None:
        """Bytes, none at the end, None if somebody who shares a pipe that does not block was faster."""
        try:
            return os.read(self._fd, OUTPUT_WRITE_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            self.failure = error
            return b""

    def _has_data(self) -> bool:
        """Whether a read has something to give, the end included."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        return bool(poller.poll(_LOOK_MS))
