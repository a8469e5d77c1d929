"""The methods that can be called, however the call came: names, parameters, texts and faults of Kamailio (spec 6.5)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import sipcap
from sipcap.limits import FLUSH_INTERVAL_S
from sipcap.modes import DEFAULT_MODE
from sipcap.service.controller import Controller, ReloadError, UnknownMode

INTERNAL: Final = 500
BAD_REQUEST: Final = 400
STATUS: Final = "sipcapture.status"
STATS: Final = "sipcapture.stats"
RELOAD: Final = "sipcapture.reload"

_LOGGER = logging.getLogger("sipcap")
_RELOAD_S: Final = 2.0  # how long all wait for the answer to a reload: less than any client's patience
_GROUP: Final = "sipcapture"


class Fault(Exception):
    """An answer that says no: a code and one line of text, as the module's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class UnknownMethod(Exception):
    """There is no method of this name."""


class Rows(list[str]):
    """An answer of several values side by side: in BINRPC a row, in JSON an array."""


class Methods:
    """Carries out calls.

    Args:
        controller: the service that they are about.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._since_s = time.time()
        self._reload_now: _Reload | None = None
        self._known: dict[str, Any] = {}
        self._known_s = float("-inf")
        self._table: dict[str, tuple[Callable[[Sequence[Any]], Any], str]] = {
            "core.uptime": (self._uptime, "Returns uptime of SIP server."),
            "core.version": (self._version, "Returns the version string of the server."),
            RELOAD: (self._reload, "Read the configuration again."),
            STATS: (self._stats, "The whole state and all counters."),
            STATUS: (self._status, "Get status or turn on/off sipcapture."),
            "stats.fetch": (self._fetch, "get the value for group or statistic as a struct"),
            "stats.get_statistics": (self._get_statistics, "get core and modules stats"),
            "system.listMethods": (self._list_methods, "Lists all RPC methods supported by the server."),
            "system.methodHelp": (self._method_help, "Print the help string for given method."),
        }

    def call(self, name: str, params: Sequence[Any]) -> Any:
        """Call one method.

        Args:
            name: as Kamailio writes it, ``module.method``.
            params: strings, integers, or whatever JSON has; one that is no word is refused by the method.

        Returns:
            A value that JSON can express.

        Raises:
            UnknownMethod: there is none of this name.
            Fault: it was refused.
        """
        if name not in self._table:
            raise UnknownMethod(name)
        return self._table[name][0](params)

    def _status(self, params: Sequence[Any]) -> str:
        """``on|off|check [MODE]``; whole words only, where the module takes what begins with one."""
        if not params:
            raise Fault(INTERNAL, "Not enough parameters (on, off or check)")
        if len(params) > 2:
            raise Fault(INTERNAL, "Too many parameters (on, off or check, and a capture mode)")
        # ASCII only: a Kelvin sign, too, is a k in lower case.
        word = params[0].lower() if isinstance(params[0], str) and params[0].isascii() else ""
        if word not in {"on", "off", "check"}:
            raise Fault(INTERNAL, "Bad parameter (on, off or check)")
        mode = _word(params[1]) if len(params) == 2 else None
        try:
            if word != "check":
                self._known_s = float("-inf")
                self._controller.set_capture(mode, on=word == "on")
                return "Enabled" if word == "on" else "Disabled"
            return "Enabled" if self._controller.capture_is_on(mode) else "Disabled"
        except UnknownMode:
            raise Fault(INTERNAL, f"No capture mode of the name {mode}") from None

    def _stats(self, _params: Sequence[Any] = ()) -> dict[str, Any]:
        """The state, no older than what processes publish: a flood of questions does not cost a look at them each."""
        now_s = time.monotonic()
        if now_s >= self._known_s + FLUSH_INTERVAL_S:
            self._known, self._known_s = self._controller.stats(), now_s
        return self._known

    def _reload(self, _params: Sequence[Any]) -> str:
        self._known_s = float("-inf")
        if self._reload_now is not None and self._reload_now.is_alive():
            raise Fault(INTERNAL, "A reload is under way")
        self._reload_now = _Reload(self._controller)
        return self._reload_now.wait()

    def _version(self, _params: Sequence[Any]) -> str:
        return f"sipcap {sipcap.__version__}"

    def _uptime(self, _params: Sequence[Any]) -> dict[str, Any]:
        now_s = time.time()
        times = {name: time.asctime(time.gmtime(when)) for name, when in (("now", now_s), ("up_since", self._since_s))}
        return {**times, "uptime": max(int(now_s - self._since_s), 0)}

    def _list_methods(self, _params: Sequence[Any]) -> Rows:
        return Rows(self._table)

    def _method_help(self, params: Sequence[Any]) -> str:
        if not params or params[0] not in list(self._table):  # a list: a parameter need not be hashable
            raise Fault(BAD_REQUEST, "command not found")
        return self._table[params[0]][1]

    def _get_statistics(self, params: Sequence[Any]) -> Rows:
        return Rows(f"{_GROUP}:{name} = {value}" for name, value in self._statistics(params).items())

    def _fetch(self, params: Sequence[Any]) -> dict[str, str]:
        return {f"{_GROUP}.{name}": str(value) for name, value in self._statistics(params).items()}

    def _statistics(self, params: Sequence[Any]) -> dict[str, int]:
        """The module's statistics (spec 5.5) that the words ask for: ``all``, ``GROUP:``, or a name."""
        if not params:
            raise Fault(BAD_REQUEST, "Please provide which stats to retrieve")
        known = _captured(self._stats())
        asked: dict[str, int] = {}
        for param in params:
            word = str(param)
            asked |= {name: known[name] for name in known if word in {"all", f"{_GROUP}:", name, f"{_GROUP}:{name}"}}
        return asked


class _Reload(threading.Thread):
    """A reload; new processes may take their time, in which others want their answers."""

    def __init__(self, controller: Controller) -> None:
        super().__init__(name="reload", daemon=True)
        self._controller = controller
        self._failure: str | None = "Internal error"
        self._is_awaited = True

    def run(self) -> None:
        """Reload, and remember or log why that cannot be."""
        try:
            self._controller.reload()
            self._failure = None
        except ReloadError as error:
            self._failure = str(error)
            if not self._is_awaited:
                _LOGGER.error("%s; the configuration before stays in force", error)  # noqa: TRY400

    def wait(self) -> str:
        """The answer: how it ended, or that it goes on; raises Fault."""
        self.start()
        self.join(_RELOAD_S)
        self._is_awaited = False  # before the look: a failure that comes now is told twice rather than never
        if self.is_alive():
            return "Reloading"
        if self._failure is not None:
            raise Fault(INTERNAL, self._failure)
        return "Reloaded"


def _word(param: Any) -> str:
    """A name; clients send one of digits as a number."""
    if not isinstance(param, (str, int)) or isinstance(param, bool):
        raise Fault(INTERNAL, "Bad parameter (on, off or check, and a capture mode)")
    return str(param)


def _captured(stats: dict[str, Any]) -> dict[str, int]:
    """What each capture mode has stored, by the names of the module; the default one is not named (spec 5.5)."""
    found = {}
    for store in stats["stores"]:
        mode = "" if store["mode"] == DEFAULT_MODE else f"[{store['mode']}]"
        found[f"captured_replies{mode}"] = store["replies"]
        found[f"captured_requests{mode}"] = store["requests"]
    return dict(sorted(found.items()))
