"""What the tests of the sinks of files share: rows, full disks, other people's locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from sipcap.record import Record
from sipcap.sinks.base import Row
from sipcap.sinks.journal import NAME


def rows(*values: Record) -> list[Row]:
    """Records as a sink takes them."""
    return [Row(record, {}) for record in values]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a folder, without the journal."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != NAME}


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file can be written beyond so many bytes: the write that would is done in part, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Somebody else is writing to the folder."""
    fd = os.open(folder / NAME, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
