"""A database that is away: its batches wait in the spool, and go in when it is back (design 1.10)."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from sipcap.counters import COUNTING, Counters
from sipcap.errors import SinkError
from sipcap.record import SipRecord
from sipcap.sinks.base import Adjusted, RemembersBatches, Row, Sink
from sipcap.spool import BadSegment, Segment, SpoolPlace
from sipcap.throttle import Throttle

_LOGGER = logging.getLogger("sipcap")
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 30.0
_NEVER: Final = float("-inf")

Part = Mapping[str, Sequence[Row]]
"""Rows by table: what one transaction takes."""


class Batch(NamedTuple):
    """What is written under one id."""

    batch_id: str
    part: Part


class Refused(NamedTuple):
    """A row that the database never takes, and why."""

    table: str
    row: Row
    reason: str


class _Pause:
    """How long to wait for the next attempt: longer after each that failed."""

    def __init__(self) -> None:
        self.until_s = _NEVER
        self._next_s = _FIRST_PAUSE_S

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self.until_s

    def begin(self) -> None:
        self.until_s = time.monotonic() + self._next_s
        self._next_s = min(2 * self._next_s, _LONGEST_PAUSE_S)

    def reset(self) -> None:
        self.until_s = _NEVER
        self._next_s = _FIRST_PAUSE_S


class Recovery:
    """Keeps what a database does not take, and gives it to it later, each batch with its own id.

    While the database is away, it is tried now and then only: live batches go to the spool without waiting for it.

    Args:
        sink: opened.
        place: where batches wait.
        counters: ``spooled``, ``recovered`` and what becomes of a batch.
        bury: takes the rows that the database refuses for themselves.
    """

    def __init__(
        self, sink: Sink, place: SpoolPlace, counters: Counters, bury: Callable[[Sequence[Refused]], None]
    ) -> None:
        self._sink = sink
        self._place = place
        if isinstance(sink, RemembersBatches):
            sink.remember_since(place.oldest_s)
        self._counters = counters
        self._bury = bury
        self._away = _Pause()
        self._replay = _Pause()
        self._waiting = Throttle("%s; %d record(s) wait in the spool")
        self.error: SinkError | None = None
        """Why the database is away; None if it is not."""

    @property
    def may_try(self) -> bool:
        """Whether a batch is worth an attempt: the database is there, or it is time to look."""
        return self.error is None or self._away.is_over

    @property
    def is_due(self) -> bool:
        """Whether a batch of the spool can be tried now."""
        self._place.look()
        return bool(self._place.segments) and self.may_try and self._replay.is_over

    def succeed(self) -> None:
        """The database took something."""
        if self.error is not None:
            _LOGGER.info("the database takes records again")
            self.error = None
        self._away.reset()

    def fail(self, error: SinkError) -> None:
        """The database did not answer."""
        self.error = error
        self._away.begin()

    def keep(self, batches: Sequence[Batch], error: SinkError) -> list[Batch]:
        """Put batches into the spool; returns those that it does not take."""
        left: list[Batch] = []
        kept = 0
        for batch in batches:
            try:
                kept += self._place.keep(batch.batch_id, batch.part, str(error))
            except OSError as failure:
                self._waiting.warning(f"cannot write the spool: {failure.strerror}", self._counters.spooled + kept)
                left.append(batch)
        with COUNTING:
            self._counters.spooled += kept
        if not left:
            self._waiting.warning(error, self._counters.spooled)
        return left

    def step(self, answered: Callable[[], None] = lambda: None) -> bool:
        """Try the oldest batch that waits; returns whether that brought us on.

        Args:
            answered: called when the database has answered, before that is counted; what it raises passes through.
        """
        if not self._place.segments:
            return False
        segment = self._place.segments[0]
        try:
            _, tables = segment.load()
        except FileNotFoundError:
            self._miss(segment)
            return True
        except (BadSegment, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            _LOGGER.warning("%s: %s; it is left alone", segment.path, reason)
            self._place.segments.popleft()
            return True
        return self._write(segment, tables, answered)

    def _miss(self, segment: Segment) -> None:
        """Somebody has taken a batch away; where it went is not ours to say."""
        _LOGGER.warning("%s is gone, with %d record(s)", segment.path, segment.records)
        with COUNTING:
            self._place.segments.popleft()
            if segment.is_own:
                self._counters.spooled -= segment.records
                self._counters.dropped["spool_lost"] += segment.records

    def _write(self, segment: Segment, tables: Part, answered: Callable[[], None]) -> bool:
        """Store one batch of the spool; what it counts for is counted when all of it has found its place."""
        batches = [Batch(segment.batch_id, tables)]
        refused: list[Refused] = []
        stored: list[tuple[Part, Adjusted]] = []
        while batches:
            batch = batches.pop()
            try:
                stored.append((batch.part, self._sink.write(batch.batch_id, batch.part)))
            except SinkError as error:
                if error.transient:
                    answered()
                    self._put_off(error)
                    return False
                if smaller := split(batch.part):
                    batches += [Batch(_piece_id(batch, number), piece) for number, piece in enumerate(smaller)][::-1]
                else:
                    ((name, (row,)),) = batch.part.items()
                    refused.append(Refused(name, row, str(error)))
        answered()
        self._settle(segment, stored, refused)
        return True

    def _put_off(self, error: SinkError) -> None:
        """The other batches, and the live ones, do not wait for one that does not go in."""
        self._place.segments.rotate(-1)
        if self.error is None:
            self._replay.begin()
        else:
            self.fail(error)

    def _settle(self, segment: Segment, stored: Sequence[tuple[Part, Adjusted]], refused: Sequence[Refused]) -> None:
        self.succeed()
        self._replay.reset()
        self._bury(refused)
        with COUNTING:  # one step: whoever looks, or ends this process, finds it in the spool or stored
            if segment.is_own:
                self._counters.spooled -= segment.records
            else:
                self._counters.recovered += segment.records
            for part, adjusted in stored:
                _add_stored(self._counters, part, adjusted)
            self._place.segments.popleft()
            self._place.remove(segment)
        if not self._place.segments:
            _LOGGER.info("the spool is empty again")


def count_stored(counters: Counters, part: Part, adjusted: Adjusted) -> None:
    """Count what the database has taken."""
    with COUNTING:
        _add_stored(counters, part, adjusted)


def _add_stored(counters: Counters, part: Part, adjusted: Adjusted) -> None:
    reports = sum(not isinstance(row.record, SipRecord) for rows in part.values() for row in rows)
    counters.reported += reports
    counters.stored += rows_in(part) - reports
    counters.truncated += adjusted.truncated
    counters.sanitised += adjusted.sanitised


def rows_in(part: Part) -> int:
    """How many rows a part has."""
    return sum(map(len, part.values()))


def split(part: Part) -> list[Part]:
    """A part in smaller ones: by tables, then in halves; nothing if it is one row."""
    if len(part) > 1:
        return [{name: rows} for name, rows in part.items()]
    ((name, rows),) = part.items()
    half = len(rows) // 2
    return [{name: rows[:half]}, {name: rows[half:]}] if half else []


def _piece_id(batch: Batch, number: int) -> str:
    """The id of a piece: the same whenever and by whomever the batch is cut."""
    return hashlib.sha256(f"{batch.batch_id}/{number}".encode()).hexdigest()[:32]
