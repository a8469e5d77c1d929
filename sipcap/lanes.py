"""Capture modes at work: each has its tables and its database, and a record may name the one that it is for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from sipcap.batching import Batcher
from sipcap.errors import Unwritten
from sipcap.record import Record
from sipcap.recovering import Part
from sipcap.routes import Routes
from sipcap.routing import Router, expand
from sipcap.sinks.base import Row
from sipcap.throttle import Throttle

_SHOWN: Final = 80  # characters of a name that came with a record


class Lane(NamedTuple):
    """One capture mode: its name, which table a record goes to, and what writes it."""

    mode: str
    router: Router
    batcher: Batcher


class Lanes:
    """Gives each record to the capture mode that it is for.

    Args:
        own: for all records that name no other mode.
        others: makes the lane of another mode when the first record names it; None = names do not count.
        routes: where records go that name neither mode nor table themselves; None = to ``own``.
        switch: tells of a mode, by its name, whether it is switched on; what is for one that is off counts as
            ``filtered{capture_off}``. None = all are on.
    """

    def __init__(
        self,
        own: Lane,
        others: Mapping[str, Callable[[], Lane]] | None = None,
        routes: Routes | None = None,
        switch: Callable[[str], bool] | None = None,
    ) -> None:
        self._own = own
        self._routes = routes if routes is not None and routes.routes else None
        self._switch = switch
        self._own_table_of, self._add_own = own.router.table_of, own.batcher.add
        self._others = others
        self._lanes = {own.mode: own}
        self._unknown = Throttle("there is no capture mode %r; a record that is meant for it goes to %s")

    @property
    def due_s(self) -> float:
        """When something must be written, on the monotonic clock; see Batcher."""
        return min(lane.batcher.due_s for lane in self._lanes.values())

    @property
    def unwritten(self) -> int:
        """Records that no database took; see Batcher, whose counters are those of all lanes."""
        others = (lane for lane in self._lanes.values() if lane is not self._own)
        return self._own.batcher.unwritten + sum(lane.batcher.given_up for lane in others)

    def add(self, record: Record, unknown: dict[str, Any], length: int = 0) -> None:
        """Add a record where it belongs.

        A dead letter goes to the mode and table that it was meant for (design 1.10): ``_mode`` and ``_table``; what a
        hook has decided travels in the same way. A table is not looked at where the schema has fixed ones. ``length``
        is that of the text it was read from.
        """
        if not unknown and self._routes is None and self._switch is None:
            self._add_own(self._own_table_of(record), Row(record, unknown), length)
            return
        lane, table = self._place(record, unknown)
        if self._switch is not None and not self._switch(lane.mode):
            lane.batcher.counters.filtered["capture_off"] += 1
            return
        if lane.router.is_fixed or not table:
            table = lane.router.table_of(record)
        lane.batcher.add(table, Row(record, unknown), length)

    def _place(self, record: Record, unknown: dict[str, Any]) -> tuple[Lane, str]:
        """The lane and the table of a record; "" = the one that the lane chooses."""
        mode = meant = None
        if unknown:
            unknown.pop("_error", None)
            mode, meant = unknown.pop("_mode", None), unknown.pop("_table", None)
        table = meant if isinstance(meant, str) else ""
        if not isinstance(mode, str) and not table and self._routes is not None:
            route = self._routes.match(record)
            if route is not None:
                mode, table = route.capture_mode or None, route.table_of(record)
                if "%" in table:
                    table = expand(table, record.micro_ts // 1_000_000)
        if not isinstance(mode, str) or self._others is None:
            return self._own, table
        return self._lanes.get(mode) or self._enter(mode, self._others), table

    def _enter(self, mode: str, others: Mapping[str, Callable[[], Lane]]) -> Lane:
        if mode not in others:
            self._unknown.warning(mode[:_SHOWN], self._own.mode)
            return self._own
        lane = self._lanes[mode] = others[mode]()
        return lane

    def enter(self, mode: str) -> None:
        """Open the lane of one of the other modes before a record names it: something waits for it in the spool."""
        if self._others is not None and mode not in self._lanes:
            self._enter(mode, self._others)

    def take_in(self, mode: str, batch_id: str, tables: Part) -> None:
        """Write a batch that a spool kept, where it belongs; see Batcher."""
        lane = self._own
        if self._others is not None:
            lane = self._lanes.get(mode) or self._enter(mode, self._others)
        if lane.router.is_fixed:
            chosen: dict[str, list[Row]] = {}
            for row in (row for rows in tables.values() for row in rows):
                chosen.setdefault(lane.router.table_of(row.record), []).append(row)
            tables = chosen
        lane.batcher.take_in(batch_id, tables)

    @property
    def is_recovering(self) -> bool:
        """Whether something waits in a spool that can be tried now."""
        return any(lane.batcher.is_recovering for lane in self._lanes.values())

    def recover(self) -> None:
        """Try one batch of each spool that is due."""
        for lane in self._lanes.values():
            if lane.batcher.is_recovering:
                lane.batcher.recover()

    def recover_all(self, stopping: Callable[[], bool]) -> None:
        """Try all batches of the spools that are due, until a database does not take them or it is time to stop."""
        for lane in self._lanes.values():
            while not stopping() and lane.batcher.is_recovering and lane.batcher.recover():
                pass

    def flush_due(self) -> None:
        """Have written what must be written by now; see Batcher."""
        now_s = time.monotonic()
        for lane in self._lanes.values():
            if now_s >= lane.batcher.due_s:
                lane.batcher.send()

    def flush(self) -> None:
        """Write everything; a mode whose database is away does not keep the others from it.

        Raises:
            Unwritten: as Batcher, of the first mode that could not.
        """
        failure: Unwritten | None = None
        for lane in self._lanes.values():
            try:
                lane.batcher.flush()
            except Unwritten as error:
                failure = failure or error
        if failure is not None:
            raise failure
