"""The storing stage: NDJSON to a database. ``sipcap store`` and ``sipcap run`` both run this."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from sipcap.batching import Batcher
from sipcap.counters import Counters
from sipcap.errors import InputError
from sipcap.extract import Extractor
from sipcap.inlet import Inlet
from sipcap.ndjson import BadLine, LineFramer, decode_record, derive_with
from sipcap.routing import Router
from sipcap.sinks.base import Row
from sipcap.sources.quiet import Throttle
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")
_TICK_S = 0.1
_SPOKEN_LINES = 20  # bad lines named one by one, before they are named at a bounded rate


class Store:
    """Reads records and gives them to a batcher.

    Args:
        router: which table a record goes to.
        batcher: writes them.
        counters: ``received``, ``rejected{bad_line}``.
        strict: a bad line ends it.
    """

    def __init__(self, router: Router, batcher: Batcher, counters: Counters, *, strict: bool = False) -> None:
        self._table_of = router.table_of
        self._batcher = batcher
        self._counters = counters
        self._strict = strict
        self._bad_lines = Throttle("%s")
        extractor = Extractor()
        self._derive = derive_with(lambda payload: extractor.record(Message(payload), 0))

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
            Unwritten: the database does not take the records.
        """
        inlet = Inlet(fd)
        framer = LineFramer()
        try:
            while not inlet.at_end and not stopping():
                wait_s = min(_TICK_S, self._batcher.due_s - time.monotonic())
                data = inlet.get(max(wait_s, 0.0))
                if data:
                    self._take(framer.receive_data(data), name)
                if time.monotonic() >= self._batcher.due_s:
                    self._batcher.flush()
            for data in inlet.stop():
                self._take(framer.receive_data(data), name)
            if inlet.at_end:
                self._take(framer.finish(), name)
        except InputError:
            self._batcher.flush()
            raise
        finally:
            inlet.stop()
        self._batcher.flush()
        if inlet.failure is not None:
            raise InputError(f"{name}: cannot be read: {inlet.failure.strerror}")
        return inlet.at_end

    def _take(self, texts: list[tuple[int, bytes]], name: str) -> None:
        for number, text in texts:
            self._counters.received += 1
            try:
                record, unknown = decode_record(text, self._derive)
            except BadLine as error:
                self._refuse(f"{name}:{number}: {error}" if text else f"{name}:{number}: line too long")
                continue
            except InputError as error:
                self._counters.rejected["newer_version"] += 1
                raise InputError(f"{name}:{number}: {error}") from None
            table = self._table_of(record)
            if unknown:
                table = _honour_dead_letter(unknown, table)
            self._batcher.add(table, Row(record, unknown))

    def _refuse(self, text: str) -> None:
        self._counters.rejected["bad_line"] += 1
        if self._strict:
            raise InputError(text)
        if self._counters.rejected["bad_line"] <= _SPOKEN_LINES:
            _LOGGER.warning("%s", text)
        else:
            self._bad_lines.warning(text)


def _honour_dead_letter(unknown: dict[str, Any], table: str) -> str:
    """A dead letter goes to the table that it was meant for (design 1.10)."""
    unknown.pop("_error", None)
    unknown.pop("_mode", None)
    meant = unknown.pop("_table", None)
    return meant if isinstance(meant, str) and meant else table
