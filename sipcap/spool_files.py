"""The folders and files of a spool: which process has a folder, and writing that survives a power failure."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import Final

from sipcap.sinks.folder import sync_folder

_FOLDER: Final = re.compile(r"[0-9a-f]{16}\.\d{1,9}")


def files_in(spool: Path) -> list[Path]:
    """What is in the folders of a spool. Another process may remove a folder meanwhile; nothing is in it then.

    Raises:
        OSError: the spool cannot be read; one that is not there has no files.
    """
    found: list[Path] = []
    with contextlib.suppress(FileNotFoundError):
        for folder in sorted(each for each in spool.iterdir() if each.is_dir()):
            with contextlib.suppress(FileNotFoundError, PermissionError):
                found += sorted(folder.iterdir())
    return found


def lock_folder(folder: Path) -> int | None:
    """Take a folder for this process: the descriptor that holds it; None if another one has it or has removed it."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with contextlib.suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), folder.stat()):  # or it was removed just before, and perhaps made again
            return fd
    os.close(fd)
    return None


def is_in_use(folder: Path) -> bool:
    """Whether another process has a folder. It is locked for a moment only, and shared with others who look."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False  # it is gone, or nobody may see what is in it
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that this process holds; the system refuses it if anything is in it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_empty_folders(spool: Path) -> None:
    """Remove the folders of a spool that nobody has and nothing is in, whoever left them."""
    with contextlib.suppress(OSError):  # what is not removed now is at the next stop
        for folder in spool.iterdir():
            # One with something in it is not even locked: whoever starts now must find it free.
            if _FOLDER.fullmatch(folder.name) and not any(folder.iterdir()) and (fd := lock_folder(folder)) is not None:
                remove_if_empty(folder)
                os.close(fd)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that is there whole, or not at all, also after a power failure; raises OSError."""
    unfinished = path.with_name(f".{path.stem}.tmp")
    try:
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
        unfinished.rename(path)
        sync_folder(path.parent)
    except OSError:
        for name in (unfinished, path):
            with contextlib.suppress(OSError):
                name.unlink()
        raise
