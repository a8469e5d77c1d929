"""The routes of a configuration file (design 1.7)."""

from __future__ import annotations

from collections.abc import Mapping

from sipcap.config.ini import IniFile, Section
from sipcap.config.keys import ROUTE
from sipcap.modes import DEFAULT_MODE, CaptureMode, unknown_mode
from sipcap.routes import BadRoute, Route, make_route


def routes_of(ini: IniFile, modes: Mapping[str, CaptureMode]) -> tuple[Route, ...]:
    """The routes of a file whose keys are checked, in its order; what is wrong with them is among its problems.

    Args:
        ini: the file.
        modes: its capture modes.
    """
    return tuple(_route(ini, section, modes) for section in ini.of_kind(ROUTE))


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
