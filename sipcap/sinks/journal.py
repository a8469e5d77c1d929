"""Which batches the files of a folder hold, and where each file ended before the last one (design 1.10)."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from sipcap.limits import FILE_BATCHES_KEPT, FILE_LOCK_S

NAME: Final = ".sipcap_batches"
_LOOK_S: Final = 0.01


class Unusable(OSError):
    """The journal is damaged, or another process has been writing for too long."""


class Ending(Struct, array_like=True):
    """Where a file ended before a batch; ``room`` is how many bytes the batch adds."""

    name: str
    inode: int
    end: int
    room: int
    is_new: bool


class Begun(Struct, tag="begun", tag_field="is"):
    """A batch whose rows are on their way into the files."""

    batch_id: str
    endings: list[Ending]


class Done(Struct, tag="done", tag_field="is"):
    """A batch that is stored."""

    batch_id: str


_encoder = msgspec.json.Encoder()
_decode = msgspec.json.Decoder(Begun | Done).decode


class Journal:
    """The journal of a folder, locked: while it is open, nobody else writes to the folder.

    Raises:
        OSError: it cannot be opened, read or understood, or somebody else does not let go of it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._fd = _locked(self._path)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        data = _read_all(self._fd)
        self._end = data.rfind(b"\n") + 1  # what stands behind it was never finished, and nothing was begun by it
        try:
            entries = [_decode(line) for line in data[: self._end].splitlines()]
        except msgspec.DecodeError:
            raise Unusable(f"{NAME} is damaged") from None
        self.unfinished = entries[-1] if entries and isinstance(entries[-1], Begun) else None
        """The batch in the middle of which somebody died."""
        self._done = [entry.batch_id for entry in entries if isinstance(entry, Done)]
        if self.unfinished is not None:
            self._end = data.rfind(b"\n", 0, self._end - 1) + 1

    def has(self, batch_id: str) -> bool:
        """Whether a batch is stored."""
        return batch_id in self._done

    def begin(self, batch_id: str, endings: Sequence[Ending]) -> None:
        """Note what is needed to take a batch back, before it is written."""
        if len(self._done) >= 2 * FILE_BATCHES_KEPT:
            self._forget_old()
        self._write(self._end, _encoder.encode_lines([Begun(batch_id, list(endings))]))

    def commit(self, batch_id: str) -> None:
        """Note that the batch that was begun is stored."""
        self._write(os.fstat(self._fd).st_size, _encoder.encode_lines([Done(batch_id)]))

    def take_back(self) -> None:
        """Forget the batch that was begun: nothing of it is in the files any more."""
        os.ftruncate(self._fd, self._end)
        os.fdatasync(self._fd)
        self.unfinished = None

    def _forget_old(self) -> None:
        kept = [Done(batch_id) for batch_id in self._done[-FILE_BATCHES_KEPT:]]
        new = self._path.with_name(f"{NAME}.new")
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # before others can open it by its name
            write_all(fd, _encoder.encode_lines(kept))
            os.fdatasync(fd)
            new.replace(self._path)
        except BaseException:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd
        self._end = os.fstat(fd).st_size

    def _write(self, at: int, data: bytes) -> None:
        os.ftruncate(self._fd, at)
        os.lseek(self._fd, at, os.SEEK_SET)
        write_all(self._fd, data)
        os.fdatasync(self._fd)

    def close(self) -> None:
        """Let others write."""
        os.close(self._fd)


def _locked(path: Path) -> int:
    """Open the journal and wait until it is ours; asked again and again, so that a signal is heard meanwhile."""
    until_s = time.monotonic() + FILE_LOCK_S
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), path.stat()):
                return fd
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it is not ours, or a new one has taken its place meanwhile
        if time.monotonic() >= until_s:
            raise Unusable(f"another process has been writing for {FILE_LOCK_S:g} s")
        time.sleep(_LOOK_S)


def _read_all(fd: int) -> bytes:
    pieces = []
    while piece := os.read(fd, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def write_all(fd: int, data: bytes | bytearray) -> None:
    """Write all of it, or raise OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
