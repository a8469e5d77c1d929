"""``kamailio.cfg`` to ``modes.ini``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from sipcap.config.kamailio.preprocess import Source, read_source
from sipcap.config.kamailio.routes import FoundRoute, find_routes
from sipcap.config.kamailio.script import ModuleParameter, Script, parse_script
from sipcap.config.kamailio.tokens import tokens_of
from sipcap.config.keys import COLUMN_KEYS, MODULE_KEYS
from sipcap.config.route_sections import covers
from sipcap.config.values import HIDDEN
from sipcap.limits import HEP_PORT
from sipcap.modes import BadMode, parse_mode
from sipcap.routes import BadRoute, make_route

_OTHER_PARAMETERS: Final = {
    ("topoh", "mask_key"): "topoh_key",
    ("topoh", "callid_prefix"): "topoh_prefix",
    ("jsonrpcs", "fifo_name"): "rpc_fifo",
    ("ctl", "binrpc"): "binrpc_socket",
}
"""Parameters of other modules that capturing uses, and our keys for the same."""

_PASSED_OVER: Final = {
    "hep_capture_on": "", "nonsip_hook": "", "capture_mode": "",
    "table_time_sufix": "", "event_callback": "a KEMI function: write it as a hook, FILE.py:CALLABLE",
}  # fmt: skip
_DEFAULT_URL: Final = "mysql://kamailio:kamailiorw@localhost/kamailio"  # the module's own (spec 1.1)
_ADVERTISED: Final = re.compile(r"\s+(?:advertise|name)\b.*")
_ENDPOINT: Final = re.compile(r"(?:(udp|tcp|tls):)?(\[[^\]]+\]|[^:\[\]\s]+)(?::(\d+))?")
_OF_THE_MODULE: Final = re.compile(r"sipcapture|\b(?:sip|report)_capture")
_SIP_PORT: Final = "5060"


@dataclass
class Translation:
    """The new configuration, and what is not in it, each with its place in the old one."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unfollowed: list[str] = field(default_factory=list)
    """Those of the notes that are about parts which were not read."""
    is_about_capture: bool = True
    """False if neither the module's name nor one of its functions is anywhere in what was read."""

    @property
    def text(self) -> str:
        """The whole file."""
        return "\n".join(self.lines) + "\n"


def translate(path: Path) -> Translation:
    """Translate a Kamailio configuration.

    Raises:
        CannotStart: the file cannot be read.
    """
    source = read_source(path)
    tokens = list(tokens_of(source))
    result = _Translator(source, parse_script(tokens), str(path)).translate()
    result.is_about_capture = any(_OF_THE_MODULE.search(token.text) for token in tokens)
    return result


