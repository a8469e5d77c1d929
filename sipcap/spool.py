"""Records on disk because the database was away (design 1.10): one file a batch, until the database has it.

A file has the lines of the dead-letter file, and a name that says how many there are, their checksum and the id of the
batch: whoever stores it uses that id, so that a database which has the batch already does not take it twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from sipcap.deadletter import lines_of
from sipcap.errors import CannotStart, InputError
from sipcap.ndjson import BadLine, decode_record
from sipcap.sinks.base import Row
from sipcap.sinks.folder import sync_folder
from sipcap.spool_files import files_in, lock_folder, remove_empty_folders, remove_if_empty, write_durably

_LOGGER = logging.getLogger("sipcap")
_NAME: Final = re.compile(r"\d{20}-(\d{1,9})-([0-9a-f]{8})-([0-9a-z-]{1,64})\.ndjson")
_TIME_DIGITS: Final = 20
_BLOCK: Final = 4_096  # what even the smallest file takes of the disk
_KEY_CHARACTERS: Final = 16
_LOOK_S: Final = 10.0  # between two looks at what other processes left


class BadSegment(ValueError):
    """A file of the spool that is not whole; the text says why."""


class Segment(NamedTuple):
    """A batch on disk."""

    path: Path
    batch_id: str
    records: int
    checksum: int
    is_own: bool
    """Whether this process put it there."""

    @property
    def since_s(self) -> float:
        """When it was put there, in seconds since 1970."""
        return int(self.path.name[:_TIME_DIGITS]) / 1e9

    def load(self) -> tuple[str, dict[str, list[Row]]]:
        """Read the capture mode and the rows by table.

        Raises:
            BadSegment: it is not what was written.
            OSError: it cannot be read.
        """
        data = self.path.read_bytes()
        if zlib.crc32(data) != self.checksum:
            raise BadSegment("it is not whole")
        mode = ""
        tables: dict[str, list[Row]] = {}
        lines = data.splitlines()
        if len(lines) != self.records:
            raise BadSegment("it has not as many records as its name says")
        for line in lines:
            try:
                record, unknown = decode_record(line, lambda _known: {})
                mode, table = unknown.pop("_mode"), unknown.pop("_table")
                unknown.pop("_error")
            except (BadLine, InputError, KeyError) as error:
                raise BadSegment(str(error)) from None
            if not (isinstance(mode, str) and isinstance(table, str)):
                raise BadSegment("it does not say where its records belong")
            tables.setdefault(table, []).append(Row(record, unknown))
        return mode, tables


def segment_of(path: Path, *, is_own: bool = False) -> Segment | None:
    """What the name of a file says; None if it is no name of a spool."""
    found = _NAME.fullmatch(path.name)
    return Segment(path, found[3], int(found[1]), int(found[2], 16), is_own) if found else None


def place_key(mode: str, destination: str) -> str:
    """How the folders of a destination begin, up to the point; see ``Spool.place``."""
    return hashlib.sha256(f"{mode}\0{destination}".encode()).hexdigest()[:_KEY_CHARACTERS]


class Spool:
    """The folder of all destinations, with one bound on what they take together.

    Args:
        path: created with mode 0700 if it is not there.
        max_bytes: what it may take of the disk.

    Raises:
        CannotStart: it cannot be written.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._left = max_bytes
        self._claimed: set[str] = set()
        self._places: list[SpoolPlace] = []
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for entry in files_in(path):
                with contextlib.suppress(FileNotFoundError):  # somebody stored it meanwhile
                    self._left -= _size_on_disk(entry.stat().st_size)
        except OSError as error:
            raise CannotStart(f"cannot write the spool {path}: {error.strerror}") from None

    def place(self, mode: str, destination: str) -> SpoolPlace:
        """Where the records of one capture mode wait for their database.

        Args:
            mode: the capture mode.
            destination: a text that says which database it is; records that wait for another are left alone.

        Raises:
            CannotStart: it cannot be written.
        """
        key = self.claim(mode, destination)
        try:
            place = SpoolPlace(self, mode, key)
        except OSError as error:
            raise CannotStart(f"cannot write the spool {self.path}: {error.strerror}") from None
        self._places.append(place)
        return place

    def claim(self, mode: str, destination: str) -> str:
        """Note that somebody of ours takes what waits for this mode and database; returns its key."""
        key = place_key(mode, destination)
        self._claimed.add(key)
        return key

    def report_strangers(self) -> None:
        """Say what waits for destinations that are none of ours."""
        segments = (
            segment_of(path) for path in files_in(self.path) if path.parent.name[:_KEY_CHARACTERS] not in self._claimed
        )
        records = sum(segment.records for segment in segments if segment)
        if records:
            _LOGGER.warning(
                "%s: %d record(s) wait for another database or capture mode; sipcap store takes its files",
                self.path, records,
            )  # fmt: skip

    def reserve(self, size: int) -> bool:
        """Whether so many bytes still fit; then they are taken."""
        fits = _size_on_disk(size) <= self._left
        self._left -= _size_on_disk(size) if fits else 0
        return fits

    def release(self, size: int) -> None:
        """Give bytes back."""
        self._left += _size_on_disk(size)

    def close(self) -> None:
        """Let other processes take over what is left; of folders nothing is, unless there is something in them."""
        for place in self._places:
            place.close()
        remove_empty_folders(self.path)


