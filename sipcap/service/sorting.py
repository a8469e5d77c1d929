"""The process between capturing and several databases: it gives each record to the one that it is for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from sipcap.counters import Counters
from sipcap.deadletter import lines_of
from sipcap.limits import FLUSH_INTERVAL_S
from sipcap.ndjson import encode_records
from sipcap.outlet import Lines, Outlet
from sipcap.record import SipRecord
from sipcap.recovering import Part
from sipcap.sinks.base import Row

_MOST: Final = 500  # records that are handed on together


class Handing:
    """Takes the place of a Batcher: records go on to the process that stores them, with their mode and table.

    Args:
        mode: the capture mode.
        outlet: started; the way to that process.
        counters: of the process: those that Lanes count in.
        waiting: called ten times a second while the way is full; true = wait no longer.
    """

    def __init__(self, mode: str, outlet: Outlet, counters: Counters, waiting: Callable[[], bool]) -> None:
        self._mode = mode
        self._outlet = outlet
        self.counters = counters
        self._waiting = waiting
        self._tables: dict[str, list[Row]] = {}
        self._size = 0
        self.due_s = float("inf")
        """When something must be handed on, on the monotonic clock; see Batcher."""

    unwritten = given_up = 0
    is_recovering = False

    def add(self, table: str, row: Row, length: int = 0) -> None:  # noqa: ARG002  # as Batcher has it
        """Add one record."""
        self._tables.setdefault(table, []).append(row)
        self._size += 1
        if self._size == 1:
            self.due_s = time.monotonic() + FLUSH_INTERVAL_S / 2
        if self._size >= _MOST:
            self.send()

    def flush(self) -> None:
        """Hand on what was added, as ``send``."""
        self.send()

    def send(self) -> None:
        """Hand on what was added; wait while there is no room."""
        tables, self._tables, self._size = self._tables, {}, 0
        self.due_s = float("inf")
        for table, rows in tables.items():
            sip = sum(isinstance(row.record, SipRecord) for row in rows)
            self._outlet.put(Lines(self._encode(table, rows), sip, len(rows) - sip))
        while tables and not self._outlet.wait_for_space(FLUSH_INTERVAL_S) and not self._waiting():
            pass

    def _encode(self, table: str, rows: list[Row]) -> bytes:
        if any(row.unknown for row in rows):
            return msgspec.json.Encoder().encode_lines(lines_of(rows, "", self._mode, table))
        where = msgspec.json.encode({"_mode": self._mode, "_table": table})
        ending = b"," + where[1:] + b"\n"  # in place of the brace and the line feed that every line ends with
        return encode_records([row.record for row in rows]).replace(b"}\n", ending)

    def recover(self) -> bool:
        """Nothing waits here."""
        return False

    @property
    def pending(self) -> int:
        """Records that were added and not handed on."""
        return self._size

    def take_in(self, batch_id: str, tables: Part) -> None:
        """Nothing comes here from a spool."""
        raise NotImplementedError
