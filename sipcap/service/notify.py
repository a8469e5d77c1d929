"""What systemd is told of the service, and how often (sd_notify(3)): the socket's protocol is lines of KEY=VALUE."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

_STATUS_S: Final = 10.0


class Notifier:
    """Sends states to the socket that ``NOTIFY_SOCKET`` names; without one it does nothing.

    The variables are taken away, so that no child speaks for the service.

    Args:
        environment: of the process.
    """

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        path = environment.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._watch_s = _watch_s(environment)
        self._next_watch_s = 0.0
        self._next_status_s = 0.0

    def send(self, *lines: str) -> None:
        """Send some lines; who does not hear them keeps nothing from going on."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)
            to.sendto("\n".join(lines).encode(), self._address)

    def reloading(self) -> None:
        """A reload begins; ``READY=1`` ends it."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def live(self) -> None:
        """The service is alive: to be called several times a second."""
        if self._watch_s and time.monotonic() >= self._next_watch_s:
            self._next_watch_s = time.monotonic() + self._watch_s / 3
            self.send("WATCHDOG=1")

    def status_is_due(self) -> bool:
        """Whether it is time for another line about the state."""
        if not self._address or time.monotonic() < self._next_status_s:
            return False
        self._next_status_s = time.monotonic() + _STATUS_S
        return True


def _watch_s(environment: MutableMapping[str, str]) -> float:
    """How often systemd wants to hear from this process; 0 = never."""
    pid = environment.pop("WATCHDOG_PID", "")
    text = environment.pop("WATCHDOG_USEC", "")
    if not text.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(text) / 1_000_000
