"""Reading folders with one file a table: lines of NDJSON, or rows of Kamailio's db_text.

There is no index: each file is read once to find what matches, then the lines that do.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

from sipcap.calls.query import Query, holds
from sipcap.calls.readers.base import Gone, Layout, columns_of, form_of
from sipcap.calls.rebuild import Found, rebuild_with
from sipcap.calls.source import Block, Source
from sipcap.errors import CannotStart, InputError
from sipcap.extract import Extractor
from sipcap.limits import MAX_LINE_BYTES
from sipcap.ndjson import BadLine, decode_record, derive_with
from sipcap.record import date_text
from sipcap.sinks import dbtext
from sipcap.sinks.naming import Naming
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")
_VERSION: Final = "version"  # Kamailio's own table
_SPLIT: Final = re.compile(rb"((?:[^:\\]|\\.)*)(?::|$)", re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_MEANT: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"0": b"\0"}

Parse = Callable[[bytes], Found | None]
"""A line without its end, as a record; None if it is none."""


class FolderTables(ABC):
    """The files of a folder; see Tables.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = str(folder)

    @abstractmethod
    def _name(self, file_name: str) -> str:
        """The table of a file; "" if it is none."""

    @abstractmethod
    def _path(self, name: str) -> Path:
        """The file of a table."""

    @abstractmethod
    def _parser(self, file: BinaryIO) -> Parse | None:
        """How to read the lines of a file, which is left where they begin; None if it holds no messages."""

    def names(self) -> list[str]:
        """The tables of all files; see Tables."""
        try:
            names = [self._name(entry.name) for entry in os.scandir(self._folder) if entry.is_file()]
        except OSError as error:
            raise CannotStart(f"cannot read {self._folder}: {error.strerror}") from None
        return [name for name in names if name]

    def source(self, name: str, query: Query) -> Source | None:
        """A file; see Tables."""
        path = self._path(name)
        with _opened(path) as file:
            parse = self._parser(file)
            start = file.tell()
        if parse is None:
            _LOGGER.warning("%s is no table of messages; not read", name)
            return None
        return _File(name, path, start, parse, query)

    def close(self) -> None:  # noqa: B027  # not abstract: nothing stays open
        """Nothing is open; see Tables."""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file, open; raises Gone and CannotStart."""
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise Gone from None
    except OSError as error:
        raise CannotStart(f"cannot read {path}: {error.strerror}") from None


class _File(Source):
    def __init__(self, name: str, path: Path, start: int, parse: Parse, query: Query) -> None:
        self.name = name
        self._path = path
        self._start = start
        self._parse = parse
        self._query = query

    def streams(self) -> list[Iterator[Block]]:
        """One block with all that matches; see Source."""
        block, bad = Block(), 0
        at = self._start
        with _opened(self._path) as file:
            file.seek(at)
            while line := file.readline(MAX_LINE_BYTES):
                if line.endswith(b"\n") and not line.isspace():  # a last line without its end is still being written
                    found = self._parse(line[:-1])
                    bad += found is None
                    if found is not None and self._matches(found):
                        block.times.append(found.record.micro_ts)
                        block.keys.append(at)
                at += len(line)
        if bad:
            _LOGGER.warning("%s: %d line(s) are no records; not read", self.name, bad)
        return [iter((_sorted(block),))]

    def _matches(self, found: Found) -> bool:
        record = found.record
        return holds(self._query, record.kind, lambda name: getattr(record, name, None), record.micro_ts)

    def found(self, block: Block, keys: Sequence[int]) -> Iterator[tuple[int, int, Found]]:
        """Lines by their places; see Source."""
        del block
        with _opened(self._path) as file:
            for key in keys:
                file.seek(key)
                found = self._parse(file.readline(MAX_LINE_BYTES).rstrip(b"\n"))
                if found is not None:
                    yield found.record.micro_ts, key, found


def _sorted(block: Block) -> Block:
    times = block.times
    if all(times[place] <= times[place + 1] for place in range(len(times) - 1)):
        return block
    order = sorted(range(len(times)), key=times.__getitem__)
    ordered = Block()
    ordered.times.extend(times[place] for place in order)
    ordered.keys.extend(block.keys[place] for place in order)
    return ordered


class NdjsonTables(FolderTables):
    """``<table>.ndjson`` in a folder."""

    def _name(self, file_name: str) -> str:
        return file_name.removesuffix(".ndjson") if file_name.endswith(".ndjson") else ""

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.ndjson"

    def _parser(self, file: BinaryIO) -> Parse:
        del file
        extractor = Extractor()
        derive = derive_with(lambda payload: extractor.record(Message(payload), 0))

        def parse(line: bytes) -> Found | None:
            try:
                return Found(*decode_record(line, derive))
            except (BadLine, InputError):
                return None

        return parse


class TextTables(FolderTables):
    """The files of a folder of Kamailio's db_text.

    Args:
        folder: where they are.
        naming: what columns are called in them; None = as the module calls them.
    """

    def __init__(self, folder: Path, naming: Naming | None = None) -> None:
        super().__init__(folder)
        self._naming = naming or Naming()

    def _name(self, file_name: str) -> str:
        return "" if file_name.startswith(".") or file_name == _VERSION else file_name

    def _path(self, name: str) -> Path:
        return self._folder / name

    def _parser(self, file: BinaryIO) -> Parse | None:
        try:
            columns = dbtext.parse_header(file.readline(MAX_LINE_BYTES))
        except (ValueError, UnicodeDecodeError):
            return None
        names = list(self._naming.existing(dict.fromkeys(column.name for column in columns)))
        form = form_of(names)
        if form not in {"sip", "report"}:
            return None
        places = {name: names.index(name) for name in (*columns_of(form, names), "micro_ts") if name in names}
        stored = [name for name in columns_of(form, names) if name in places]
        rebuild = rebuild_with(Layout("", form, tuple(stored), "", ""))

        def parse(line: bytes) -> Found | None:
            fields = [_unescaped(text) for text in _SPLIT.findall(line)]
            if len(fields) < len(names):
                return None
            values = [_value(name, fields[places[name]]) for name in stored]
            return rebuild((_number(fields[places["micro_ts"]]) if "micro_ts" in places else 0, 0, *values))

        return parse


def _unescaped(text: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: _MEANT.get(found[1], found[1]), text) if b"\\" in text else text


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        return 0


def _value(name: str, text: bytes) -> Any:
    if name == "msg_raw":
        return text or None
    if name == "date":
        return date_text(_number(text)) if text.isdigit() else text.decode("utf-8", "replace")
    return text.decode("utf-8", "replace")
