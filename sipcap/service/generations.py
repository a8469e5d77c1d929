"""All processes of a service: those in force, those to come, those that drain; and what all of them have counted."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from sipcap.counters import Counters
from sipcap.service.accounting import added, settle_spool
from sipcap.service.generation import Generation
from sipcap.service.tally import Tally
from sipcap.sources.base import LiveSource
from sipcap.sources.hep import HepSource


class Generations:
    """The generations there are: steered by the main thread, asked by others.

    Counters go from one that has ended to the sum in one step, so that nobody sees them twice or not at all.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._living: list[Generation] = []
        self._current: Generation | None = None
        self._finished = Counters()
        self._told = Tally()
        self.unwritten = 0
        """Records that no database took, of those that have ended."""

    @property
    def current(self) -> Generation:
        """The one in force."""
        assert self._current is not None
        return self._current

    def add(self, generation: Generation) -> None:
        """Let one come: it counts from now on, and is looked after when it is in force."""
        with self._lock:
            self._living.append(generation)

    def put_in_force(self, generation: Generation) -> None:
        """Let it be the one that is asked for what the service does."""
        with self._lock:
            self._current = generation

    def retire(self, generation: Generation, others: Iterable[LiveSource] = ()) -> None:
        """Let a generation end; the others are the sources of who goes on."""
        kept = list(others)
        generation.retire(lambda source: bool(kept) if isinstance(source, HepSource) else source in kept)

    def retire_all(self) -> None:
        """Let all end; nobody goes on."""
        for generation in self._living:
            self.retire(generation)

    @property
    def have_ended(self) -> bool:
        """Whether none is left."""
        return not self._living

    def tend(self) -> None:
        """Look after all but one that is to come; raises CannotStart, see Generation."""
        for generation in list(self._living):
            if generation is self._current or generation.is_retiring:
                with self._lock:
                    generation.tend()
                    if generation.has_ended:
                        self._settle(generation)

    def _settle(self, generation: Generation) -> None:
        self._living.remove(generation)
        self._finished.add(generation.total().as_dict())
        self.unwritten += generation.unwritten
        for slot in generation.slots:
            slot.add_to(self._told)
        generation.close()

    def kill(self) -> None:
        """End all processes at once."""
        for generation in list(self._living):
            generation.kill()

    # From any thread

    def total(self) -> Counters:
        """The counters of the whole service."""
        with self._lock:
            total = added([self._finished, *(generation.total() for generation in self._living)])
            settle_spool(total, self._finished.spooled)
        return total

    def stats(self) -> dict[str, Any]:
        """Of what a Controller tells, that which processes know, and their ``errors`` one list each."""
        tally = Tally()
        with self._lock:
            current = self.current
            tally.add(self._told.as_dict())
            for slot in (slot for generation in self._living for slot in generation.slots):
                slot.add_to(tally)
            counters = self.total().as_dict()
        told = tally.as_dict()
        return {
            "counters": counters,
            "listeners": current.listeners(),
            "sorting": current.sorting(),
            "stores": current.stores(tally),
            "activity": told["activity"],
            "latency": told["latency"],
            "errors": [slot.values.get("errors", []) for slot in current.slots],
        }
