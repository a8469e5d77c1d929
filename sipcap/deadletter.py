"""The file of records that the database refuses for themselves; ``sipcap store`` can read it again."""

from __future__ import annotations

import contextlib
import copy
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from sipcap.errors import CannotStart
from sipcap.modes import DEFAULT_MODE
from sipcap.ndjson import encode_records
from sipcap.sinks.base import Row


class DeadLetterFile:
    """Appends records with the reason, the capture mode and the table that they were meant for.

    Several processes may write to the same file.

    Args:
        path: created with mode 0600 if it is not there.
        mode: the capture mode that refused records were meant for.
        max_bytes: what the file may grow to; None = as large as it likes.

    Raises:
        CannotStart: it cannot be written.
    """

    def __init__(self, path: Path, mode: str = DEFAULT_MODE, max_bytes: int | None = None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._mode = mode
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(f"cannot write dead letters to {path}: {error.strerror}") from None
        self._is_file = stat.S_ISREG(os.fstat(self._fd).st_mode)

    def of_mode(self, mode: str) -> DeadLetterFile:
        """The same open file, for the records of another capture mode."""
        other = copy.copy(self)
        other._mode = mode  # noqa: SLF001  # it is of this class
        return other

    def is_same_file(self, status: os.stat_result) -> bool:
        """Whether this is the file's status: who reads it while it grows never comes to its end."""
        return self._is_file and os.path.samestat(os.fstat(self._fd), status)

    def write(self, table: str, rows: Sequence[Row], reason: str) -> None:
        """Append rows and make them durable; OSError if that fails, and then none of them is there."""
        data = msgspec.json.Encoder().encode_lines(lines_of(rows, reason, self._mode, table))
        if self._is_file:
            self._append(data)
        else:
            self._write_all(data)

    def _append(self, data: bytes) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX)  # another process' lines must not be cut off with ours
        try:
            begin = os.fstat(self._fd).st_size
            if self._max_bytes is not None and begin + len(data) > self._max_bytes:
                raise OSError(None, "the file has reached its bound")
            try:
                if begin and os.pread(self._fd, 1, begin - 1) != b"\n":  # somebody died in the middle of a line
                    data = b"\n" + data
                self._write_all(data)
                os.fsync(self._fd)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, begin)  # no half of a line, and nothing that is also counted as dropped
                raise
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def lines_of(rows: Sequence[Row], reason: str, mode: str, table: str) -> list[dict[str, Any]]:
    """The objects that stand for rows in this file, and in those of the spool."""
    where = {"_error": reason, "_mode": mode, "_table": table}
    return [msgspec.json.decode(encode_records([row.record])) | row.unknown | where for row in rows]
