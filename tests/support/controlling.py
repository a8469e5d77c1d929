"""A service that can be switched and asked, and its control server, for tests that need no capture."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sipcap
from sipcap.activity import Activity
from sipcap.counters import Counters
from sipcap.latency import Histogram
from sipcap.service.control.server import ControlOptions, ControlServer
from sipcap.service.controller import Controller, ReloadError, UnknownMode

PATIENCE_S = 30.0


class SmallService:
    """Keeps the state of a service with two capture modes and one listener; a ``Controller``.

    Args:
        trouble: what ``reload`` says is wrong.
    """

    def __init__(self, trouble: str = "") -> None:
        self.on: dict[str | None, bool] = {None: True, "default": True, "mode1": True}
        self.trouble = trouble
        self.reloads = 0
        self.counters = Counters()
        self.activity = Activity()
        self.batches = Histogram()
        self.databases = Histogram()
        self.worker_pids = [4242]
        self.sorting_pid = 4243
        self.storing_pid = 4244
        self.database_up = True
        self.database_tried = True
        self.spool_bytes: int | None = 0
        self.spool_full = False
        self.errors: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def set_capture(self, mode: str | None, *, on: bool) -> None:
        """Switch."""
        with self._lock:
            if mode not in self.on:
                raise UnknownMode(mode)
            self.on[mode] = on

    def capture_is_on(self, mode: str | None = None) -> bool:
        """Look."""
        with self._lock:
            if mode not in self.on:
                raise UnknownMode(mode)
            return self.on[mode]

    def reload(self) -> None:
        """Count it, or refuse."""
        if self.trouble:
            raise ReloadError(self.trouble)
        self.reloads += 1

    def stats(self) -> dict[str, Any]:
        """The whole state, with the keys that ``Controller.stats`` documents."""
        return {
            "version": sipcap.__version__,
            "pid": 4241,
            "started_us": 1_700_000_000_000_000,
            "enabled": self.on[None],
            "modes": {mode: on for mode, on in self.on.items() if mode is not None},
            "counters": self.counters.as_dict(),
            "listeners": [
                {
                    "name": "hep",
                    "addresses": ["udp:127.0.0.1:9060"],
                    "workers": [
                        {"pid": pid, "restarts": 2, "counters": self.counters.as_dict()} for pid in self.worker_pids
                    ],
                }
            ],
            "sorting": {"pid": self.sorting_pid, "restarts": 0},
            "stores": [self._store("default", 7, 5), self._store("mode1", 2, 1)],
            "activity": self.activity.as_dict(),
            "latency": {"batch_s": self.batches.as_dict(), "database_s": self.databases.as_dict()},
            "errors": self.errors,
        }

    def _store(self, mode: str, requests: int, replies: int) -> dict[str, Any]:
        return {
            "mode": mode,
            "pid": self.storing_pid,
            "counters": self.counters.as_dict(),
            "requests": requests,
            "replies": replies,
            "queue": 3,
            "spool_bytes": self.spool_bytes,
            "spool_records": None if self.spool_bytes is None else 0,
            "spool_full": self.spool_full,
            "database_up": self.database_up,
            "database_tried": self.database_tried,
        }


@contextmanager
def serving(controller: Controller, **options: str) -> Iterator[ControlServer]:
    """A control server with these ControlOptions, ended behind the test."""
    server = ControlServer(ControlOptions(**options), controller)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def connected(path: Path | str) -> Iterator[socket.socket]:
    """A client of a Unix stream socket, with patience."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))  # before the time-out, with which it would not wait for a place in the queue
        connection.settimeout(PATIENCE_S)
        yield connection


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


def read_line(connection: socket.socket) -> bytes:
    """One line, with its end."""
    found = b""
    while not found.endswith(b"\n"):
        piece = connection.recv(1)
        assert piece, found
        found += piece
    return found
