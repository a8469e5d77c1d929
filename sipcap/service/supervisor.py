"""``sipcap run``: the process that starts all others, steers them, and says at the end what became of every message."""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final

import sipcap
from sipcap.capturing import log_summary
from sipcap.counters import Counters
from sipcap.errors import CannotStart, Unwritten
from sipcap.hiding import hide_passwords
from sipcap.limits import KEPT_ERRORS, SQLITE_BUSY_S
from sipcap.service.answering import open_control
from sipcap.service.controller import ReloadError, UnknownMode
from sipcap.service.crew import World
from sipcap.service.generation import Generation
from sipcap.service.generations import Generations
from sipcap.service.listening import Listening
from sipcap.service.notify import Notifier
from sipcap.service.plan import OFF, Plan
from sipcap.service.recent import RecentErrors
from sipcap.service.reloading import Reloads, Scene, refuse
from sipcap.service.user import become_user
from sipcap.shared import Switches
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")
_LOOK_S: Final = 0.05
_SOON_S: Final = 0.01  # between two looks when somebody waits for the end of something
_RELOAD_S: Final = 10.0  # how long somebody who asks for a reload waits for its end
_PATIENCE_S: Final = SQLITE_BUSY_S + 10.0  # behind the time to drain, if looking after the processes fails as well
_UNWRITTEN: Final = ("database", "dead_letter", "spool_full")


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
        self._generations = Generations()
        self._errors = RecentErrors(KEPT_ERRORS)
        self._wants_reload = False
        self._wants_report = False

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
            failure = self._end() or failure
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
        world = World(
            self._switches, sources=self._listening.sources, errors=lambda: self._errors.entries,
            in_child=[pool.close, self._errors.clear],
        )  # fmt: skip
        sources = self._listening.open(plan, {})
        pool.commit()
        control = open_control(plan.settings, self)
        closing.callback(control.close)
        closing.callback(become_user(plan, control.places, control.made_folder))
        scene = Scene(
            self._generations, self._listening, world, lambda: self._stop.requested, self._notifier.reloading,
            self._tell_ready,
        )  # fmt: skip
        self._reloads = Reloads(scene, plan, sources)
        generation = Generation(plan, sources, world, patient=False)
        self._generations.add(generation)
        self._generations.put_in_force(generation)
        self._stop.leaving.append(self._generations.kill)
        closing.callback(self._generations.kill)
        for _ in generation.starting(scene.stopping):
            time.sleep(_SOON_S)
        if not plan.settings.capture_on:
            _LOGGER.warning("%s", OFF)
        control.start()
        self._tell_ready()

    def _serve(self) -> Exception | None:
        """Look after everything until the stop; returns why it ended, if nobody asked for it."""
        while not self._stop.requested:
            try:
                self._tend()
            except Exception as error:  # noqa: BLE001  # also a bug: what was received is stored and counted all the same
                return error
            time.sleep(_SOON_S if self._reloads.is_busy else _LOOK_S)
        return None

    def _tend(self) -> None:
        if self._wants_report:
            self._wants_report = False
            counters = self.total()
            _LOGGER.warning("%s", counters.summary(), extra={"fields": counters.as_dict(), "is_answer": True})
        if self._wants_reload and not self._reloads.is_busy:
            self._wants_reload = False
            self._reload_for_signal()
        self._reloads.tend()
        self._generations.tend()
        self._notifier.live()
        if self._notifier.status_is_due():
            self._notifier.send(f"STATUS={self._status()}")

    def _end(self) -> Exception | None:
        """Let everything drain, within the time there is; returns what went wrong with it."""
        self._stop.request()  # perhaps nobody has, and something has failed
        failure = self._try(self._reloads.finish)
        self._notifier.send("STOPPING=1", "STATUS=storing what was received")
        self._generations.retire_all()
        until_s = time.monotonic() + self._reloads.plan.settings.drain_timeout + _PATIENCE_S
        while not self._generations.have_ended and (failure is None or time.monotonic() < until_s):
            failure = self._try(self._generations.tend) or failure
            time.sleep(_SOON_S)
            self._notifier.live()
        return failure

    @staticmethod
    def _try(act: Callable[[], None]) -> Exception | None:
        """Do something at the end; returns what only a bug can be."""
        try:
            act()
        except CannotStart as error:
            _LOGGER.error("%s", error)  # noqa: TRY400  # no traceback: it is not ours
        except Exception as error:  # noqa: BLE001  # the end goes on
            return error
        return None

    def _check(self, total: Counters) -> None:
        late = total.dropped["drain_timeout"] + total.dropped["output"]
        if late:
            raise Unwritten(f"{late} message(s) were received and could not be stored in time")
        unwritten = max(self._generations.unwritten, sum(total.dropped[reason] for reason in _UNWRITTEN))
        if unwritten:
            raise Unwritten(f"{unwritten} record(s) remain unwritten")

    def _tell_ready(self) -> None:
        self._notifier.send("READY=1", f"STATUS={self._status()}")

    def _status(self) -> str:
        total = self.total()
        state = "on" if self._switches.is_on() else "off"
        return f"capture is {state}; received {total.received}, stored {total.stored + total.reported}"

    # Signals

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
            refuse(*error.lines)
            return
        except OSError as error:  # no descriptors, no memory
            refuse(f"cannot read the configuration: {error.strerror}")
            return
        self._reloads.ask(plan).wait(0.0)

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
        if mode is not None and mode not in self._reloads.plan.settings.modes:
            raise UnknownMode(mode)

    def reload(self) -> None:
        """Read the configuration again; see Controller. What does not go shows within ten seconds, or in the log."""
        try:
            plan = self._load()
            plan.check()
        except CannotStart as error:
            raise ReloadError(hide_passwords(str(error))) from None
        except OSError as error:
            raise ReloadError(f"cannot read the configuration: {error.strerror}") from None
        if failure := self._reloads.ask(plan).wait(_RELOAD_S):
            raise ReloadError(hide_passwords(failure))

    def total(self) -> Counters:
        """The counters of the whole service."""
        return self._generations.total()

    def stats(self) -> dict[str, Any]:
        """The whole state; see Controller."""
        told = self._generations.stats()
        plan = self._reloads.plan
        modes = plan.settings.modes
        spool = plan.spool_path()
        return {
            "version": sipcap.__version__,
            "pid": os.getpid(),
            "started_us": self._started_us,
            "enabled": self._switches.is_on(),
            "modes": {name: on for name, on in self._switches.modes.items() if name in modes},
            **told,
            "spool": None if spool is None else {"path": str(spool.absolute()), "keys": plan.spool_keys()},
            "errors": self._errors.merged(told["errors"]),
        }
