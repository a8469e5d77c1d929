"""The processes of one configuration and the pipes between them: made, not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from mmap import mmap
from typing import Any, Final

from sipcap.config.settings import Listener
from sipcap.counters import Counters
from sipcap.errors import CannotStart
from sipcap.service.accounting import added
from sipcap.service.bodies import Lifeline, capture_body, sort_body, store_body
from sipcap.service.plan import Plan
from sipcap.service.slot import Child, Descriptors, End, Slot
from sipcap.service.tally import ModeTally, Tally
from sipcap.shared import Switches
from sipcap.sources.base import LiveSource
from sipcap.turnstile import SharedTurnstile

_PIPE_BYTES: Final = 1 << 20  # the most that an unprivileged process gets


@dataclass
class World:
    """What all generations of processes share."""

    switches: Switches
    descriptors: Descriptors = field(default_factory=Descriptors)
    sources: set[LiveSource] = field(default_factory=set)
    """All that are open in the supervisor."""
    errors: Callable[[], list[dict[str, Any]]] = list
    """The latest warnings of the process that asks."""
    in_child: list[Callable[[], None]] = field(default_factory=list)
    """What every child does first: closing what is the supervisor's alone."""


@dataclass
class Group:
    """The workers of one listener."""

    listener: Listener
    source: LiveSource
    slots: list[Slot]


