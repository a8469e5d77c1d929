"""What the processes of the service do: capture, sort, store."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, cast

from sipcap.activity import Activity
from sipcap.batching import Batcher
from sipcap.capture_loop import capture
from sipcap.counters import COUNTING, Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import SipcapError, Unwritten
from sipcap.hooks import exit_handlers
from sipcap.lanes import Lane
from sipcap.latency import Histogram
from sipcap.limits import FLUSH_INTERVAL_S, HOOKS_DRAIN_SHARE
from sipcap.modes import CaptureMode
from sipcap.ndjson import encode_records
from sipcap.outlet import Outlet
from sipcap.service.accounting import added
from sipcap.service.plan import Plan
from sipcap.service.slot import Child
from sipcap.service.sorting import Handing
from sipcap.service.watched import ModeState, TimedBatcher, WatchedSink
from sipcap.shared import Switches
from sipcap.sinks.budget import Budget
from sipcap.sinks.deferred import DeferredSink, open_or_defer
from sipcap.sources.base import LiveSource
from sipcap.spool import Spool
from sipcap.storing import Store
from sipcap.turnstile import SharedTurnstile

_STATE_S: Final = 1.0  # between two looks at the spool


class Lifeline:
    """A pipe whose other end the supervisor holds: it ends when the process shall, or when there is no supervisor.

    Args:
        fd: the end to read.
        drain_s: how long to go on after that.
        hands_over: whether successors are there already, who go on with the same sockets.
    """

    def __init__(self, fd: int, drain_s: float, hands_over: Callable[[], bool] = lambda: False) -> None:
        self._fd = fd
        self._drain_s = drain_s
        self._until_s = 0.0
        self.hands_over = hands_over

    def has_ended(self) -> bool:
        """Whether it is time to drain."""
        if not self._until_s:
            poller = select.poll()  # each time anew: one is for one thread
            poller.register(self._fd, select.POLLIN)
            if poller.poll(0):
                self._until_s = time.monotonic() + self._drain_s
        return self._until_s > 0

    def is_over(self) -> bool:
        """Whether the time to drain is over."""
        return self.has_ended() and time.monotonic() >= self._until_s

    def is_late(self) -> bool:
        """Whether what is left of the time to drain is for those who store alone."""
        return self.has_ended() and self.left_s <= self._drain_s * (1 - HOOKS_DRAIN_SHARE)

    @property
    def left_s(self) -> float:
        """What is left of the time to drain."""
        return max(self._until_s - time.monotonic(), 0.0) if self._until_s else self._drain_s


class _Publisher:
    """Publishes counters when something was stored and ten times a second, and what else is known once a second."""

    def __init__(
        self, child: Child, counters: Callable[[], Counters], state: Callable[[], dict[str, Any]] = dict,
        modes: Iterable[ModeState] = (),
    ) -> None:  # fmt: skip
        self._child = child
        self._counters = counters
        self._state = state
        self._modes = tuple(modes)
        self._known: dict[str, Any] = {}
        self._state_s = 0.0
        self._next_s = 0.0
        self._settled: tuple[int, ...] = ()

    def __call__(self) -> None:
        with COUNTING:  # all of one moment: a batch that comes out of the spool is in one of them
            counters = self._counters()
            leaving = [batch for mode in self._modes for batch in mode.leaving]
            left = self._child.left.value
        now_s = time.monotonic()
        settled = counters.stored, counters.reported, counters.spooled, counters.dead_letter
        if now_s >= self._next_s or settled != self._settled:
            self._settled = settled
            self._next_s = now_s + FLUSH_INTERVAL_S
            if now_s >= self._state_s:
                self._state_s = now_s + _STATE_S
                self._known = self._state()
            self._child.publish(counters, leaving=leaving, left=left, **self._known)

    def finally_with(self, **more: Any) -> None:
        """Publish the last values."""
        with COUNTING:
            counters = self._counters()
        self._child.publish(counters, **self._state(), **more)


@exit_handlers()  # of the hook, which is loaded here
def capture_body(
    child: Child, plan: Plan, source: LiveSource, output: int, turnstile: SharedTurnstile, line: Lifeline,
    switches: Switches,
) -> int:  # fmt: skip
    """Capture until the lifeline ends; then give on what was taken in, within the time to drain."""
    source.enter_worker(child.index)
    counters = source.stats
    activity = Activity()
    outlet = Outlet(output, counters, turnstile)
    outlet.start()
    next_s = next_state_s = 0.0
    known: dict[str, Any] = {}

    def publish() -> None:
        nonlocal next_s, next_state_s, known
        now_s = time.monotonic()
        if now_s >= next_s:
            next_s = now_s + FLUSH_INTERVAL_S
            if now_s >= next_state_s:
                next_state_s = now_s + _STATE_S
                known = {"activity": activity.as_dict()}
            child.publish(counters, **known)

    def note_taken() -> None:
        child.taken.value = counters.received

    def stopping() -> bool:
        if not line.has_ended():
            return False
        if line.hands_over():
            source.hand_over()
        return True

    options = plan.extraction()
    child.publish(counters)
    try:
        capture(
            source, options, outlet, encode_records, stopping=stopping, on_batch=note_taken, on_tick=publish,
            switch=switches.is_on, activity=activity, is_late=line.is_late,
        )  # fmt: skip
    finally:
        source.close()
        outlet.close(line.left_s)
        child.publish(counters, activity=activity.as_dict())
    return 0 if line.has_ended() and outlet.failure is None else SipcapError.exit_code


def sort_body(
    child: Child, plan: Plan, reading: int, writing: Sequence[int], line: Lifeline, switches: Switches
) -> int:
    """Read what was captured and give it to the processes of the databases, until the pipe ends."""
    own = Counters()
    handed = [Counters() for _ in writing]
    publish = _Publisher(child, lambda: added([own, *handed]))

    def stopping() -> bool:
        publish()
        return line.is_over()

    outlets = [Outlet(fd, counters) for fd, counters in zip(writing, handed, strict=True)]
    lanes: dict[str, Callable[[], Lane]] = {}
    for modes, outlet in zip(plan.groups(), outlets, strict=True):
        outlet.start()
        for mode in modes:
            lanes[mode.name] = partial(_handing_lane, plan, mode, outlet, own, stopping)
    first, *_ = lanes
    publish()
    try:
        own_lane = lanes.pop(first)()
        store = Store(own_lane, own, others=lanes, routes=plan.routes(), switch=switches.is_on)
        store.read(reading, "capture", stopping)
    finally:
        for outlet in outlets:
            outlet.close(line.left_s)
        publish()
    return 0


def _handing_lane(
    plan: Plan, mode: CaptureMode, outlet: Outlet, counters: Counters, waiting: Callable[[], bool]
) -> Lane:
    batcher = cast("Batcher", Handing(mode.name, outlet, counters, waiting))
    return Lane(mode.name, plan.router(mode), batcher)


def store_body(
    child: Child, plan: Plan, modes: Sequence[CaptureMode], reading: int, line: Lifeline, switches: Switches, *,
    patient: bool,
) -> int:  # fmt: skip
    """Store what comes out of a pipe into one database, until the pipe ends.

    Args:
        child: this process.
        plan: what the service does.
        modes: the capture modes of this database.
        reading: the pipe.
        line: says when the time to drain is over.
        switches: those of the modes are looked at here.
        patient: a database that cannot be used now is one that is away; else it ends this process.
    """
    settings = plan.settings
    taken = Counters()
    path = plan.spool_path()
    spool = Spool(path, settings.spool_max) if path is not None else None
    letters = DeadLetterFile(settings.dead_letter, max_bytes=settings.dead_letter_max) if settings.dead_letter else None
    budget = Budget()
    batch, database = Histogram(), Histogram()
    places = {mode.name: plan.place(spool, mode) if spool is not None else None for mode in modes}
    for place in places.values():
        if place is not None:
            place.note_leaving = child.note_left
    states = {name: ModeState(place, settings.spool_max) for name, place in places.items()}
    batches = plan.batches()
    publish = _Publisher(
        child,
        lambda: added([taken, *(state.counters for state in states.values())]),
        lambda: {
            "latency": {"batch_s": batch.as_dict(), "database_s": database.as_dict()},
            "modes": {name: state.as_dict() for name, state in states.items()},
        },
        states.values(),
    )

    def stopping() -> bool:
        publish()
        return line.is_over()

    with ExitStack() as sinks:
        if spool is not None:
            sinks.callback(spool.close)

        def lane_of(mode: CaptureMode, *, at_once: bool) -> Lane:
            state = states[mode.name]
            connect = partial(plan.connect, mode, budget)
            can_wait = places[mode.name] is not None
            opened = open_or_defer(connect, can_wait=can_wait) if at_once else DeferredSink(connect)
            state.is_up = not isinstance(opened, DeferredSink) if at_once else None
            sink = WatchedSink(opened, state, batch, database)
            own_letters = letters.of_mode(mode.name) if letters is not None else None
            state.batcher = TimedBatcher(
                state, batches.interval_s, sink, batches, state.counters, own_letters, line.is_over, places[mode.name]
            )
            sinks.callback(state.batcher.close)
            return Lane(mode.name, plan.router(mode), state.batcher)

        others = {mode.name: partial(lane_of, mode, at_once=False) for mode in modes[1:]}
        own = lane_of(modes[0], at_once=not (patient or plan.is_idle(modes[0])))
        is_alone = len(modes) == len(settings.modes)  # else records come sorted, and name their mode and table
        store = Store(
            own, taken, others=others or None, routes=plan.routes() if is_alone else None, switch=switches.is_on
        )
        for name in others:
            place = places[name]
            if place is not None and place.segments:
                store.enter(name)
        if spool is not None and child.index == 0 and not child.restarts:
            plan.report_strangers(spool)
        publish()
        try:
            store.read(reading, "capture", stopping)
        finally:
            unwritten = sum(state.batcher.unwritten for state in states.values() if state.batcher is not None)
            publish.finally_with(unwritten=unwritten)
    if unwritten:
        raise Unwritten(f"{unwritten} record(s) remain unwritten")
    return 0
