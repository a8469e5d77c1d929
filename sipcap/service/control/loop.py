"""One thread that looks after all sockets of a server: whoever is slow or floods keeps nobody else waiting."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

_LONGEST_WAIT_S: Final = 1.0
_JOIN_S: Final = 5.0

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

Ready = Callable[[int], None]
"""What is called when something can be read or written; gets the events."""


class Part(Protocol):
    """What a loop looks after."""

    def tick(self, now_s: float) -> float:
        """Do what is due; returns after how many seconds to be called again at the latest."""

    def close(self, *, in_child: bool) -> None:
        """Close everything; in a forked child without touching what the parent still uses."""


class Loop:
    """Waits for descriptors and for time to pass, in a thread of its own.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._parts: list[Part] = []
        self._waking, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        self._selector.register(self._woken, READ, self._on_wake)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def add(self, part: Part) -> None:
        """Look after one part more; before ``start``."""
        self._parts.append(part)

    def watch(self, descriptor: int, events: int, ready: Ready) -> None:
        """Call *ready* when one of the events is there; 0 events = no more."""
        known = descriptor in self._selector.get_map()
        if events and known:
            self._selector.modify(descriptor, events, ready)
        elif events:
            self._selector.register(descriptor, events, ready)
        elif known:
            self._selector.unregister(descriptor)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and close all parts."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._waking.send(b"\0")
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        self._close_all(in_child=False)

    def close_in_child(self) -> None:
        """Let go of what a forked child inherited; there is no thread in it."""
        self._close_all(in_child=True)

    def _close_all(self, *, in_child: bool) -> None:
        for part in self._parts:
            part.close(in_child=in_child)
        self._parts.clear()
        # Not through the selector's methods: an epoll descriptor is the parent's too.
        self._selector.close()
        self._waking.close()
        self._woken.close()

    def _on_wake(self, _events: int) -> None:
        with contextlib.suppress(OSError):
            os.read(self._woken.fileno(), 64)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping:
            for key, events in self._selector.select(wait_s):
                # One that was closed by the call before this one is no longer meant.
                if self._is_watched(key):
                    key.data(events)
            now_s = time.monotonic()
            wait_s = min([_LONGEST_WAIT_S, *(part.tick(now_s) for part in self._parts)])

    def _is_watched(self, key: selectors.SelectorKey) -> bool:
        current = self._selector.get_map().get(key.fd)
        return current is not None and current.data == key.data
