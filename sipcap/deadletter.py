"""The file of records that the database refuses for themselves; ``sipcap store`` can read it again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from sipcap.errors import CannotStart
from sipcap.ndjson import encode_records
from sipcap.sinks.base import Row


class DeadLetterFile:
    """Appends records with the reason and the table that they were meant for.

    Args:
        path: created with mode 0600 if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(f"cannot write dead letters to {path}: {error.strerror}") from None

    def write(self, table: str, rows: Sequence[Row], reason: str) -> None:
        """Append rows and make them durable; OSError if that fails."""
        lines = []
        for row in rows:
            keys = msgspec.json.decode(encode_records([row.record]))
            lines.append(keys | row.unknown | {"_error": reason, "_table": table})
        data = msgspec.json.Encoder().encode_lines(lines)
        begin = os.fstat(self._fd).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError:
            os.ftruncate(self._fd, begin)  # no half of a line, and nothing that is also counted as dropped
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
