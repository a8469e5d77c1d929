"""Unix sockets and FIFOs in the file system: made with the right mode, and never taken from one who answers."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sipcap.errors import CannotStart

_BACKLOG: Final = 64
_LOCK_S: Final = 2.0
_LOCK_PAUSE_S: Final = 0.02
_PRIVATE: Final = 0o600
_GROUP: Final = 0o660


class Place:
    """A name in the file system that this process has made; ``remove`` takes away what is still its own.

    Args:
        path: the socket or FIFO.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._made = self._identity()

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def remove(self) -> None:
        """Remove it, unless somebody else has put theirs there."""
        if self._made is not None and self._identity() == self._made:
            with contextlib.suppress(OSError):  # without the right to, after privileges were dropped: found stale later
                self.path.unlink()


def bind_unix(path: str, kind: socket.SocketKind, group: str | None) -> tuple[socket.socket, Place]:
    """Make a Unix socket that does not block, listening if it is a stream.

    Args:
        path: where; a socket that nobody answers at is replaced.
        kind: ``SOCK_STREAM`` or ``SOCK_DGRAM``.
        group: who may use it beside its owner (mode 0660); None = nobody (0600).

    Raises:
        CannotStart: another process answers there, it is something else, or it is not allowed.
    """
    bound = socket.socket(socket.AF_UNIX, kind)
    try:
        with _telling(path), _locked_folder(path):
            _clear(path, kind)
            # Linux makes the file with the mode that the socket has: there is no moment in which others may use it.
            os.fchmod(bound.fileno(), _PRIVATE)
            bound.bind(path)
            place = Place(path)
            _share(path, group)
            bound.setblocking(False)
            if kind == socket.SOCK_STREAM:
                bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound, place


def make_fifo(path: str, group: str | None) -> tuple[int, Place]:
    """Make a FIFO and open it for reading without blocking; as ``bind_unix``.

    It is open for writing too, or its end would be seen whenever a client closes it.
    """
    with _telling(path), _locked_folder(path):
        _clear_fifo(path)
        os.mkfifo(path, _PRIVATE)
        place = Place(path)
        _share(path, group)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), place


@contextlib.contextmanager
def _telling(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        reason = getattr(error, "strerror", None) or str(error)  # "AF_UNIX path too long" has no strerror
        raise CannotStart(f"{path}: {reason}") from None


@contextlib.contextmanager
def _locked_folder(path: str) -> Iterator[None]:
    """Let no other sipcap look and bind at the same time: both would find that nobody answers."""
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end_s = time.monotonic() + _LOCK_S
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end_s:
                    raise CannotStart(f"{path}: its folder is locked by another process") from None
                time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(folder)


def _clear(path: str, kind: socket.SocketKind) -> None:
    """Remove a socket that nobody answers at."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotStart(f"{path}: something that is no socket is there")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED:
                Path(path).unlink()
                return
            if error.errno not in {errno.EAGAIN, errno.EPROTOTYPE}:  # a full backlog, another kind of socket
                raise
    raise CannotStart(f"{path}: another process answers there")


def _clear_fifo(path: str) -> None:
    """Remove a FIFO that nobody reads."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISFIFO(mode):
        raise CannotStart(f"{path}: something that is no FIFO is there")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        Path(path).unlink()
        return
    raise CannotStart(f"{path}: another process reads there")


def _share(path: str, group: str | None) -> None:
    if group is None:
        return
    try:
        shutil.chown(path, group=int(group) if group.isdigit() else group)
    except LookupError:
        raise CannotStart(f"{path}: there is no group {group}") from None
    Path(path).chmod(_GROUP)
