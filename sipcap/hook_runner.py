"""Runs a hook: in bounded time, whatever it does (design 1.8)."""

from __future__ import annotations

import faulthandler
import logging
import resource
import signal
import sys
import time
from types import FrameType
from typing import Final, Self, TextIO

from sipcap.counters import Counters
from sipcap.errors import DecodeError, HookStarved
from sipcap.hooks import Hook, Request, error_text
from sipcap.limits import HOOK_HANG_S, HOOK_MEMORY_ERRORS, HOOK_RESERVE_BYTES, MAX_HOOK_ROUTES, SLOW_HOOK_S
from sipcap.routes import Route, make_route
from sipcap.throttle import Throttle

GO_ON: Final = 1
DONE: Final = 0
Answer = int | Route

_LOGGER = logging.getLogger("sipcap")
_AGAIN_S: Final = 1.0  # a hook that swallows the exception gets it again this often
_REARM_S: Final = 1.0
_STDERR: Final = 2


class HookFailed(Exception):
    """The hook gave no answer; ``reason`` is ``hook_error`` or ``hook_timeout``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Timeout(BaseException):
    """Raised in the middle of a hook; no Exception, so that ``except Exception`` lets it pass."""


class _Reserve:
    """Memory that a hook cannot take: while one runs, the bound of the process is lower, if it has one.

    Else it would be chance whether the hook or the process itself finds none, and with the process messages are lost
    that nobody has counted. Both steps together take 1 to 2 µs, only where there is a bound.
    """

    def __init__(self) -> None:
        self._usual = soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        self._lower = max(soft - HOOK_RESERVE_BYTES, 0), hard
        self._is_bounded = soft != resource.RLIM_INFINITY

    def keep(self) -> None:
        """Lower the bound."""
        if self._is_bounded:
            resource.setrlimit(resource.RLIMIT_AS, self._lower)

    def give_back(self) -> None:
        """Let the process have all again."""
        if self._is_bounded:
            resource.setrlimit(resource.RLIMIT_AS, self._usual)


class HookRunner:
    """Asks a hook about messages; for the main thread of a process, within ``with``.

    A hook that takes longer than its time is ended by a signal. One that cannot be, because it holds on to the
    interpreter or catches everything, ends its process, with a traceback on stderr that shows where it hangs.
    What it prints goes to stderr: stdout carries records.

    Args:
        hook: what is asked.
        timeout_s: for one message.
        counters: ``hook_calls`` and ``hook_us``.
    """

    def __init__(self, hook: Hook, timeout_s: float, counters: Counters) -> None:
        self._hook = hook
        self._timeout_s = timeout_s
        self._counters = counters
        self._running = False
        self._rearm_s = 0.0
        self._stdout: TextIO = sys.stdout
        self._known: dict[Route, bool] = {}
        self._calls = 0
        self._memory_errors = 0  # in a row
        self._reserve = _Reserve()
        self._total_s = 0.0
        self._longest_s = 0.0
        self._errors = Throttle(f"hook {hook.text}: %s; the message is dropped")
        self._timeouts = Throttle(f"hook {hook.text}: %s; the message is dropped")
        self._slow = Throttle(f"hook {hook.text} took %.3f s for one message; receiving waits meanwhile")

    def __enter__(self) -> Self:
        self._stdout, sys.stdout = sys.stdout, sys.stderr
        self._handler = signal.signal(signal.SIGALRM, self._on_alarm)
        self._timer = signal.setitimer(signal.ITIMER_REAL, 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.rest()
        signal.signal(signal.SIGALRM, self._handler)
        signal.setitimer(signal.ITIMER_REAL, *self._timer)
        sys.stdout = self._stdout
        if self._calls:
            mean_ms, longest_ms = 1_000 * self._total_s / self._calls, 1_000 * self._longest_s
            _LOGGER.info(
                "hook %s: %d calls, mean %.3f ms, longest %.3f ms", self._hook.text, self._calls, mean_ms, longest_ms
            )

    def rest(self) -> None:
        """No hook runs for a while, which is no hang."""
        if self._rearm_s:
            faulthandler.cancel_dump_traceback_later()
            self._rearm_s = 0.0

    def check(self) -> None:
        """See whether the hook can go on.

        Raises:
            HookStarved: it has kept all the memory that there is for this process: it would fail for ever.
        """
        if self._memory_errors >= HOOK_MEMORY_ERRORS:
            raise HookStarved(f"hook {self._hook.text} has used up the memory of its process")

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        if self._running:
            raise _Timeout

    def ask(self, request: Request) -> Answer:
        """Ask about one message; returns ``GO_ON``, ``DONE`` or where it goes.

        Raises:
            HookFailed: it raised something, took too long, or answered something else.
            DecodeError: the hook asked for the record of what is no message.
        """
        began_s = time.monotonic()
        if began_s >= self._rearm_s:
            # For what no signal handler can end: a thread without the interpreter's lock ends the process.
            faulthandler.dump_traceback_later(self._timeout_s + HOOK_HANG_S, exit=True, file=_STDERR)
            self._rearm_s = began_s + _REARM_S
        try:
            return self._ask_in_time(request)
        except _Timeout:
            self._running = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._reserve.give_back()  # the signal may have come when the hook was done and nothing of this was
            self._timeouts.warning(f"it took more than {self._timeout_s:g} s")
            raise HookFailed("hook_timeout") from None
        except DecodeError:
            raise
        except BaseException as error:  # noqa: BLE001  # code of the user: it may raise, or exit, as it likes
            if isinstance(error, MemoryError):
                self._memory_errors += 1
            self._errors.warning(error_text(error))
            raise HookFailed("hook_error") from None
        finally:
            self._measure(time.monotonic() - began_s)

    def _measure(self, took_s: float) -> None:
        self._calls += 1
        self._total_s += took_s
        self._longest_s = max(self._longest_s, took_s)
        self._counters.hook_calls += 1
        self._counters.hook_us += round(took_s * 1_000_000)
        if took_s > SLOW_HOOK_S:
            self._slow.warning(took_s)

    def _ask_in_time(self, request: Request) -> Answer:
        try:
            self._running = True
            signal.setitimer(signal.ITIMER_REAL, self._timeout_s, _AGAIN_S)
            self._reserve.keep()
            answer = self._hook.call(request)
            self._memory_errors = 0
            return self._understood(answer)
        finally:
            self._running = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._reserve.give_back()

    def _understood(self, answer: object) -> Answer:
        """Read an answer; ValueError says what is wrong with it."""
        if answer is None:
            return GO_ON
        if isinstance(answer, int) and answer in (GO_ON, DONE):
            return GO_ON if answer else DONE
        if type(answer) is not Route:
            shown = f" {answer}" if type(answer) is int and abs(answer) < 10**9 else ""
            raise ValueError(f"it returned {type(answer).__name__}{shown}, which is neither 1, 0, None nor a Route")
        if answer not in self._known:
            _check(answer)
            if len(self._known) >= MAX_HOOK_ROUTES:
                self._known.clear()
            self._known[answer] = True
        return answer if answer.table or answer.capture_mode else GO_ON


def _check(route: Route) -> None:
    """Refuse a Route that says more than where to; ValueError."""
    if route != Route(table=route.table, capture_mode=route.capture_mode):
        raise ValueError("a hook's Route has a table and a capture_mode, nothing else")
    targets = {"table": route.table, "capture_mode": route.capture_mode}
    for key, value in targets.items():
        if not isinstance(value, str):
            raise TypeError(f"the {key} of its Route is no text")
        value.encode()
    if any(targets.values()):
        make_route("", {key: value for key, value in targets.items() if value})
