"""The storing stage: NDJSON to a database. ``sipcap store`` and ``sipcap run`` both run this."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from sipcap.counters import Counters
from sipcap.errors import DecodeError, InputError, Unwritten
from sipcap.extract import Extractor
from sipcap.inlet import Inlet
from sipcap.lanes import Lane, Lanes
from sipcap.limits import SPOKEN_LINES
from sipcap.ndjson import BadLine, LineFramer, decode_record, derive_with
from sipcap.record import Record
from sipcap.routes import Routes
from sipcap.spool import BadSegment, Segment
from sipcap.throttle import Throttle
from sipcap.wire.message import Message

_TICK_S = 0.1
Convert = Callable[[Record, dict[str, Any]], tuple[Record, dict[str, Any]]]
"""Given a record and its unknown keys, what is stored in its place; DecodeError tells why it is rejected."""


class Store:
    """Reads records and gives them to batchers.

    Args:
        own: where records go, and what writes them.
        counters: ``received``, ``rejected{bad_line}``, ``rejected{cut}``; ``dropped{database}`` for what was read and
            never came to a batcher.
        strict: a bad line ends it.
        others: where records go that name another capture mode; see Lanes.
        convert: what is made of each record before it goes anywhere; None = nothing.
        routes, switch: see Lanes.
    """

    def __init__(
        self,
        own: Lane,
        counters: Counters,
        *,
        strict: bool = False,
        others: Mapping[str, Callable[[], Lane]] | None = None,
        convert: Convert | None = None,
        routes: Routes | None = None,
        switch: Callable[[str], bool] | None = None,
    ) -> None:
        self._lanes = Lanes(own, others, routes, switch)
        self._convert = convert
        self._counters = counters
        self._strict = strict
        self._bad_lines = Throttle("%s", first=SPOKEN_LINES)
        extractor = Extractor()
        self._derive = derive_with(lambda payload: extractor.record(Message(payload), 0))

    @property
    def unwritten(self) -> int:
        """Records that no database took; see Batcher."""
        return self._lanes.unwritten

    def read(self, fd: int, name: str, stopping: Callable[[], bool]) -> bool:
        """Store all records of one input.

        Args:
            fd: read to its end.
            name: of the input, for messages.
            stopping: asked ten times a second; true ends it after what has been read is stored.

        Returns:
            Whether the end of the input was reached.

        Raises:
            InputError: a bad line with ``strict``, a record of a newer sipcap, input that cannot be read. All
                records before it are stored.
            Unwritten: the database does not take the records. Whatever was read behind them is counted as dropped.
        """
        inlet = Inlet(fd)
        framer = LineFramer()
        ahead: deque[bytes] = deque()
        try:
            while not inlet.at_end and not stopping():
                wait_s = 0.0 if self._lanes.is_recovering else min(_TICK_S, self._lanes.due_s - time.monotonic())
                data = inlet.get(max(wait_s, 0.0))
                if data:
                    self._take(framer.receive_data(data), name)
                self._lanes.flush_due()
                self._lanes.recover()
            ahead.extend(inlet.stop())
            while ahead:
                self._take(framer.receive_data(ahead.popleft()), name)
            if inlet.at_end:
                self._take(framer.finish(), name)
            elif not stat.S_ISREG(os.fstat(fd).st_mode):  # in a file it is still there, whole
                cut = len(framer.finish())
                self._counters.received += cut
                self._counters.rejected["cut"] += cut
        except InputError:
            self._lanes.flush()
            raise
        except Unwritten as error:
            ahead.extend(inlet.stop())
            self._drop(sum(len(framer.receive_data(data)) for data in ahead) + len(framer.finish()))
            with contextlib.suppress(Unwritten):  # counted as well
                self._lanes.flush()
            raise Unwritten(f"{error}; with all that was read ahead, {self.unwritten} remain unwritten") from None
        finally:
            inlet.stop()
        self._lanes.flush()
        if inlet.failure is not None:
            raise InputError(f"{name}: cannot be read: {inlet.failure.strerror}")
        return inlet.at_end

    def enter(self, mode: str) -> None:
        """Take in what waits in the spool for one of the other modes; see Lanes."""
        self._lanes.enter(mode)

    def read_segment(self, segment: Segment) -> None:
        """Store a batch that a spool kept, under its own id: if the database has it, it is not stored again.

        Raises:
            InputError: it is not whole, or cannot be read.
            Unwritten: the database does not take it.
        """
        try:
            mode, tables = segment.load()
        except BadSegment as error:
            raise InputError(f"{segment.path}: {error}; under another name, its lines are read one by one") from None
        except OSError as error:
            raise InputError(f"{segment.path}: cannot be read: {error.strerror}") from None
        self._counters.received += segment.records
        self._lanes.take_in(mode, segment.batch_id, tables)

    def recover_all(self, stopping: Callable[[], bool]) -> None:
        """Take in what waits in the spool, as far as the databases take it."""
        self._lanes.recover_all(stopping)

    def _take(self, texts: list[tuple[int, bytes]], name: str) -> None:
        for place, (number, text) in enumerate(texts, 1):
            self._counters.received += 1
            try:
                record, unknown = decode_record(text, self._derive)
                if self._convert is not None:
                    record, unknown = self._convert(record, unknown)
            except DecodeError as error:
                self._counters.rejected[error.reason] += 1
                continue
            except BadLine as error:
                self._refuse(f"{name}:{number}: {error}" if text else f"{name}:{number}: line too long")
                continue
            except InputError as error:
                self._counters.rejected["newer_version"] += 1
                raise InputError(f"{name}:{number}: {error}") from None
            try:
                self._lanes.add(record, unknown, len(text))
            except Unwritten:
                self._drop(len(texts) - place)
                raise

    def _drop(self, count: int) -> None:
        """Count what was read and is not given to a database that takes nothing."""
        self._counters.received += count
        self._counters.dropped["database"] += count

    def _refuse(self, text: str) -> None:
        self._counters.rejected["bad_line"] += 1
        if self._strict:
            raise InputError(text)
        self._bad_lines.warning(text)
