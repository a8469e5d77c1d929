"""How a command ends before its end: first signal drains, second leaves at once (design 1.1)."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Stop:
    """Says whether the command shall stop.

    The handlers only set a flag: nothing else is safe in them. Whoever waits does so for a tenth of a
    second at most, and looks.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        """The first signal that came; 0 = none."""
        self.requested = False

    def install(self) -> None:
        """Take over SIGINT and SIGTERM, also where a shell started us with SIGINT ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        # A closed stdout or socket shows as BrokenPipeError where it is written, never as a death.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def request(self) -> None:
        """Stop without a signal: a count or a duration is reached."""
        self.requested = True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number:
            os._exit(128 + number)
        self.signal_number = number
        self.requested = True