class _Translator:
    def __init__(self, source: Source, script: Script, path: str) -> None:
        self._source = source
        self._script = script
        self._result = Translation([f"# Made by sipcap config from-kamailio from {path}."])
        self._own = [each for each in script.parameters if each.module == "sipcapture"]

    def translate(self) -> Translation:
        result = self._result
        result.unfollowed += self._source.notes
        result.notes += [*self._source.notes, *self._script.notes]
        result.lines += ["", "[sipcap]", *self._main(), *self._modes()]
        if self._is_set("hep_capture_on") or self._is_set("nonsip_hook"):
            result.lines += ["", "[listen:hep]", "mode = hep", *self._listen()]
        result.lines += self._routes()
        return result

    def _note(self, place: str, text: str) -> None:
        self._result.notes.append(f"{place}: {text}")

    def _is_set(self, name: str) -> bool:
        return any(each.name == name and each.value.strip() not in ("", "0") for each in self._own)

    def _main(self) -> Iterator[str]:
        last = {each.name: each for each in self._own if each.name != "capture_mode"}  # the last one counts
        if "db_url" not in last and not any(each.name == "capture_mode" for each in self._own):
            yield f"db_url = {_DEFAULT_URL}"
        for parameter in last.values():
            if parameter.name in _PASSED_OVER:
                if reason := _PASSED_OVER[parameter.name]:
                    self._note(parameter.place, f"{parameter.name}: {reason}")
            elif parameter.name in MODULE_KEYS or parameter.name in COLUMN_KEYS:
                yield f"{parameter.name} = {self._value(parameter)}".rstrip()
            else:
                self._note(parameter.place, f"unknown parameter {parameter.name} of sipcapture")
        for parameter in self._script.parameters:
            key = _OTHER_PARAMETERS.get((parameter.module, parameter.name))
            if key is not None and (key != "binrpc_socket" or parameter.value.startswith("unix:")):
                yield f"{key} = {parameter.value.removeprefix('unix:')}"

    def _value(self, parameter: ModuleParameter) -> str:
        value = parameter.value.strip()
        if "\n" in value:
            self._note(parameter.place, f"{parameter.name} has more than one line; only the first is taken")
            value = value.split("\n", 1)[0]
        return value

    def _modes(self) -> Iterator[str]:
        for parameter in self._own:
            if parameter.name != "capture_mode":
                continue
            try:
                mode = parse_mode(parameter.value)
            except BadMode as error:
                self._note(parameter.place, f"capture_mode: {error}")
                continue
            yield from ("", f"[capture_mode:{mode.name}]", f"db_url = {mode.db_url}")
            if mode.tables:
                yield f"table_name = {'|'.join(mode.tables)}"
            yield from (f"mt_mode = {mode.mt_mode}", f"hash_source = {mode.hash_source}")

    def _listen(self) -> Iterator[str]:
        port = next((each.value for each in self._script.settings if each.name == "port"), _SIP_PORT)
        endpoints = []
        for setting in self._script.settings:
            if setting.name != "listen":
                continue
            text = ":".join(
                self._source.defines.get(part, part)
                for part in _ADVERTISED.sub("", setting.value).replace(" ", "").split(":")
            )
            match = _ENDPOINT.fullmatch(text)
            if match is None:
                shown = HIDDEN if "@" in setting.value else setting.value  # no address has one: it may be a secret's
                self._note(setting.place, f"listen = {shown}: no udp, tcp or tls address")
                continue
            endpoints.append(f"{match[1] or 'udp'}:{match[2]}:{match[3] or port}")
        if not endpoints:
            self._note("listen", f"no address is named; udp and tcp port {HEP_PORT} of all addresses are taken")
            endpoints = [f"udp:0.0.0.0:{HEP_PORT}", f"tcp:0.0.0.0:{HEP_PORT}"]
        yield f"listen = {', '.join(endpoints)}"
        yield from (f"children = {each.value}" for each in self._script.settings if each.name == "children")

    def _routes(self) -> Iterator[str]:
        found = find_routes(self._script)
        self._result.notes += found.notes
        routes = self._reachable(_up_to_default(found.routes))
        for number, route in enumerate(routes, 1):
            yield from (
                "",
                f"# {route.place}",
                f"[route:{number}]",
                *(f"{key} = {value}" for key, value in route.values.items()),
            )
        if routes and all(route.is_conditional or not route.stores for route in found.routes):
            self._note("routes", "what meets none of them was not stored there; here it goes to the default mode")

    def _reachable(self, routes: Sequence[FoundRoute]) -> list[FoundRoute]:
        """Those that the ones before them leave something to.

        There, calls follow one another; here the first route that fits counts. So one that forwards says where its
        messages are stored, too, if one place is known for all of them: that of the next route.
        """
        kept: list[FoundRoute] = []
        for number, found in enumerate(routes):
            route = found
            follower = next((each for each in routes[number + 1 :] if each.stores), None)
            if not route.stores and follower is not None and _covers(follower, route):
                route = replace(route, values=route.values | _targets(follower))
            first = next((each for each in kept if _covers(each, route)), None)
            if first is None:
                kept.append(route)
            elif not _targets(route).items() <= _targets(first).items():
                self._note(route.place, "left out: another route, of a call before this one, takes the same messages")
        return kept


def _targets(route: FoundRoute) -> dict[str, str]:
    """Those of its values that say where messages go."""
    return {key: text for key, text in route.values.items() if key in ("table", "capture_mode", "forward")}


def _covers(one: FoundRoute, other: FoundRoute) -> bool:
    """Whether one takes all that the other would."""
    try:
        first, second = (make_route("", each.values) for each in (one, other))
    except BadRoute:  # told by whoever reads the file
        return False
    return covers(first, second)


def _up_to_default(routes: list[FoundRoute]) -> list[FoundRoute]:
    """Routes up to the first that takes everything: behind it, none is ever looked at."""
    kept = []
    for route in routes:
        if route.values == {"capture_mode": "default"}:
            break  # where what meets no route goes anyway
        kept.append(route)
        if not route.is_conditional and route.stores:
            break
    return kept
