"""Says while a capture runs that messages are being refused or lost: a service may run for months to its summary."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Final

from sipcap.counters import Counters

_LOOK_S: Final = 1.0
_SAY_S: Final = 10.0
_LOGGER = logging.getLogger("sipcap")


class LossWatch:
    """Looks at counters once a second and warns every ten seconds at most, with what came since the last time."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._seen: Counter[str] = Counter()
        self._next_look_s = time.monotonic() + _LOOK_S
        self._next_say_s = 0.0

    def __call__(self) -> None:
        """Look, if it is time to."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + _LOOK_S
        if now_s < self._next_say_s:
            return
        losses = Counter({f"rejected {reason}": count for reason, count in self._counters.rejected.items()})
        losses["dropped by the kernel"] = self._counters.kernel_dropped
        news = losses - self._seen
        if news:
            self._next_say_s = now_s + _SAY_S
            self._seen = losses
            parts = (f"{what}: {count}{self._sender(what)}" for what, count in sorted(news.items()))
            _LOGGER.warning("%s", ", ".join(parts))

    def _sender(self, what: str) -> str:
        sender = self._counters.last_senders.get(what.removeprefix("rejected "))
        return f" (last from {sender})" if sender else ""
