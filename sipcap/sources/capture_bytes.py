"""The bytes of a capture file or pipe, unpacked, as soon as they are there."""

from __future__ import annotations

import os
import select
import stat
from pathlib import Path
from typing import Final

from sipcap.errors import InputError
from sipcap.sources.unpacking import MAGIC_BYTES, Unpacker, unpacker_for

STDIN: Final = "-"

_READ_BYTES: Final = 1 << 18
"""One read of a file; a pipe gives what it holds, 64 KB as a rule."""


def is_pipe(path: str) -> bool:
    """Tell whether reading may have to wait for a writer: a pipe, a socket, a terminal."""
    try:
        mode = (os.fstat(0) if path == STDIN else Path(path).stat()).st_mode
    except OSError:
        return False  # opening it will say why
    return not stat.S_ISREG(mode)


class CaptureBytes:
    """Reads one capture; ``-`` is stdin, which stays open.

    Attributes:
        name: what to call it in errors.
        is_cut: at the end: what was packed has no end.
    """

    def __init__(self, path: str) -> None:
        self.name = "stdin" if path == STDIN else path
        self.is_cut = False
        self._path = path
        self._fd = -1
        self._poll = select.poll()
        self._head: bytes | None = b""  # until the form is known
        self._unpacker: Unpacker | None = None
        self._read_bytes = 0
        self._given_bytes = 0
        self._used_bytes = 0

    def open(self) -> None:
        """Open it, without waiting for a writer; raises InputError."""
        try:
            # A named pipe opened so waits in poll() for its first writer, not here, where no signal is seen.
            self._fd = 0 if self._path == STDIN else os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._poll.register(self._fd, select.POLLIN)
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}") from None

    def read(self, timeout_s: float) -> bytes | None:
        """The next bytes, b"" at the end, None if none came in time.

        Raises:
            InputError: it cannot be read, or what was packed is damaged.
        """
        try:
            if self._unpacker is not None and (data := self._unpacker.read()):
                self._given_bytes += len(data)
                return data
            read = self._read(timeout_s)
            if read is None:
                return None
            data = self._form(read) if self._head is not None else read
            if self._unpacker is None:
                self._given_bytes += len(data)
                return data if data or not read else None
            return self._unpack(data, at_end=not read)
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}") from None
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None

    def _read(self, timeout_s: float) -> bytes | None:
        """Read what is there; None if nothing is."""
        if not self._poll.poll(timeout_s * 1_000):
            return None
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return None
        self._read_bytes += len(data)
        return data

    def _form(self, data: bytes) -> bytes:
        """Find out whether it is packed; returns what can be used of what has been read."""
        assert self._head is not None
        self._head += data
        if len(self._head) < MAGIC_BYTES and data:
            return b""
        head, self._head = self._head, None
        self._unpacker = unpacker_for(head)
        return head

    def _unpack(self, data: bytes, *, at_end: bool) -> bytes | None:
        assert self._unpacker is not None
        if data:
            self._unpacker.feed(data)
        unpacked = self._unpacker.read()
        self._given_bytes += len(unpacked)
        if unpacked or not at_end:
            return unpacked or None
        self.is_cut = not self._unpacker.is_whole
        return b""

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been read."""
        return not self._read_bytes

    def used_bytes(self, buffered: int) -> int:
        """How far in the file we are.

        Args:
            buffered: how many of the bytes that ``read`` gave have not been used yet.
        """
        if self._given_bytes:
            used = self._read_bytes - buffered * self._read_bytes // self._given_bytes
            self._used_bytes = max(self._used_bytes, used)  # how well it is packed differs from place to place
        return self._used_bytes

    def close(self) -> None:
        """Close it; may be called twice."""
        if self._fd > 0:
            os.close(self._fd)
        self._fd = -1
