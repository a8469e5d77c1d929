"""Signals: the first one drains, the second one leaves at once (design 1.1); SIGUSR1 asks for the counters."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from sipcap.counters import COUNTING, Counters

_LOGGER = logging.getLogger("sipcap")
_ONE_STOP_S: Final = 0.1
"""Signals this close together are one: timeout(1) and shells send theirs to the process and to its group."""


class Stop:
    """Says whether the command shall stop.

    The handlers only set a flag: nothing else is safe in them. Whoever waits does so for a tenth of a
    second at most, and looks.

    A terminal that goes away (SIGHUP) stops a command as SIGTERM does, unless it was started with nohup.
    It never counts as the second signal: the kernel and the shell both send it.

    SIGUSR1 asks for the counters: whoever works gives them to ``answer`` at its ticks.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        """The first signal that came; 0 = none."""
        self.requested = False
        self._since_s = 0.0
        self._asked = False
        self.leaving: list[Callable[[], None]] = []
        """What is done before the process leaves at once: end other processes."""

    def install(self) -> None:
        """Take over SIGINT and SIGTERM, also where a shell started us with SIGINT ignored, and SIGUSR1."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_hang_up)
        signal.signal(signal.SIGUSR1, self._on_question)
        # A closed stdout or socket shows as BrokenPipeError where it is written, never as a death.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        # A parent may have it ignored; the kernel would then throw away how our processes ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    def request(self) -> None:
        """Stop without a signal: a count or a duration is reached."""
        self.requested = True

    def answer(self, counters: Callable[[], Counters]) -> None:
        """Say the counters if somebody has asked for them; what is on its way is ``pending``.

        Only the main thread answers: others may come here while they wait for something.
        """
        if not self._asked or threading.current_thread() is not threading.main_thread():
            return
        self._asked = False
        told = Counters()
        with COUNTING:
            told.add(counters().as_dict())
        told.pending += max(told.imbalance(), 0)
        _LOGGER.warning("%s", told.summary(), extra={"fields": told.as_dict(), "is_answer": True})

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self.signal_number and now_s - self._since_s < _ONE_STOP_S:
            return
        if self.signal_number:
            for act in self.leaving:
                with contextlib.suppress(OSError):  # somebody who has gone already keeps nobody here
                    act()
            os._exit(128 + number)
        self._since_s = now_s
        self.signal_number = number
        self.requested = True

    def _on_hang_up(self, _number: int, _frame: FrameType | None) -> None:
        self.signal_number = self.signal_number or signal.SIGTERM
        self.requested = True

    def _on_question(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
