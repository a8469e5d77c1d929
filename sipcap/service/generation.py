"""The processes of one configuration: they capture, sort and store until a newer one takes their place."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from mmap import mmap
from typing import Any, Final

from sipcap.config.settings import Listener
from sipcap.counters import Counters
from sipcap.errors import CannotStart, SourceLost, Unwritten
from sipcap.limits import SQLITE_BUSY_S, START_S, WORKER_SILENCE_S
from sipcap.outlet import SharedTurnstile
from sipcap.service.accounting import added, joined, lose_pending
from sipcap.service.bodies import Lifeline, capture_body, sort_body, store_body
from sipcap.service.plan import Plan
from sipcap.service.slot import Child, Descriptors, End, Slot
from sipcap.service.tally import ModeTally, Tally
from sipcap.shared import Switches
from sipcap.sources.base import LiveSource

_PIPE_BYTES: Final = 1 << 20  # the most that an unprivileged process gets
_GRACE_S: Final = 2.0  # for whoever has the same deadline as we
_LOOK_S: Final = 0.02
_CALM_S: Final = 1.0
_LOOK_AFTER_S: Final = 0.3  # between two looks at what a killed process may have lost
_NEVER: Final = float("inf")
_LOGGER = logging.getLogger("sipcap")


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


class Generation:
    """Processes and the pipes between them.

    Args:
        plan: what they do.
        sources: of the listeners, by their names; opened.
        world: what they share with other generations.
        patient: a database that cannot be used now is one that is away; else it ends the start.
    """

    def __init__(self, plan: Plan, sources: Mapping[str, LiveSource], world: World, *, patient: bool) -> None:
        self.plan = plan
        self._world = world
        self._drain_s = plan.settings.drain_timeout
        self._silence_s = WORKER_SILENCE_S + 2 * plan.settings.hook_timeout
        self._patient = patient
        self._until_s = float("inf")
        self._orders = mmap(-1, len(plan.settings.listeners))  # 1 = successors go on with that one's sockets
        self._ends: list[End] = []
        self._life_read, self._life_write = self._pipe()
        reading, self._captured = self._pipe(_PIPE_BYTES)
        self._pipes = [reading]
        self._turnstile = SharedTurnstile(self._captured.fd)
        self._groups = [
            self._group(place, listener, sources[listener.name])
            for place, listener in enumerate(plan.settings.listeners)
        ]
        self._sorter: Slot | None = None
        self._sorted: list[End] = []
        databases = plan.groups()
        if len(databases) == 1:
            self._stores = [self._store(0, reading)]
        else:
            ends = [self._pipe(_PIPE_BYTES) for _ in databases]
            self._sorted = [writing for _, writing in ends]
            self._pipes += [end for end, _ in ends]
            self._stores = [self._store(place, end) for place, (end, _) in enumerate(ends)]
            self._sorter = self._slot("sorting process", self._sort(reading), (reading, *self._sorted))
        self._held: list[tuple[Slot, Sequence[Slot]]] = []
        self._lost = 0
        self._gap = Calm()
        self._look_s = 0.0
        self.unwritten = 0
        """Records that no database took."""

    # Making the processes

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
                child, self.plan, source, self._captured.fd, self._turnstile, self._line(place), self._world.switches
            )

        slots = [
            self._slot(f"listener {listener.name}, process {index + 1}", body, (self._captured,), source, index)
            for index in range(listener.children)
        ]
        return Group(listener, source, slots)

    def _store(self, place: int, reading: End) -> Slot:
        modes = self.plan.groups()[place]

        def body(child: Child) -> int:
            patient = self._patient or child.restarts > 0
            return store_body(child, self.plan, modes, reading.fd, self._line(), self._world.switches, patient=patient)

        names = ", ".join(mode.name for mode in modes)
        return self._slot(f"storing process of {names}", body, (reading,), index=place)

    def _sort(self, reading: End) -> Callable[[Child], int]:
        writing = [end.fd for end in self._sorted]
        return lambda child: sort_body(child, self.plan, reading.fd, writing, self._line(), self._world.switches)

    # Running them

    @property
    def workers(self) -> list[Slot]:
        """The capturing processes."""
        return [slot for group in self._groups for slot in group.slots]

    @property
    def groups(self) -> list[Group]:
        """The capturing processes by listener."""
        return self._groups

    @property
    def _storing(self) -> list[Slot]:
        return [*([self._sorter] if self._sorter is not None else []), *self._stores]

    @property
    def slots(self) -> list[Slot]:
        """All processes."""
        return [*self.workers, *self._storing]

    def start(self, stopping: Callable[[], bool], held: Mapping[str, Sequence[Slot]] | None = None) -> None:
        """Start all processes; those that store first: a database that cannot be used shows before anything comes in.

        Args:
            stopping: ends the waiting for them.
            held: by the name of a listener, the processes that must have ended before its workers begin: what they
                capture from is for one at a time.

        Raises:
            CannotStart: one of them cannot.
        """
        for slot in self._storing:
            slot.start()
        self._wait_until_ready(self._storing, stopping)
        begun: list[Slot] = []
        for group in self._groups:
            if held and group.listener.name in held:
                self._held += [(slot, held[group.listener.name]) for slot in group.slots]
            else:
                begun += group.slots
        for slot in begun:
            slot.start()
        self._wait_until_ready(begun, stopping)

    def _wait_until_ready(self, slots: Sequence[Slot], stopping: Callable[[], bool]) -> None:
        until_s = time.monotonic() + START_S if self._patient else _NEVER  # else databases have times of their own
        while not all(slot.is_ready for slot in slots) and not stopping():
            if time.monotonic() > until_s:
                raise CannotStart(f"the processes are not ready after {START_S:.0f} s")
            self._reap(slots)
            for slot in slots:
                if not slot.pid:
                    raise CannotStart(slot.end_text())
            time.sleep(_LOOK_S)

    def _reap(self, slots: Sequence[Slot], reason: str = "worker_killed") -> None:
        """Take note of what has ended; raises CannotStart if it was something that cannot start."""
        for slot in slots:
            if not slot.reap(reason):
                continue
            self.unwritten += int(slot.values.get("unwritten", 0))
            if slot.code == CannotStart.exit_code:
                raise CannotStart(slot.failure or slot.end_text())
            is_asked = self.is_retiring and slot.code in (0, Unwritten.exit_code)
            if not is_asked and slot.code is not None:
                _LOGGER.warning("%s%s", slot.end_text(), "" if self.is_over else "; it is started again")

    def tend(self) -> None:
        """Look after the processes: to be called several times a second.

        Raises:
            CannotStart: one that has to be started cannot.
        """
        self._reap(self.workers)
        self._reap(self._storing, "drain_timeout" if self.is_over else "worker_killed")
        if self.is_retiring:
            self._tend_end()
            return
        self._held = [(slot, before) for slot, before in self._held if any(each.pid for each in before)]
        waiting = {slot for slot, _ in self._held}
        for group in self._groups:
            if waiting.isdisjoint(group.slots):
                self._restart_workers(group)
        for slot in self._storing:
            slot.restart_if_due()
        if time.monotonic() >= self._look_s:
            self._look_s = time.monotonic() + _LOOK_AFTER_S
            self._look_for_loss()
        for slot in self.workers:
            self._kill_if_silent(slot, self._silence_s)
        for slot in self._storing:
            if slot.pid and not slot.is_ready:  # later it may wait long for its database
                self._kill_if_silent(slot, START_S)

    def _restart_workers(self, group: Group) -> None:
        """Start workers again that have ended; if what they captured from is gone, open it anew before."""
        ended = [slot for slot in group.slots if not slot.pid]
        if any(slot.code == SourceLost.exit_code for slot in ended):
            if len(ended) < len(group.slots) or not all(slot.is_due for slot in ended):
                return  # the others will notice as well
            group.source.close()
            try:
                group.source.open()
            except CannotStart as error:
                _LOGGER.warning("listener %s: %s; it is tried again", group.listener.name, error)
                for slot in ended:
                    slot.put_off()
                return
        for slot in ended:
            slot.restart_if_due()

    @staticmethod
    def _kill_if_silent(slot: Slot, silence_s: float) -> None:
        if slot.pid and slot.child.pulse.age_s > silence_s:
            _LOGGER.error("%s has been silent for %.0f s: it is killed", slot.name, slot.child.pulse.age_s)
            slot.kill()
            slot.child.pulse.beat()

    def retire(self, hand_over: Callable[[LiveSource], bool] = lambda _: False) -> None:
        """Tell all processes to drain and end.

        Args:
            hand_over: whether others go on with a source's sockets.
        """
        if self.is_retiring:
            return
        for place, group in enumerate(self._groups):
            self._orders[place] = hand_over(group.source)
        self._until_s = time.monotonic() + self._drain_s
        self._life_write.close()

    @property
    def is_retiring(self) -> bool:
        """Whether they were told to end."""
        return self._until_s != float("inf")

    @property
    def is_over(self) -> bool:
        """Whether the time to drain is over."""
        return time.monotonic() >= self._until_s

    def _tend_end(self) -> None:
        """Close pipes behind those who write into them, and end whoever does not end in time."""
        if not any(slot.pid for slot in self.workers):
            self._captured.close()
            if self._sorter is None or (not self._sorter.pid and self._has_ended_well(self._sorter)):
                for end in self._sorted:
                    end.close()
        for slot in self._storing:
            if not slot.pid and not self._has_ended_well(slot) and not self.is_over:
                slot.restart_if_due()
        late_s = time.monotonic() - self._until_s
        buries = self.plan.settings.dead_letter is not None or self.plan.spool_path() is not None
        # The database does not answer; whoever waits for it has the same deadline, but may be slow to notice, and
        # then has records to bury.
        if late_s > _GRACE_S:
            for slot in self.workers:
                slot.kill()
        if late_s > _GRACE_S + (SQLITE_BUSY_S if buries else 0.0):
            for slot in self._storing:
                slot.kill()

    @staticmethod
    def _has_ended_well(slot: Slot) -> bool:
        return slot.code in (0, Unwritten.exit_code)

    @property
    def has_ended(self) -> bool:
        """Whether no process is left, nor will be."""
        if any(slot.pid for slot in self.slots):
            return False
        return self.is_over or (self.is_retiring and all(map(self._has_ended_well, self._storing)))

    def kill(self) -> None:
        """End all processes at once."""
        for slot in self.slots:
            with contextlib.suppress(OSError):
                slot.kill()

    def close(self) -> None:
        """Give back the pipes, when all processes have ended."""
        for end in self._ends:
            end.close()

    # Counting

    def listeners(self) -> list[dict[str, Any]]:
        """The ``listeners`` of Controller."""
        return [_state_of_listener(group) for group in self._groups]

    def stores(self, tally: Tally) -> list[dict[str, Any]]:
        """The ``stores`` of Controller; the tally has what was stored for each mode."""
        return [
            _state_of_mode(mode.name, slot, tally)
            for modes, slot in zip(self.plan.groups(), self._stores, strict=True)
            for mode in modes
        ]

    def sorting(self) -> dict[str, Any] | None:
        """The ``sorting`` of Controller."""
        if self._sorter is None:
            return None
        return {"pid": self._sorter.pid, "restarts": self._sorter.restarts}

    def _stages(self) -> list[Counters]:
        """The counters of each stage, in the order of a message's way."""
        stages = [added(slot.total() for slot in self.workers)]
        if self._sorter is not None:
            stages.append(self._sorter.total())
        return [*stages, added(slot.total() for slot in self._stores)]

    def _look_for_loss(self) -> None:
        """Find out what a storing process that was killed had taken out of a pipe.

        While it and its successors have nothing under way and nothing waits in a pipe, what was handed on and never
        taken is lost.
        """
        if not any(slot.restarts for slot in self._storing):
            return
        stages = self._stages()
        gaps = [before.stored + before.reported - after.received for before, after in pairwise(stages)]
        is_quiet = not any(stage.pending for stage in stages[1:]) and not any(end.waiting_bytes for end in self._pipes)
        gap = sum(gap for gap in gaps if gap > 0) if is_quiet else -1
        if self._gap.holds(gap) and gap >= 0:
            self._lost = gap

    def total(self) -> Counters:
        """What all its processes have counted, as one."""
        total = joined(self._stages())
        lost = min(self._lost, total.pending)
        total.pending -= lost
        if lost:
            total.dropped["worker_killed"] += lost
        if self.has_ended:
            lose_pending(total, "drain_timeout" if self.is_over else "worker_killed")
        return total


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
    }


class Calm:
    """Tells whether a number has stayed the same for a while."""

    def __init__(self) -> None:
        self.value = -1
        self._since_s = 0.0

    def holds(self, value: int) -> bool:
        """Look at the number."""
        if value != self.value:
            self.value, self._since_s = value, time.monotonic()
        return time.monotonic() - self._since_s > _CALM_S
