"""The turnstile that several processes share."""

from __future__ import annotations

import os
import time

from sipcap.turnstile import UNLIMITED, SharedTurnstile


def test_turnstile_seen_without_a_turn_never_shows_half_a_number() -> None:
    """A look at what is left while others write never reads 0: that would end their capture."""
    reading, writing = os.pipe()
    turnstile = SharedTurnstile(writing)
    writer = os.fork()
    if not writer:
        while True:
            with turnstile:
                turnstile.passed(1)
    try:
        until_s = time.monotonic() + 1.0
        seen = UNLIMITED
        while time.monotonic() < until_s:
            left = turnstile.left
            assert UNLIMITED // 2 < left <= seen
            seen = left
        assert seen < UNLIMITED
    finally:
        os.kill(writer, 9)
        os.waitpid(writer, 0)
        os.close(reading)
        os.close(writing)
