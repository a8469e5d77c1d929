"""How many tables live input may cause: whoever sends times or names at will must not fill a database with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sipcap.limits import MAX_NEW_TABLES_PER_HOUR

_HOUR_S: Final = 3_600.0


class Budget:
    """Allows so many new tables or partitions an hour (design 1.6).

    A name that was allowed stays so for its hour: the transaction that created it may have failed, or it was dropped.

    Args:
        limit: names an hour.
        clock: in seconds.
    """

    def __init__(self, limit: int = MAX_NEW_TABLES_PER_HOUR, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._allowed: dict[str, float] = {}  # oldest first

    def allows(self, name: str) -> bool:
        """Whether it may be created now."""
        now_s = self._clock()
        for old, since_s in list(self._allowed.items()):
            if now_s - since_s < _HOUR_S:
                break
            del self._allowed[old]
        if name not in self._allowed:
            if len(self._allowed) >= self._limit:
                return False
            self._allowed[name] = now_s
        return True

    def reason(self, name: str) -> str:
        """Why it is not created."""
        return f"{name} is not created: live input may cause {self._limit} new tables or partitions an hour"
