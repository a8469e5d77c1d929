"""Log lines that hostile traffic can cause, at a bounded rate."""

from __future__ import annotations

import logging
import time
from typing import Final

_INTERVAL_S: Final = 10.0
_LOGGER = logging.getLogger("sipcap")


class Throttle:
    """Lets one line of a kind pass every ten seconds, and says how many were skipped.

    Args:
        template: of the line.
        first: so many lines pass before that: who reads a file wants to see what is wrong in it, one by one.
    """

    def __init__(self, template: str, *, first: int = 0) -> None:
        self._template = template
        self._first = first
        self._next_s = 0.0
        self._skipped = 0

    def warning(self, *args: object) -> None:
        """Log the template with these arguments, or count it as skipped."""
        if self._first:
            self._first -= 1
            _LOGGER.warning(self._template, *args)
            return
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._skipped += 1
            return
        self._next_s = now_s + _INTERVAL_S
        skipped = f" ({self._skipped} more like this)" if self._skipped else ""
        self._skipped = 0
        _LOGGER.warning(self._template + skipped, *args)
