"""Whose turn it is to write to a pipe, how many records may still pass, and the writing itself."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from mmap import mmap
from typing import Final, Protocol

from sipcap.limits import OUTPUT_WRITE_BYTES

UNLIMITED: Final = 2**64 - 1
MEMORY_PAUSES_S: Final = (0.01, 0.1, 1.0)
"""Before each further attempt of what found no memory: while a hook runs, there may be none for anybody."""


class Turnstile(Protocol):
    """What writers of one pipe share: whose turn it is, and how many records may still pass."""

    def __enter__(self) -> int:
        """Wait for the turn; returns how many records may pass."""

    def __exit__(self, *reason: object) -> None:
        """End the turn; an exception may have ended it in the middle of a line."""

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
                for _ in write_pieces(self._pipe, b"\n"):
                    pass
        except (OSError, MemoryError):
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

    def close(self) -> None:
        """Give the lock back; nobody in this process writes any more. May be called twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def write_pieces(fd: int, data: bytes) -> Iterator[int]:
    """Write all of the data; yields how much of it has been written so far. Raises OSError, MemoryError."""
    view, sent = memoryview(data), 0
    pauses = iter(MEMORY_PAUSES_S)
    while sent < len(data):
        try:
            piece = view[sent : sent + OUTPUT_WRITE_BYTES]  # what there is no memory for is seen before it is written
            sent += os.write(fd, piece)
        except BlockingIOError:  # somebody else made our pipe non-blocking
            time.sleep(0.01)
        except MemoryError:
            pause_s = next(pauses, None)
            if pause_s is None:
                raise
            time.sleep(pause_s)
        else:
            yield sent
