"""Search over many tables: one stream of records in the order of time (design 1.4, ``sipcap search``)."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from sipcap.calls.query import Query
from sipcap.calls.readers.base import Gone
from sipcap.calls.rebuild import Found
from sipcap.calls.source import Block, Source, Tables
from sipcap.calls.suggest import nearest_tables
from sipcap.ndjson import encode_records
from sipcap.patterns import Pattern
from sipcap.record import Record

_LOGGER = logging.getLogger("sipcap")
_ROWS: Final = 256
"""Rows that are fetched together: what is in memory, however many match."""

Place = tuple[Block, int]
"""Where a matching row is: the block of its key, and its position in it."""


class _Stream:
    """Rows of one table on their way through time."""

    def __init__(self, source: Source, blocks: Iterator[Block]) -> None:
        self.source = source
        self.name = source.name
        self._blocks = blocks
        self._block = Block()
        self._next = 0
        self._latest_us: int | None = None
        self._is_told = False

    def advance(self) -> bool:
        """Go to the next block that has a row; false at the end of the table."""
        for block in self._blocks:
            if block.keys:
                self._check_order(block)
                self._block, self._next = block, 0
                return True
        return False

    def _check_order(self, block: Block) -> None:
        if self._latest_us is not None and block.times[0] < self._latest_us and not self._is_told:
            self._is_told = True
            _LOGGER.warning("%s: date and micro_ts do not agree; its rows come in the order of date", self.name)
        self._latest_us = block.times[-1]

    @property
    def time_us(self) -> int:
        """The time of the next row."""
        return self._block.times[self._next]

    def take(self) -> tuple[Place, bool]:
        """The next row's place, and whether its block has more."""
        place = self._block, self._next
        self._next += 1
        return place, self._next < len(self._block.keys)

    def fetch(self, places: Sequence[Place]) -> dict[tuple[int, int], list[Found]]:
        """The records at these places, by time and key."""
        found: dict[tuple[int, int], list[Found]] = {}
        blocks = {id(block): block for block, _ in places}
        for number, block in blocks.items():
            keys = [block.keys[position] for other, position in places if id(other) == number]
            for time_us, key, record in self.source.found(block, keys):
                found.setdefault((time_us, key), []).append(record)
        return found


class Search:
    """Finds messages.

    Args:
        tables: opened.
        patterns: of the tables.
        query: what is looked for.
        limit: end after so many; None = all.
        others: further databases, opened, with the patterns of their tables.
    """

    def __init__(
        self, tables: Tables, patterns: Sequence[Pattern], query: Query, limit: int | None = None,
        others: Sequence[tuple[Tables, Sequence[Pattern]]] = (),
    ) -> None:  # fmt: skip
        self._query = query
        self._left = limit
        self.found = 0
        """Records that were given so far."""
        self.is_cut = False
        """More match than the limit let through."""
        self.vanished = 0
        """Rows that were dropped between being found and being read."""
        self._chosen = _choose([(tables, patterns), *others])
        self.tables = [name for _, name in self._chosen]
        """Names of the tables that are read."""

    def batches(self, stopping: Callable[[], bool] = lambda: False) -> Iterator[list[Found]]:
        """All records in the order of time, those of one time in the order in which a table got them.

        Args:
            stopping: asked between batches; true ends it.
        """
        streams = [stream for database, name in self._chosen for stream in self._open(database, name)]
        heap: list[tuple[int, int]] = []
        for index, stream in enumerate(streams):
            self._push(heap, index, stream)
        wanted: list[tuple[_Stream, Place]] = []
        while heap and not stopping():
            index = heap[0][1]
            stream = streams[index]
            if self._left is not None and self.found + len(wanted) >= self._left:
                self.is_cut = True
                break
            place, has_more = stream.take()
            wanted.append((stream, place))
            if has_more:
                heapq.heapreplace(heap, (stream.time_us, index))
                if len(wanted) < _ROWS:
                    continue
            yield from self._read(wanted)  # before a query that may take its time
            wanted = []
            if not has_more:
                heapq.heappop(heap)
                self._push(heap, index, stream)
        if not stopping():
            yield from self._read(wanted)

    def _push(self, heap: list[tuple[int, int]], index: int, stream: _Stream) -> None:
        try:
            if stream.advance():
                heapq.heappush(heap, (stream.time_us, index))
        except Gone:
            _LOGGER.warning("%s was dropped while it was read", stream.name)

    def _open(self, database: Tables, name: str) -> list[_Stream]:
        try:
            source = database.source(name, self._query)
            return [] if source is None else [_Stream(source, blocks) for blocks in source.streams()]
        except Gone:
            return []

    def _read(self, wanted: Sequence[tuple[_Stream, Place]]) -> Iterator[list[Found]]:
        streams: dict[int, tuple[_Stream, list[Place]]] = {}
        for stream, place in wanted:
            streams.setdefault(id(stream), (stream, []))[1].append(place)
        rows: dict[int, dict[tuple[int, int], list[Found]]] = {}
        for number, (stream, places) in streams.items():
            try:
                rows[number] = stream.fetch(places)
            except Gone:
                rows[number] = {}
        batch = []
        for stream, (block, position) in wanted:
            there = rows[id(stream)].get((block.times[position], block.keys[position]))
            if there:
                batch.append(there.pop(0))
            else:
                self.vanished += 1
        self.found += len(batch)
        if batch:
            yield batch


def _choose(places: Sequence[tuple[Tables, Sequence[Pattern]]]) -> list[tuple[Tables, str]]:
    """The tables that are meant, of each database in its order; a pattern is missed if no database has it."""
    known = [(database, patterns, sorted(database.names())) for database, patterns in places]
    chosen = []
    seen: set[str] = set()
    for database, patterns, names in known:
        found = dict.fromkeys(name for pattern in patterns for name in names if pattern.matches(name))
        chosen += [(database, name) for name in found]
        seen.update(pattern.text for pattern in patterns if any(map(pattern.matches, names)))
    for database, patterns, names in known:
        for pattern in patterns:
            if pattern.text not in seen:
                nearest = nearest_tables(pattern, names)
                _LOGGER.warning("%s: no table is called %s%s", database.place, pattern.text, nearest)
    return chosen


def encode_found(batch: Sequence[Found], encode: Callable[[list[Record]], bytes]) -> bytes:
    """Write records as *encode* does; keys that sipcap does not know follow the others on a JSON line."""
    if encode is not encode_records or not any(found.unknown for found in batch):
        return encode([found.record for found in batch])
    return b"".join(_line(found) for found in batch)


def _line(found: Found) -> bytes:
    line = encode_records([found.record])
    return line if not found.unknown else line[:-2] + b"," + msgspec.json.encode(found.unknown)[1:] + b"\n"
