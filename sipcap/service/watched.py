"""A sink that is watched: whether its database answers, and how long that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sipcap.errors import SinkError
from sipcap.sinks.base import Adjusted, Interruptible, Row, Sink


class StoreState:
    """What is known of a database."""

    def __init__(self) -> None:
        self.is_up = True
        """Whether it took, or refused for itself, the last batch that it was given."""


class WatchedSink:
    """A Sink (see ``base.py``) over another one.

    Args:
        sink: opened.
        state: kept up to date.
    """

    def __init__(self, sink: Sink, state: StoreState) -> None:
        self._sink = sink
        self._state = state
        self.open, self.close = sink.open, sink.close

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch; see Sink."""
        try:
            adjusted = self._sink.write(batch_id, tables)
        except SinkError as error:
            self._state.is_up = not error.transient
            raise
        self._state.is_up = True
        return adjusted

    def interrupt(self) -> None:
        """End a write that does not come back; see Interruptible."""
        sink: object = self._sink
        if isinstance(sink, Interruptible):
            sink.interrupt()
