"""Keys that are pressed while a page is shown."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from typing import Any, Self


class Keys:
    """Single keys of the terminal at stdin, within ``with``: neither shown nor kept until Enter.

    Where stdin is no terminal, or one that another job has, no key is ever pressed.
    """

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._before: list[Any] | None = None

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError, termios.error):
            if os.isatty(self._fd) and self._is_ours():
                before = termios.tcgetattr(self._fd)
                tty.setcbreak(self._fd)
                self._before = before
        return self

    def _is_ours(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:  # a terminal without jobs
            return True

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the terminal as it was; may be called twice."""
        before, self._before = self._before, None
        if before is not None:
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, before)

    @property
    def are_heard(self) -> bool:
        """Whether there is somebody to press one."""
        return self._before is not None

    def pressed(self, key: bytes) -> bool:
        """Whether this key, in either case, has been pressed since the last look at the keys."""
        if not self.are_heard or not select.select([self._fd], [], [], 0)[0]:
            return False
        with contextlib.suppress(OSError):  # the terminal has gone
            return key in os.read(self._fd, 1_024).lower()
        return False
