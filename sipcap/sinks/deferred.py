"""A sink that connects with its first batch: for databases that perhaps nothing is for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from sipcap.errors import CannotStart, DatabaseAway, SinkError
from sipcap.sinks.base import Adjusted, Interruptible, RemembersBatches, Row, Sink

_LOGGER = logging.getLogger("sipcap")


def open_or_defer(connect: Callable[[], Sink], *, can_wait: bool) -> Sink:
    """Open a database now; if no server answers and records can wait for it, open it when it is back.

    Args:
        connect: as of DeferredSink.
        can_wait: there is a spool.

    Raises:
        CannotStart: as *connect*.
    """
    try:
        return connect()
    except DatabaseAway as error:
        if not can_wait:
            raise
        _LOGGER.warning("%s; records wait in the spool until it answers", error)
        return DeferredSink(connect)


class DeferredSink:
    """A Sink (see ``base.py``) over one that is not opened yet.

    A database that cannot be opened is one that is away: its records are tried again, or become dead letters.

    Args:
        connect: gives the opened sink, or raises CannotStart.
    """

    def __init__(self, connect: Callable[[], Sink]) -> None:
        self._connect = connect
        self._sink: Sink | None = None
        self._oldest_s: Callable[[], float] | None = None

    def open(self) -> None:
        """Do nothing yet; see Sink."""

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch; see Sink."""
        if self._sink is None:
            try:
                self._sink = self._connect()
            except CannotStart as error:
                raise SinkError(str(error), transient=True) from None
            sink: object = self._sink
            if self._oldest_s is not None and isinstance(sink, RemembersBatches):
                sink.remember_since(self._oldest_s)
        return self._sink.write(batch_id, tables)

    def remember_since(self, oldest_s: Callable[[], float]) -> None:
        """See RemembersBatches."""
        self._oldest_s = oldest_s

    def close(self) -> None:
        """Disconnect, if there is a connection; see Sink."""
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def interrupt(self) -> None:
        """End a write that does not come back; see Interruptible."""
        sink: object = self._sink
        if isinstance(sink, Interruptible):
            sink.interrupt()
