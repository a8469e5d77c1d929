"""Bytes from a pipe or file, read ahead by a thread: input flows on while a batch is being written."""

from __future__ import annotations

import os
import threading
from collections import deque

from sipcap.limits import OUTPUT_WRITE_BYTES, READ_AHEAD_BYTES


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

    def _run(self) -> None:
        while True:
            try:
                data = os.read(self._fd, OUTPUT_WRITE_BYTES)
            except OSError as error:
                self.failure = error
                data = b""
            with self._changed:
                if data:
                    self._queue.append(data)
                    self._queued_bytes += len(data)
                else:
                    self._ended = True
                self._changed.notify_all()
                if self._ended:
                    return
                self._changed.wait_for(lambda: self._queued_bytes < READ_AHEAD_BYTES)