class Crew:
    """One process a listener's child, one a database, and one that sorts if there are several databases.

    Args:
        plan: what they do.
        sources: of the listeners, by their names; opened.
        world: what they share with other crews.
        patient: a database that cannot be used now is one that is away; else it ends its process at its first start.

    Raises:
        CannotStart: the system has no pipes for it.
    """

    def __init__(self, plan: Plan, sources: Mapping[str, LiveSource], world: World, *, patient: bool) -> None:
        self._plan = plan
        self._world = world
        self._drain_s = plan.settings.drain_timeout
        self._patient = patient
        self._orders = mmap(-1, len(plan.settings.listeners))  # 1 = successors go on with that one's sockets
        self._ends: list[End] = []
        self._turnstiles: list[SharedTurnstile] = []
        try:
            self._make(sources)
        except OSError as error:
            self.close()
            raise CannotStart(f"cannot make the pipes between the processes: {error.strerror}") from None

    def _make(self, sources: Mapping[str, LiveSource]) -> None:
        self._life_read, self._life_write = self._pipe()
        reading, self._captured = self._pipe(_PIPE_BYTES)
        self._pipes = [reading]
        self._turnstile = SharedTurnstile(self._captured.fd)
        self._turnstiles.append(self._turnstile)
        self.groups = [
            self._group(place, listener, sources[listener.name])
            for place, listener in enumerate(self._plan.settings.listeners)
        ]
        """The capturing processes by listener."""
        self.sorter: Slot | None = None
        self._sorted: list[End] = []
        databases = self._plan.groups()
        if len(databases) == 1:
            self._stores = [self._store(0, reading)]
        else:
            ends = [self._pipe(_PIPE_BYTES) for _ in databases]
            self._sorted = [writing for _, writing in ends]
            self._pipes += [end for end, _ in ends]
            self._stores = [self._store(place, end) for place, (end, _) in enumerate(ends)]
            self.sorter = self._slot("sorting process", self._sort(reading), (reading, *self._sorted))

    def _pipe(self, size: int = 0) -> tuple[End, End]:
        ends = self._world.descriptors.pipe(size)
        self._ends += ends
        return ends

    def _slot(
        self, name: str, body: Callable[[Child], int], kept: Sequence[End], source: LiveSource | None = None,
        index: int = 0,
    ) -> Slot:  # fmt: skip
        enter = partial(self._enter_child, source)

        def whole(child: Child) -> int:
            child.errors = self._world.errors
            return body(child)

        return Slot(name, whole, self._world.descriptors, (self._life_read, *kept), index=index, enter=enter)

    def _enter_child(self, source: LiveSource | None) -> None:
        """Close what is for others: a socket that a listener gave up must not stay open here."""
        for act in self._world.in_child:
            act()
        for other in self._world.sources:
            if other is not source:
                other.close()

    def _line(self, place: int = 0) -> Lifeline:
        return Lifeline(self._life_read.fd, self._drain_s, lambda: bool(self._orders[place]))

    def _group(self, place: int, listener: Listener, source: LiveSource) -> Group:
        def body(child: Child) -> int:
            return capture_body(
                child, self._plan, source, self._captured.fd, self._turnstile, self._line(place), self._world.switches
            )

        slots = [
            self._slot(f"listener {listener.name}, process {index + 1}", body, (self._captured,), source, index)
            for index in range(listener.children)
        ]
        return Group(listener, source, slots)

    def _store(self, place: int, reading: End) -> Slot:
        modes = self._plan.groups()[place]

        def body(child: Child) -> int:
            patient = self._patient or child.restarts > 0
            return store_body(child, self._plan, modes, reading.fd, self._line(), self._world.switches, patient=patient)

        names = ", ".join(mode.name for mode in modes)
        return self._slot(f"storing process of {names}", body, (reading,), index=place)

    def _sort(self, reading: End) -> Callable[[Child], int]:
        writing = [end.fd for end in self._sorted]
        return lambda child: sort_body(child, self._plan, reading.fd, writing, self._line(), self._world.switches)

    @property
    def workers(self) -> list[Slot]:
        """The capturing processes."""
        return [slot for group in self.groups for slot in group.slots]

    @property
    def storing(self) -> list[Slot]:
        """All others."""
        return [*([self.sorter] if self.sorter is not None else []), *self._stores]

    # Ending them: each ends when what it reads does

    def tell_to_end(self, hand_over: Callable[[LiveSource], bool]) -> None:
        """Tell them to drain; see Generation.retire."""
        for place, group in enumerate(self.groups):
            self._orders[place] = hand_over(group.source)
        self._life_write.close()

    def close_captured(self) -> None:
        """Nothing more is captured: close the pipe behind the capturing processes."""
        self._captured.close()

    def close_sorted(self) -> None:
        """Nothing more is sorted: close the pipes behind the process that does it."""
        for end in self._sorted:
            end.close()

    def close(self) -> None:
        """Give back all pipes, when all processes have ended."""
        for end in self._ends:
            end.close()
        for turnstile in self._turnstiles:
            turnstile.close()

    # What they tell

    @property
    def has_waiting_bytes(self) -> bool:
        """Whether something waits in a pipe."""
        return any(end.waiting_bytes for end in self._pipes)

    def listeners(self) -> list[dict[str, Any]]:
        """The ``listeners`` of Controller."""
        return [_state_of_listener(group) for group in self.groups]

    def stores(self, tally: Tally) -> list[dict[str, Any]]:
        """The ``stores`` of Controller; the tally has what was stored for each mode."""
        return [
            _state_of_mode(mode.name, slot, tally)
            for modes, slot in zip(self._plan.groups(), self._stores, strict=True)
            for mode in modes
        ]

    def sorting(self) -> dict[str, Any] | None:
        """The ``sorting`` of Controller."""
        if self.sorter is None:
            return None
        return {"pid": self.sorter.pid, "restarts": self.sorter.restarts}

    def stages(self) -> list[Counters]:
        """The counters of each stage, in the order of a message's way."""
        stages = [added(slot.total() for slot in self.workers)]
        if self.sorter is not None:
            stages.append(self.sorter.total())
        return [*stages, added(slot.total() for slot in self._stores)]


def _state_of_listener(group: Group) -> dict[str, Any]:
    return {
        "name": group.listener.name,
        "addresses": group.source.addresses,
        "workers": [
            {"pid": slot.pid, "restarts": slot.restarts, "counters": slot.total().as_dict()} for slot in group.slots
        ],
    }


def _state_of_mode(name: str, slot: Slot, tally: Tally) -> dict[str, Any]:
    now: dict[str, Any] = slot.values.get("modes", {}).get(name, {}) if slot.pid else {}
    stored = tally.modes.get(name, ModeTally())
    return {
        "mode": name,
        "pid": slot.pid,
        **stored.as_dict(),
        "queue": now.get("queue", 0),
        "spool_bytes": now.get("spool_bytes"),
        "spool_records": now.get("spool_records"),
        "spool_full": now.get("spool_full", False),
        "database_up": now.get("database_up", False),
        "database_tried": now.get("database_tried", False),
    }
