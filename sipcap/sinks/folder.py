"""Batches into the files of a folder, each whole or not at all: what the sinks of files share (design 1.10).

A file system has no transactions. Before a batch the journal says where the files end, and after it that it is stored;
a batch that was begun and not finished, because the disk is full or somebody was killed, is cut off again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from sipcap.errors import CannotStart, SinkError
from sipcap.sinks.journal import Ending, Journal, write_all

_MAX_NAME_BYTES: Final = 255
_SHOWN: Final = 80  # characters of a table's name in a message
_LOGGER = logging.getLogger("sipcap")


class TableFile:
    """A file that is open for a batch.

    ``end`` is where it ended before; what the batch adds is collected in ``data``.

    Args:
        folder: where it is.
        name: of the file; a link is followed, wherever it points to.
        create: whether it is created if it is not there.
    """

    def __init__(self, folder: Path, name: str, *, create: bool) -> None:
        self.name = name
        self.path = Path(os.path.realpath(folder / name))
        self.data = bytearray()
        self._fd, self.is_new = _opened(self.path, create=create)
        status = os.fstat(self._fd)
        self.inode, self.end = status.st_ino, status.st_size
        self.is_file = stat.S_ISREG(status.st_mode)
        self._is_touched = False

    def read(self, size: int, offset: int) -> bytes:
        """Bytes of the file as it was before the batch."""
        return os.pread(self._fd, size, offset)

    @property
    def ends_in_a_line(self) -> bool:
        """Whether the last line is complete; an empty file has none that is not."""
        return not self.end or self.read(1, self.end - 1) == b"\n"

    def append(self) -> None:
        """Write ``data`` behind what is there, durably."""
        self._is_touched = True
        write_all(self._fd, self.data)
        os.fdatasync(self._fd)

    def undo(self) -> None:
        """Take back what this batch has done to it."""
        if self._is_touched:
            self.cut(self.end, len(self.data))
        self.remove_if(self.is_new)

    def cut(self, end: int, room: int) -> int | None:
        """Take off what a batch has added, at most *room* bytes; returns how many, None if it is not only that."""
        added = os.fstat(self._fd).st_size - end
        if not 0 <= added <= room:
            return None
        os.ftruncate(self._fd, end)
        os.fdatasync(self._fd)
        return added

    def remove_if(self, is_new: bool) -> None:
        """Remove a file that was made for the batch and is empty again."""
        if is_new and not os.fstat(self._fd).st_size:
            self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class Batch:
    """The files of one batch. Nobody else writes to the folder until it is over."""

    def __init__(self, folder: Path, journal: Journal, batch_id: str, *, create: bool) -> None:
        self.files: dict[str, TableFile] = {}
        self._folder = folder
        self._journal = journal
        self._batch_id = batch_id
        self._create = create
        self.is_stored = journal.has(batch_id)
        """Whether it was stored before: then there is nothing to do."""

    def file(self, name: str) -> TableFile:
        """A file of the folder; created if that is allowed.

        Raises:
            SinkError: its name or kind is impossible, or it is not there.
            OSError: it cannot be opened.
        """
        file = self.files.get(name)
        if file is None:
            try:
                file = self.files[name] = TableFile(self._folder, name, create=self._create)
            except FileNotFoundError:
                if self._create:
                    raise  # the folder itself is gone
                raise _refused(self._folder / name, "does not exist, and --no-create is set") from None
            except IsADirectoryError:
                raise _refused(self._folder / name, "is no file") from None
            if not file.is_file:
                raise _refused(self._folder / name, "is no file")
        return file

    def store(self) -> None:
        """Append the data of all files, or of none."""
        files = [file for file in self.files.values() if file.data]
        endings = [Ending(file.name, file.inode, file.end, len(file.data), file.is_new) for file in files]
        self._journal.begin(self._batch_id, endings)
        for file in files:
            file.append()
        if any(file.is_new for file in files):
            sync_folder(self._folder)
        self._journal.commit(self._batch_id)

    def undo(self) -> None:
        """Leave everything as it was before; what cannot be undone now is undone before the next batch."""
        with contextlib.suppress(OSError):
            for file in self.files.values():
                file.undo()
            self._journal.take_back()


class Folder:
    """A folder with a file a table.

    Args:
        path: created with mode 0700 if it is not there.
        create: whether what is missing is created.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        self._create = create

    def open(self) -> None:
        """Make sure of the folder, and cut off what somebody who was killed has left; raises CannotStart."""
        try:
            if self._create:
                self.path.mkdir(mode=0o700, exist_ok=True)
            journal = Journal(self.path)
            try:
                self._recover(journal)
                sync_folder(self.path)
            finally:
                journal.close()
        except (OSError, ValueError) as error:
            raise CannotStart(f"cannot use the folder {self.path}: {said(error)}") from None

    @contextlib.contextmanager
    def batch(self, batch_id: str) -> Iterator[Batch]:
        """Begin a batch; what is not stored when it is left with an exception leaves no trace.

        Raises:
            SinkError: as by what runs in it; an OSError in it becomes a transient one.
        """
        try:
            journal = Journal(self.path)
            try:
                self._recover(journal)
                with _closing(Batch(self.path, journal, batch_id, create=self._create)) as batch:
                    yield batch
            finally:
                journal.close()
        except OSError as error:
            where = error.filename or self.path
            raise SinkError(f"{where}: {said(error)}", transient=True) from None
        except UnicodeEncodeError as error:
            raise SinkError(f"{self.path}: {error}", transient=False) from None

    def _recover(self, journal: Journal) -> None:
        """Cut off a batch in the middle of which somebody died."""
        if journal.unfinished is None:
            return
        cut = list(self._cut(journal.unfinished.endings))
        journal.take_back()
        if cut:
            _LOGGER.warning("%s: cut off a batch that was not finished: %s", self.path, ", ".join(cut))

    def _cut(self, endings: Iterable[Ending]) -> Iterator[str]:
        for ending in endings:
            try:
                file = TableFile(self.path, ending.name, create=False)
            except (FileNotFoundError, IsADirectoryError):
                continue
            try:
                added = file.cut(ending.end, ending.room) if file.inode == ending.inode else None
                if added is None:
                    _LOGGER.warning("%s was changed by somebody else; it may hold a part of a batch", file.path)
                    continue
                file.remove_if(ending.is_new)
                if added:
                    yield f"{added} bytes of {ending.name}"
            finally:
                file.close()


@contextlib.contextmanager
def _closing(batch: Batch) -> Iterator[Batch]:
    try:
        yield batch
    except BaseException:
        batch.undo()
        raise
    finally:
        for file in batch.files.values():
            file.close()


def check_name(table: str, file_name: str) -> None:
    """Raise SinkError for a table whose file would not be one of the folder, or not be seen there."""
    try:
        is_fit = 0 < len(file_name.encode()) <= _MAX_NAME_BYTES
    except UnicodeEncodeError:
        is_fit = False
    if not is_fit or not table or table.startswith(".") or "/" in table or not table.isprintable():
        raise SinkError(f"no table in a folder can be called {table[:_SHOWN]!r}", transient=False)


def said(error: Exception) -> str:
    """What an error says, without the file's name."""
    return getattr(error, "strerror", None) or str(error)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable; raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _refused(path: Path, why: str) -> SinkError:
    return SinkError(f"{path} {why}", transient=False)


def _opened(path: Path, *, create: bool) -> tuple[int, bool]:
    """Open a file for appending, and whether it is a new one; a FIFO does not make us wait."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
    if create:
        with contextlib.suppress(FileExistsError):
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
    return os.open(path, flags), False
