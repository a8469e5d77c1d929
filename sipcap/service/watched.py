"""One capture mode at work, watched: what its database does, and how long that takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from sipcap.batching import Batcher
from sipcap.counters import COUNTING, Counters
from sipcap.errors import SinkError
from sipcap.latency import Histogram
from sipcap.record import SipRecord
from sipcap.sinks.base import Adjusted, Interruptible, RemembersBatches, Row, Sink, is_in_process
from sipcap.spool import SpoolPlace
from sipcap.wire.sip_fields import REPLY

_SAMPLE: Final = 1_000
_LEAVING: Final = 4  # more of them are not stored between two looks at the counters
_BEGUN: Final = 64  # batches whose beginning is remembered


class ModeState:
    """What is known of one capture mode of a storing process.

    Args:
        place: of its spool; None = there is none.
        spool_max: what the spool may take.
    """

    def __init__(self, place: SpoolPlace | None, spool_max: int) -> None:
        self.counters = Counters()
        self.is_up: bool | None = None
        """Whether the database took, or refused for itself, the last batch that it was given, or was connected to
        before; None = nobody has tried."""
        self.requests = 0
        self.replies = 0
        self.begun_s: deque[float] = deque(maxlen=_BEGUN)
        """When the first record came of each batch that is on its way."""
        self.batcher: Batcher | None = None
        self._place = place
        self._spool_max = spool_max

    def as_dict(self) -> dict[str, Any]:
        """What is published; see Controller."""
        with COUNTING:
            counters = self.counters.as_dict()
        return {
            "counters": counters,
            "requests": self.requests,
            "replies": self.replies,
            "queue": self.batcher.pending if self.batcher is not None else 0,
            "database_up": self.is_up is True,
            "database_tried": self.is_up is not None,
            **self._spool(),
        }

    @property
    def leaving(self) -> list[tuple[str, int, bool]]:
        """The batches of the spool that leave it next: the file, the records, whether they are ``spooled``."""
        segments = () if self._place is None else tuple(self._place.segments)
        return [(str(segment.path), segment.records, segment.is_own) for segment in segments[:_LEAVING]]

    def _spool(self) -> dict[str, Any]:
        if self._place is None:
            return {"spool_bytes": None, "spool_records": None, "spool_full": False}
        segments = list(self._place.segments)
        size = looked_at = 0
        for segment in segments[:_SAMPLE]:  # of very many files, the first ones tell how large they are
            with suppress(OSError):  # it was stored just now
                size += segment.path.stat().st_size
                looked_at += 1
        size = size * len(segments) // looked_at if looked_at else 0
        return {
            "spool_bytes": size,
            "spool_records": sum(segment.records for segment in segments),
            "spool_full": size > self._spool_max * 0.95,
        }


class WatchedSink:
    """A Sink (see ``base.py``) over another one.

    Args:
        sink: opened.
        state: kept up to date.
        batch: takes how long a batch took from its first record on.
        database: takes how long a transaction took.
    """

    def __init__(self, sink: Sink, state: ModeState, batch: Histogram, database: Histogram) -> None:
        self._sink = sink
        self._state = state
        self._batch = batch
        self._database = database
        self._last_id = ""
        self._begun_s: float | None = None
        self.open, self.close = sink.open, sink.close
        self.is_in_process = is_in_process(sink)

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch; see Sink."""
        state = self._state
        if batch_id != self._last_id:
            self._last_id = batch_id
            self._begun_s = state.begun_s.popleft() if state.begun_s else None
        started_s = time.monotonic()
        try:
            adjusted = self._sink.write(batch_id, tables)
        except SinkError as error:
            state.is_up = not error.transient
            raise
        state.is_up = True
        now_s = time.monotonic()
        self._database.observe(now_s - started_s)
        if self._begun_s is not None:
            self._batch.observe(now_s - self._begun_s)
            self._begun_s = None
        types = [row.record.type for rows in tables.values() for row in rows if isinstance(row.record, SipRecord)]
        replies = types.count(REPLY)
        state.replies += replies
        state.requests += len(types) - replies
        return adjusted

    def remember_since(self, oldest_s: Callable[[], float]) -> None:
        """See RemembersBatches."""
        sink: object = self._sink
        if isinstance(sink, RemembersBatches):
            sink.remember_since(oldest_s)

    def interrupt(self) -> None:
        """End a write that does not come back; see Interruptible."""
        sink: object = self._sink
        if isinstance(sink, Interruptible):
            sink.interrupt()


class TimedBatcher(Batcher):
    """A Batcher that remembers when each batch began.

    Args:
        state: where it does.
        interval_s: that of the options.
        args: those of Batcher.
    """

    def __init__(self, state: ModeState, interval_s: float, *args: Any) -> None:
        super().__init__(*args)
        self._state = state
        self._interval_s = interval_s

    def send(self) -> None:
        """Have written what has been collected; see Batcher."""
        if self.due_s != float("inf"):
            self._state.begun_s.append(min(self.due_s - 0.8 * self._interval_s, time.monotonic()))
        super().send()
