"""Takes away at the end what only root may, when the service itself is root no more."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_END_S: Final = 1.0
_LOOK_S: Final = 0.01
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_Identity = tuple[int, int]


class Sweeper:
    """A process that stays as it is while the service drops its rights, holds nothing open, and only waits for the end.

    It sees the end of the service, however that comes, as that of a pipe which nobody writes to.

    Args:
        places: sockets and FIFOs in folders that only root may change.
        folder: what the service made for them; it goes if it is empty. None = it made none.
    """

    def __init__(self, places: Sequence[Path], folder: Path | None) -> None:
        made = [(path, identity) for path in places if (identity := _identity(path)) is not None]
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _let_go_of_all_but(reading)
                os.read(reading, 1)
                _sweep(made, folder)
            finally:  # nothing may run the parent's code behind the fork
                os._exit(0)
        os.close(reading)

    def close(self) -> None:
        """Let it sweep, once all processes of the service have ended, and wait for that a moment."""
        os.close(self._writing)
        until_s = time.monotonic() + _END_S
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self._pid, os.WNOHANG)[0] == 0 and time.monotonic() < until_s:
                time.sleep(_LOOK_S)


def _let_go_of_all_but(kept: int) -> None:
    for number in _SIGNALS:  # what is meant for the service; its end is what counts here
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sweep(made: Sequence[tuple[Path, _Identity]], folder: Path | None) -> None:
    for path, identity in made:
        if _identity(path) == identity:  # else another service has put its own there
            with contextlib.suppress(OSError):
                path.unlink()
    if folder is not None:
        with contextlib.suppress(OSError):  # it is not empty: somebody else uses it
            folder.rmdir()
