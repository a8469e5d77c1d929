"""The latest warnings and errors of a process, for those who look at the service from outside."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from sipcap.hiding import PasswordFilter

_LONGEST: Final = 400


class RecentErrors(logging.Handler):
    """Keeps the latest warnings and errors.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(PasswordFilter())
        self._size = size
        self._entries: deque[dict[str, Any]] = deque(maxlen=size)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        if "fields" not in vars(record):  # counters that somebody asked for
            self._entries.append({"ts_us": int(record.created * 1_000_000), "text": record.getMessage()[:_LONGEST]})

    def clear(self) -> None:
        """Forget all: those of the parent are not ours."""
        self._entries.clear()

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What was kept, the latest last: ``ts_us`` and ``text``."""
        return list(self._entries)

    def merged(self, others: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """With those of other processes, the latest last."""
        found = [entry for entries in (self.entries, *others) for entry in entries]
        return sorted(found, key=lambda entry: int(entry["ts_us"]))[-self._size :]
