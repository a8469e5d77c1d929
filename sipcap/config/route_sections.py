"""The routes of a configuration file (design 1.7)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from sipcap.activity import METHODS
from sipcap.config.ini import IniFile, Section
from sipcap.config.keys import ROUTE
from sipcap.config.values import pieces
from sipcap.modes import DEFAULT_MODE, CaptureMode, nearest, unknown_mode
from sipcap.routes import BadRoute, Route, make_route
from sipcap.sources.addresses import Network

_LOGGER = logging.getLogger("sipcap")
_COMPARED: Final = 500  # routes that later ones are compared with: it shall take no time, however many there are


def routes_of(ini: IniFile, modes: Mapping[str, CaptureMode]) -> tuple[Route, ...]:
    """The routes of a file whose keys are checked, in its order; what is wrong with them is among its problems.

    Args:
        ini: the file.
        modes: its capture modes.
    """
    routes: list[Route] = []
    whole: list[tuple[Section, Route]] = []  # with nothing wrong in them
    for section in ini.of_kind(ROUTE):
        problems = len(ini.problems)
        route = _route(ini, section, modes)
        routes.append(route)
        if section.name in ini.unclear or len(ini.problems) > problems:
            continue
        first = next((earlier for earlier, other in whole if covers(other, route)), None)
        if first is not None:
            text = f"it can never be reached: [{first.name}] in line {first.line} takes all that it would match"
            ini.keep(ini.error(section.line, f"[{section.name}] {text}"))
        if len(whole) < _COMPARED:
            whole.append((section, route))
    return tuple(routes)


def covers(one: Route, other: Route) -> bool:
    """Whether one route is seen to match all that the other would: none of its conditions asks for more."""
    return (
        (not one.methods or bool(other.methods and other.methods <= one.methods))
        and (not one.source or bool(other.source and all(_is_inside(each, one.source) for each in other.source)))
        and (not one.hep_types or bool(other.hep_types and other.hep_types <= one.hep_types))
        and (not one.capture_ids or bool(other.capture_ids and other.capture_ids <= one.capture_ids))
        and (one.header is None or one.header == other.header)
    )


def _is_inside(network: Network, others: Sequence[Network]) -> bool:
    first, last = network[0], network[-1]
    return any(first in each and last in each for each in others)  # of the other IP version, none is


def warn_of_methods(ini: IniFile) -> None:
    """Say which methods of routes are not registered: that may be right, and it may be a slip of the pen."""
    for section in ini.of_kind(ROUTE):
        if (value := section.values.get("methods")) is None:
            continue
        place = f"{ini.path}:{value.line}: [{section.name}]"
        for name in pieces(value.text):
            if name.upper() not in METHODS:
                _LOGGER.warning("%s methods: %s is no registered method%s", place, name, nearest(name, METHODS))


def _route(ini: IniFile, section: Section, modes: Mapping[str, CaptureMode]) -> Route:
    """The route of a section; what is wrong in it is left out."""
    values = {key: value.text for key, value in section.values.items()}
    if section.name in ini.unclear:
        values.setdefault("capture_mode", DEFAULT_MODE)
    mode = section.values.get("capture_mode")
    if mode is not None and mode.text and mode.text not in modes:
        ini.keep(ini.error(mode.line, f"[{section.name}] capture_mode: {unknown_mode(mode.text, modes)}"))
    while True:
        try:
            return make_route(section.label, values)
        except BadRoute as error:
            line = section.values[error.key].line if error.key in section.values else section.line
            ini.keep(ini.error(line, f"[{section.name}] {error}"))
            if error.key not in values:
                return Route(name=section.label)
            del values[error.key]
            values.setdefault("capture_mode", DEFAULT_MODE)  # or it would lead nowhere, which it does not
