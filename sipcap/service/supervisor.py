"""``sipcap run``: the process that starts all others, steers them, and says at the end what became of every message."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import sipcap
from sipcap.capturing import log_summary
from sipcap.counters import Counters
from sipcap.errors import CannotStart, Unwritten
from sipcap.limits import KEPT_ERRORS
from sipcap.service.accounting import added, settle_spool
from sipcap.service.answering import open_control
from sipcap.service.control.places import SYSTEM_FOLDER
from sipcap.service.control.server import ControlServer
from sipcap.service.controller import ReloadError, UnknownMode
from sipcap.service.crew import World
from sipcap.service.generation import Generation
from sipcap.service.listening import Listening
from sipcap.service.notify import Notifier
from sipcap.service.plan import OFF, Plan
from sipcap.service.recent import RecentErrors
from sipcap.service.slot import Slot
from sipcap.service.tally import Tally
from sipcap.service.user import User
from sipcap.shared import Switches
from sipcap.sinks.registry import sqlite_path
from sipcap.sources.base import LiveSource
from sipcap.sources.hep import HepSource
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")
_LOOK_S: Final = 0.05
_RELOAD_S: Final = 10.0  # how long somebody who asks for a reload waits for its end
_LEAVING_S: Final = 2.0  # how long a reload waits for the former workers to see that they have been replaced
_STAYS: Final = "; the configuration before stays in force"
_UNWRITTEN: Final = ("database", "dead_letter", "spool_full")
_AT_START: Final = ("control_socket", "control_group", "binrpc_socket", "rpc_fifo", "metrics_listen", "user")
"""Keys that a reload does not look at: what they name is made once, by root perhaps."""


class Supervisor:
    """A service; a Controller (see ``controller.py``) for whoever steers it from other threads.

    Args:
        load: reads the configuration; raises CannotStart.
        stop: says when to end.
    """

    def __init__(self, load: Callable[[], Plan], stop: Stop) -> None:
        self._load = load
        self._stop = stop
        self._started_us = 0
        self._notifier = Notifier(os.environ)
        self._listening = Listening()
        self._errors = RecentErrors(KEPT_ERRORS)
        self._lock = threading.RLock()  # of the lists of generations: they are looked at from other threads
        self._retiring: list[Generation] = []
        self._finished = Counters()
        self._told = Tally()
        self._unwritten = 0
        self._wants_reload = False
        self._wants_report = False
        self._asked: list[tuple[Plan, Answer]] = []

    # From here on: the way of the service, in the main thread

    def run(self) -> Counters:
        """Run until the stop, and then until everything that was received is stored.

        Raises:
            CannotStart: a socket, a database, a process cannot be had.
            Unwritten: records could not be stored within the drain time, or at all.
        """
        self._started_us = time.time_ns() // 1_000
        # Python 3.12 and newer warn of a fork beside threads: those of the control server hold nothing a child needs.
        warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
        with ExitStack() as closing:
            _LOGGER.addHandler(self._errors)
            closing.callback(_LOGGER.removeHandler, self._errors)
            closing.callback(self._listening.close)
            self._begin(closing)
            failure = self._serve()
            self._end()
            total = self.total()
            log_summary(total)
            if failure is not None:
                raise failure
            self._check(total)
            return total

    def _begin(self, closing: ExitStack) -> None:
        plan = self._load()
        plan.check()
        plan.preload()
        pool = self._listening.pool
        pool.adopt(os.environ)
        self._switches = Switches(plan.settings.modes, on=plan.settings.capture_on)
        self._world = World(
            self._switches, sources=self._listening.sources, errors=lambda: self._errors.entries,
            in_child=[pool.close, self._errors.clear],
        )  # fmt: skip
        sources = self._listening.open(plan, {})
        pool.commit()
        self._plan, self._sources = plan, sources
        self._started = plan.settings
        control = open_control(plan.settings, self)
        closing.callback(control.close)
        self._become_user(plan, control)
        self._generation = Generation(plan, sources, self._world, patient=False)
        self._stop.leaving.append(self._kill)
        closing.callback(self._kill)
        self._generation.start(lambda: self._stop.requested)
        if not plan.settings.capture_on:
            _LOGGER.warning("%s", OFF)
        control.start()
        self._notifier.send("READY=1", f"STATUS={self._status()}")

    def _become_user(self, plan: Plan, control: ControlServer) -> None:
        """Drop the privileges; what is needed afterwards is made for the user before."""
        settings = plan.settings
        if settings.user is None:
            return
        user = User(settings.user)
        if (spool := plan.spool_path()) is not None:
            user.take_folder(spool)
        if settings.dead_letter is not None:
            user.take_file(settings.dead_letter)
        databases = [
            sqlite_path(mode.db_url)
            for mode in settings.modes.values()
            if mode.db_url.startswith("sqlite:") and not plan.is_idle(mode)
        ]
        for path in databases:
            user.take_file(path)
        for place in control.places:
            user.own(place)
            if place.parent == Path(SYSTEM_FOLDER):  # nobody else's: the socket can be removed at the end
                user.own(place.parent)
        user.become()
        for path in databases:
            user.check_folder(path.parent)
        _LOGGER.info("running as user %s", user.name)

    def _serve(self) -> Exception | None:
        """Look after everything until the stop; returns why it ended, if nobody asked for it."""
        while not self._stop.requested:
            try:
                self._tend()
            except CannotStart as error:
                return error
            time.sleep(_LOOK_S)
        return None

    def _tend(self) -> None:
        if self._wants_report:
            self._wants_report = False
            counters = self.total()
            _LOGGER.warning("%s", counters.summary(), extra={"fields": counters.as_dict(), "is_answer": True})
        if self._wants_reload:
            self._wants_reload = False
            self._reload_for_signal()
        while self._asked:
            plan, answer = self._asked.pop(0)
            failure = self._try_to_apply(plan)
            if not answer.give(failure) and failure:
                _LOGGER.error("%s%s", failure, _STAYS)
        self._generation.tend()
        self._tend_retiring()
        self._notifier.live()
        if self._notifier.status_is_due():
            self._notifier.send(f"STATUS={self._status()}")

    def _tend_retiring(self) -> None:
        for generation in list(self._retiring):
            generation.tend()
            if generation.has_ended:
                with self._lock:
                    self._retiring.remove(generation)
                    self._finished.add(generation.total().as_dict())
                    self._unwritten += generation.unwritten
                    for slot in generation.slots:
                        slot.add_to(self._told)
                generation.close()

    def _end(self) -> None:
        """Let everything drain, within the time there is."""
        self._notifier.send("STOPPING=1", "STATUS=storing what was received")
        self._retire(self._generation)
        while self._retiring:
            try:
                self._tend_retiring()
            except CannotStart as error:
                _LOGGER.error("%s", error)  # noqa: TRY400  # no traceback: it is not ours
            time.sleep(_LOOK_S / 5)
            self._notifier.live()

    def _retire(self, generation: Generation, others: Iterable[LiveSource] = ()) -> None:
        """Let a generation end; the others are the sources of who goes on."""
        kept = list(others)
        generation.retire(lambda source: bool(kept) if isinstance(source, HepSource) else source in kept)
        with self._lock:
            self._retiring.append(generation)

    def _kill(self) -> None:
        for generation in [self._generation, *self._retiring]:
            generation.kill()

    def _check(self, total: Counters) -> None:
        late = total.dropped["drain_timeout"] + total.dropped["output"]
        if late:
            raise Unwritten(f"{late} message(s) were received and could not be stored in time")
        unwritten = max(self._unwritten, sum(total.dropped[reason] for reason in _UNWRITTEN))
        if unwritten:
            raise Unwritten(f"{unwritten} record(s) remain unwritten")

    def _status(self) -> str:
        total = self.total()
        state = "on" if self._switches.is_on() else "off"
        return f"capture is {state}; received {total.received}, stored {total.stored + total.reported}"

    # Reload

    def on_reload_signal(self) -> None:
        """Read the configuration again soon; for a signal handler."""
        self._wants_reload = True

    def on_report_signal(self) -> None:
        """Print the counters soon; for a signal handler."""
        self._wants_report = True

    def install(self, *, reloads: bool) -> None:
        """Take over SIGUSR1, and SIGHUP if there is something to read again."""
        signal.signal(signal.SIGUSR1, lambda *_: self.on_report_signal())
        if reloads:
            signal.signal(signal.SIGHUP, lambda *_: self.on_reload_signal())

    def _reload_for_signal(self) -> None:
        try:
            plan = self._load()
            plan.check()
        except CannotStart as error:
            *lines, last = error.lines
            for line in lines:
                _LOGGER.error("%s", line)  # noqa: TRY400
            _LOGGER.error("%s%s", last, _STAYS)  # noqa: TRY400
            return
        if failure := self._try_to_apply(plan):
            _LOGGER.error("%s%s", failure, _STAYS)

    def _try_to_apply(self, plan: Plan) -> str:
        """Go on with another configuration; returns why that cannot be, "" if it can."""
        if plan == self._plan and not plan.has_files:
            _LOGGER.info("the configuration is as it was")
            return ""
        waiting = [key for key in _AT_START if getattr(plan.settings, key) != getattr(self._started, key)]
        self._notifier.reloading()
        try:
            self._apply(plan)
        except CannotStart as error:
            return str(error)
        finally:
            self._notifier.send("READY=1", f"STATUS={self._status()}")
        _LOGGER.info("the new configuration is in force")
        if waiting:
            _LOGGER.warning("only the next start brings the new values of %s", ", ".join(waiting))
        return ""

    def _apply(self, plan: Plan) -> None:
        old, old_sources = self._generation, self._sources
        before = {each.name: (each, old_sources[each.name]) for each in self._plan.settings.listeners}
        self._listening.pool.begin()
        try:
            sources = self._listening.open(plan, before)
        except CannotStart:
            self._listening.pool.roll_back()
            raise
        self._switches.know(plan.settings.modes)
        new = Generation(plan, sources, self._world, patient=True)
        held: dict[str, Sequence[Slot]] = {
            group.listener.name: group.slots for group in old.groups if group.source in sources.values()
        }
        try:
            new.start(lambda: self._stop.requested, held)
        except CannotStart:
            self._listening.note_kept(sources)
            self._retire(new, old_sources.values())
            self._listening.forget(sources, old_sources)
            self._listening.pool.roll_back()
            raise
        self._listening.pool.commit()
        self._listening.note_kept(old_sources)
        with self._lock:
            self._plan, self._sources, self._generation = plan, sources, new
        self._retire(old, sources.values())
        self._listening.forget(old_sources, sources)
        until_s = time.monotonic() + _LEAVING_S  # nothing more is taken in as it was before, when it is said
        while any(slot.pid for slot in old.workers) and time.monotonic() < until_s:
            old.tend()
            time.sleep(_LOOK_S / 5)

    # Controller: from any thread

    def set_capture(self, mode: str | None, *, on: bool) -> None:
        """Switch capture; see Controller."""
        self._check_mode(mode)
        self._switches.set(mode, on=on)

    def capture_is_on(self, mode: str | None = None) -> bool:
        """Whether capture is switched on; see Controller."""
        self._check_mode(mode)
        return self._switches.is_on(mode)

    def _check_mode(self, mode: str | None) -> None:
        """Refuse the name of a mode that is not there; the switches remember those of former configurations, too."""
        if mode is not None and mode not in self._plan.settings.modes:
            raise UnknownMode(mode)

    def reload(self) -> None:
        """Read the configuration again; see Controller. What does not go shows within ten seconds, or in the log."""
        try:
            plan = self._load()
            plan.check()
        except CannotStart as error:
            raise ReloadError(str(error)) from None
        answer = Answer()
        self._asked.append((plan, answer))
        if failure := answer.wait(_RELOAD_S):
            raise ReloadError(failure)

    def total(self) -> Counters:
        """The counters of the whole service."""
        with self._lock:
            generations = [*self._retiring]
            if self._generation not in generations and not self._generation.has_ended:
                generations.append(self._generation)
            total = added([self._finished, *(generation.total() for generation in generations)])
            settle_spool(total, self._finished.spooled)
        return total

    def stats(self) -> dict[str, Any]:
        """The whole state; see Controller."""
        tally = Tally()
        with self._lock:
            generation = self._generation
            tally.add(self._told.as_dict())
            for slot in (slot for each in {generation, *self._retiring} for slot in each.slots):
                slot.add_to(tally)
        modes = self._plan.settings.modes
        told = tally.as_dict()
        return {
            "version": sipcap.__version__,
            "pid": os.getpid(),
            "started_us": self._started_us,
            "enabled": self._switches.is_on(),
            "modes": {name: on for name, on in self._switches.modes.items() if name in modes},
            "counters": self.total().as_dict(),
            "listeners": generation.listeners(),
            "sorting": generation.sorting(),
            "stores": generation.stores(tally),
            "activity": told["activity"],
            "latency": told["latency"],
            "errors": self._errors.merged(slot.values.get("errors", []) for slot in generation.slots),
        }


class Answer:
    """What became of a wish that another thread has fulfilled."""

    def __init__(self) -> None:
        self._given = threading.Event()
        self._is_awaited = True
        self._text = ""

    def give(self, text: str) -> bool:
        """Answer; false if nobody waits for it any more."""
        self._text = text
        self._given.set()
        return self._is_awaited

    def wait(self, timeout_s: float) -> str:
        """The answer; "" if there is none yet, and whoever gives it must make it known otherwise."""
        if not self._given.wait(timeout_s):
            self._is_awaited = False
        return self._text
