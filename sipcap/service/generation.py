"""Runs the processes of one configuration: they capture, sort and store until a newer one takes their place."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from sipcap.counters import Counters
from sipcap.errors import CannotStart, Unwritten
from sipcap.limits import SQLITE_BUSY_S, START_S, WORKER_SILENCE_S
from sipcap.service.accounting import joined, lose_pending
from sipcap.service.crew import Crew, Group, World
from sipcap.service.plan import Plan
from sipcap.service.slot import Slot
from sipcap.service.tally import Tally
from sipcap.sources.base import LiveSource

_GRACE_S: Final = 2.0  # for whoever has the same deadline as we
_CALM_S: Final = 1.0
_LOOK_AFTER_S: Final = 0.3  # between two looks at what a killed process may have lost
_NEVER: Final = float("inf")
_LOGGER = logging.getLogger("sipcap")


class Generation:
    """Processes that are started, looked after, counted, and at last told to end.

    Args:
        plan: what they do.
        sources: of the listeners, by their names; opened.
        world: what they share with other generations.
        patient: a database that cannot be used now is one that is away; else it ends the start.
    """

    def __init__(self, plan: Plan, sources: Mapping[str, LiveSource], world: World, *, patient: bool) -> None:
        settings = plan.settings
        self._crew = Crew(plan, sources, world, patient=patient)
        self._drain_s = settings.drain_timeout
        self._silence_s = WORKER_SILENCE_S + 2 * settings.hook_timeout
        self._buries = settings.dead_letter is not None or plan.spool_path() is not None
        self._patient = patient
        self._until_s = _NEVER
        self._held: list[tuple[Slot, Sequence[Slot]]] = []
        self._lost = 0
        self._gap = Calm()
        self._look_s = 0.0
        self.unwritten = 0
        """Records that no database took."""

    @property
    def workers(self) -> list[Slot]:
        """The capturing processes."""
        return self._crew.workers

    @property
    def groups(self) -> list[Group]:
        """The capturing processes by listener."""
        return self._crew.groups

    @property
    def slots(self) -> list[Slot]:
        """All processes."""
        return [*self._crew.workers, *self._crew.storing]

    def starting(
        self, stopping: Callable[[], bool], held: Mapping[str, Sequence[Slot]] | None = None
    ) -> Iterator[None]:
        """Start all processes; those that store first: a database that cannot be used shows before anything comes in.

        It yields while it waits for them, so that whoever starts them can look after everything else meanwhile.

        Args:
            stopping: ends the waiting for them.
            held: by the name of a listener, the processes that must have ended before its workers begin: what they
                capture from is for one at a time.

        Raises:
            CannotStart: one of them cannot.
        """
        for slot in self._crew.storing:
            slot.start()
        yield from self._until_ready(self._crew.storing, stopping)
        begun: list[Slot] = []
        for group in self.groups:
            if held and group.listener.name in held:
                self._held += [(slot, held[group.listener.name]) for slot in group.slots]
            else:
                begun += group.slots
        for slot in begun:
            slot.start()
        yield from self._until_ready(begun, stopping)

    def _until_ready(self, slots: Sequence[Slot], stopping: Callable[[], bool]) -> Iterator[None]:
        until_s = time.monotonic() + START_S if self._patient else _NEVER  # else databases have times of their own
        while not all(slot.is_ready for slot in slots) and not stopping():
            if time.monotonic() > until_s:
                raise CannotStart(f"the processes are not ready after {START_S:.0f} s")
            self._reap(slots)
            for slot in slots:
                if not slot.pid:
                    raise CannotStart(slot.end_text())
            yield

    def _reap(self, slots: Sequence[Slot], reason: str = "worker_killed") -> None:
        """Take note of what has ended; raises CannotStart if something cannot start, unless all shall end anyway."""
        for slot in slots:
            if not slot.reap(reason):
                continue
            self.unwritten += int(slot.values.get("unwritten", 0))
            if slot.code == CannotStart.exit_code and not self.is_retiring:
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
        self._reap(self._crew.storing, "drain_timeout" if self.is_over else "worker_killed")
        if self.is_retiring:
            self._tend_end()
            return
        self._held = [(slot, before) for slot, before in self._held if any(each.pid for each in before)]
        waiting = {slot for slot, _ in self._held}
        for group in self.groups:
            if waiting.isdisjoint(group.slots):
                self._restart_workers(group)
        for slot in self._crew.storing:
            slot.restart_if_due()
        if time.monotonic() >= self._look_s:
            self._look_s = time.monotonic() + _LOOK_AFTER_S
            self._look_for_loss()
        for slot in self.workers:
            self._kill_if_silent(slot, self._silence_s)
        for slot in self._crew.storing:
            if slot.pid and not slot.is_ready:  # later it may wait long for its database
                self._kill_if_silent(slot, START_S)

    def _restart_workers(self, group: Group) -> None:
        """Start workers again that have ended; if what they captured from is gone, open it anew before."""
        ended = [slot for slot in group.slots if not slot.pid]
        if any(slot.has_lost_source for slot in ended):
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
        has_begun = any(slot.pid or slot.code is not None for slot in self.workers)  # else there is nothing to drain
        self._until_s = time.monotonic() + (self._drain_s if has_begun else 0.0)
        self._crew.tell_to_end(hand_over)

    @property
    def is_retiring(self) -> bool:
        """Whether they were told to end."""
        return self._until_s != _NEVER

    @property
    def is_over(self) -> bool:
        """Whether the time to drain is over."""
        return time.monotonic() >= self._until_s

    def _tend_end(self) -> None:
        """Close pipes behind those who write into them, and end whoever does not end in time."""
        if not any(slot.pid for slot in self.workers):
            self._crew.close_captured()
            sorter = self._crew.sorter
            if sorter is None or (not sorter.pid and self._has_ended_well(sorter)):
                self._crew.close_sorted()
        for slot in self._crew.storing:
            if not slot.pid and not self._has_ended_well(slot) and not self.is_over:
                slot.restart_if_due()
        late_s = time.monotonic() - self._until_s
        # The database does not answer; whoever waits for it has the same deadline, but may be slow to notice, and
        # then has records to bury.
        if late_s > _GRACE_S:
            for slot in self.workers:
                slot.kill()
        if late_s > _GRACE_S + (SQLITE_BUSY_S if self._buries else 0.0):
            for slot in self._crew.storing:
                slot.kill()

    @staticmethod
    def _has_ended_well(slot: Slot) -> bool:
        return slot.code in (0, Unwritten.exit_code)

    @property
    def has_ended(self) -> bool:
        """Whether no process is left, nor will be."""
        if any(slot.pid for slot in self.slots):
            return False
        return self.is_over or (self.is_retiring and all(map(self._has_ended_well, self._crew.storing)))

    def kill(self) -> None:
        """End all processes at once."""
        for slot in self.slots:
            with contextlib.suppress(OSError):
                slot.kill()

    def close(self) -> None:
        """Give back the pipes, when all processes have ended."""
        self._crew.close()

    # Counting

    def listeners(self) -> list[dict[str, Any]]:
        """The ``listeners`` of Controller."""
        return self._crew.listeners()

    def stores(self, tally: Tally) -> list[dict[str, Any]]:
        """The ``stores`` of Controller; the tally has what was stored for each mode."""
        return self._crew.stores(tally)

    def sorting(self) -> dict[str, Any] | None:
        """The ``sorting`` of Controller."""
        return self._crew.sorting()

    def _look_for_loss(self) -> None:
        """Find out what a storing process that was killed had taken out of a pipe.

        While it and its successors have nothing under way and nothing waits in a pipe, what was handed on and never
        taken is lost.
        """
        if not any(slot.restarts for slot in self._crew.storing):
            return
        stages = self._crew.stages()
        gaps = [before.stored + before.reported - after.received for before, after in pairwise(stages)]
        is_quiet = not any(stage.pending for stage in stages[1:]) and not self._crew.has_waiting_bytes
        gap = sum(gap for gap in gaps if gap > 0) if is_quiet else -1
        if self._gap.holds(gap) and gap >= 0:
            self._lost = gap

    def total(self) -> Counters:
        """What all its processes have counted, as one."""
        total = joined(self._crew.stages())
        lost = min(self._lost, total.pending)
        total.pending -= lost
        if lost:
            total.dropped["worker_killed"] += lost
        if self.has_ended:
            lose_pending(total, "drain_timeout" if self.is_over else "worker_killed")
        return total


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
