"""How long the ids of committed batches are remembered (design 1.10)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sipcap.limits import BATCH_LEDGER_KEEP_S

_MARGIN_S: Final = 3_600.0
"""A batch may have been committed so long before it was given up: all its attempts, and clocks that differ."""


class Memory:
    """Says which ids may be forgotten: old ones, but none of a batch that waits in our spool."""

    def __init__(self) -> None:
        self.oldest_s: Callable[[], float] = lambda: float("inf")

    def forget_before_s(self) -> int:
        """Ids that were entered before this may go; seconds since 1970."""
        return int(min(time.time() - BATCH_LEDGER_KEEP_S, self.oldest_s() - _MARGIN_S))