class SpoolPlace:
    """The part of a spool that is for one destination; a folder that no other process uses meanwhile.

    What earlier processes left for this destination is taken over.
    """

    def __init__(self, spool: Spool, mode: str, key: str) -> None:
        self._spool = spool
        self._mode = mode
        self._key = key
        self._last = 0
        self._look_s = time.monotonic() + _LOOK_S
        self._locked: dict[Path, int] = {}
        self.segments: deque[Segment] = deque()
        """What waits, the oldest first; whoever has stored one removes it."""
        self.note_leaving: Callable[[], object] = lambda: None
        """Called before a file is removed: after a sudden end of this process, others know whose work that was."""
        try:
            self._adopt()
            number = 0
            while not self._locked:
                folder = spool.path / f"{key}.{number}"
                with contextlib.suppress(FileExistsError):  # not exist_ok: its owner may remove the folder meanwhile
                    os.mkdir(folder, 0o700)  # noqa: PTH102  # Path.mkdir looks again, and finds nothing then
                sync_folder(spool.path)
                self._lock(folder)
                number += 1
            self._folder = next(iter(self._locked))
            self._check_writable()
        except OSError:
            self.close()
            raise

    def oldest_s(self) -> float:
        """When the oldest batch that waits was put there, in seconds since 1970; infinity if none does."""
        return min((segment.since_s for segment in list(self.segments)), default=float("inf"))

    def look(self) -> None:
        """Take over, now and then, what a process left that ended meanwhile."""
        if time.monotonic() >= self._look_s:
            self._look_s = time.monotonic() + _LOOK_S
            with contextlib.suppress(OSError):  # the next look may do better
                self._adopt()

    def _adopt(self) -> None:
        for folder in sorted(self._spool.path.glob(f"{self._key}.*")):
            if folder not in self._locked:
                self._lock(folder)
        self.segments = deque(sorted(self.segments, key=lambda segment: segment.path.name))

    def _lock(self, folder: Path) -> None:
        """Take a folder over with all that is in it, if no other process has it."""
        fd = lock_folder(folder)
        if fd is None:
            return
        self._locked[folder] = fd
        for path in folder.iterdir():
            segment = segment_of(path)
            if segment is not None:
                self.segments.append(segment)
            else:
                _LOGGER.warning("%s is no whole file of a spool; it is left alone", path)

    def _check_writable(self) -> None:
        probe = self._folder / ".probe"
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        probe.unlink()

    def keep(self, batch_id: str, tables: Mapping[str, Sequence[Row]], reason: str) -> int:
        """Make a batch durable.

        Returns:
            How many records these are.

        Raises:
            OSError: it is not kept: the spool or the disk is full, or broken.
        """
        lines: list[dict[str, Any]] = []
        for table, rows in tables.items():
            lines += lines_of(rows, reason, self._mode, table)
        data = msgspec.json.Encoder().encode_lines(lines)
        if not self._spool.reserve(len(data)):
            raise OSError(None, "the spool has reached its bound")
        self._last = max(time.time_ns(), self._last + 1)
        checksum = zlib.crc32(data)
        path = self._folder / f"{self._last:020d}-{len(lines)}-{checksum:08x}-{batch_id}.ndjson"
        try:
            write_durably(path, data)
        except OSError:
            self._spool.release(len(data))
            raise
        self.segments.append(Segment(path, batch_id, len(lines), checksum, is_own=True))
        return len(lines)

    def remove(self, segment: Segment) -> None:
        """Remove a batch that is stored."""
        self.note_leaving()
        try:
            size = segment.path.stat().st_size
            segment.path.unlink()
        except OSError as error:
            # Its id keeps it from being stored twice by whoever finds it.
            _LOGGER.warning("%s is stored, and cannot be removed: %s", segment.path, error.strerror)
        else:
            self._spool.release(size)

    def close(self) -> None:
        """Let another process take over; may be called twice."""
        while self._locked:
            folder, fd = self._locked.popitem()
            remove_if_empty(folder)
            os.close(fd)


def _size_on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
