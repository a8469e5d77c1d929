"""When to send the next message: as captured, faster or slower, at a fixed rate, or at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

BACKWARD_US: Final = 1_000_000
"""A packet this much older than the one before it begins a new capture (a further file or loop) and is due at
once; a smaller step back is packets that a capture wrote out of order."""

_SLEEP_S: Final = 0.05
"""The longest sleep without a look at whether to stop."""


class Pacer:
    """Waits until a message is due.

    All deadlines are absolute and count from the first message, so that errors do not add up; a message
    whose deadline has passed is due at once.

    Args:
        speed: 1 = as captured, 2 = twice as fast; None = without waiting.
        rate: messages a second, whatever their times; None = by ``speed``.
    """

    def __init__(self, speed: float | None = 1.0, rate: float | None = None) -> None:
        self._scale = 1e-6 / speed if speed is not None and rate is None else 0.0
        self._interval_s = 0.0 if rate is None else 1.0 / rate
        self._due_s = 0.0
        self._last_us = 0

    def wait(self, packet_us: int, gives_up: Callable[[], bool]) -> bool:
        """Wait for the deadline of a message.

        Args:
            packet_us: when its packet was captured, microseconds.
            gives_up: asked while waiting; true ends the wait.

        Returns:
            Whether the deadline has come, and not the end.
        """
        if not self._due_s:
            self._due_s = time.monotonic()
        elif self._interval_s:
            self._due_s += self._interval_s
        elif self._scale:
            step_us = packet_us - self._last_us
            if step_us < -BACKWARD_US:
                step_us = 0
            self._due_s += step_us * self._scale
        self._last_us = packet_us
        while (left_s := self._due_s - time.monotonic()) > 0:
            if gives_up():
                return False
            time.sleep(min(left_s, _SLEEP_S))
        return True
