"""The capture modes of a configuration file (design 1.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sipcap.config.ini import IniFile, Section, Value, read_ini
from sipcap.config.keys import CAPTURE_MODE, COLUMN_KEYS, MAIN, MAIN_KEYS, check_keys
from sipcap.config.route_sections import routes_of
from sipcap.config.settings import Override, read_value
from sipcap.config.values import secret
from sipcap.errors import CannotStart
from sipcap.modes import DEFAULT_MODE, MODE_KEYS, BadMode, CaptureMode, make_mode, nearest, parse_mode, unknown_mode
from sipcap.routes import Route
from sipcap.schemas import SCHEMAS
from sipcap.sinks.url import DEFAULT_URL


@dataclass(frozen=True)
class ModesFile:
    """What a configuration file says about storing.

    Args:
        path: of the file, for messages.
        modes: all capture modes by name; ``default`` is always there.
        schema: of the tables; None = the file does not say.
        columns: the database's name of each column that has another one there.
        routes: which records go to which of the modes.
    """

    path: str
    modes: dict[str, CaptureMode]
    schema: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    def mode(self, name: str) -> CaptureMode:
        """The mode of this name; it is case-sensitive, as in the module.

        Raises:
            CannotStart: there is none.
        """
        if name not in self.modes:
            raise CannotStart(f"{self.path}: {unknown_mode(name, self.modes)}")
        return self.modes[name]


def read_modes(path: Path) -> ModesFile:
    """Read what a file says about storing.

    Capture modes are ``[capture_mode:NAME]``, the lines of the key ``capture_mode`` in the module's notation, and the
    default mode, made of the keys of ``[sipcap]``. What is not about storing is not looked at, but unknown sections and
    keys are errors.

    Raises:
        CannotStart: with file and line.
    """
    ini = check_keys(read_ini(path))
    main = next(ini.of_kind(MAIN), Section(MAIN, 0))
    modes = modes_of(ini)
    schema = None
    with ini.gathering():
        schema = _schema(ini, main)
    columns = _columns(ini, main)
    routes = routes_of(ini, modes)
    ini.finish()
    return ModesFile(ini.path, modes, schema, columns, routes)


def modes_of(ini: IniFile, overrides: Mapping[str, Override] | None = None) -> dict[str, CaptureMode]:
    """The capture modes of a file whose keys are checked; the default one comes first.

    Args:
        ini: the file.
        overrides: values of the default mode that win over the file's, as text.

    Returns:
        All that the file names; what is wrong with them is among its problems.
    """
    main = next(ini.of_kind(MAIN), Section(MAIN, 0))
    modes = {DEFAULT_MODE: _mode(ini, main, DEFAULT_MODE, overrides or {})}
    lines = {DEFAULT_MODE: main.line}
    if "capture_mode" in main.values:
        for line, text in main.values["capture_mode"].lines:
            if text:
                with ini.gathering():
                    _add(ini, line, _parsed(ini, line, text), modes, lines)
    for section in ini.of_kind(CAPTURE_MODE):
        with ini.gathering():
            _add(ini, section.line, _mode(ini, section, section.label), modes, lines)
    return modes


def _add(ini: IniFile, line: int, mode: CaptureMode, modes: dict[str, CaptureMode], lines: dict[str, int]) -> None:
    if mode.name == DEFAULT_MODE:
        raise ini.error(line, f"the capture mode {DEFAULT_MODE} is made of the keys of [{MAIN}]")
    if mode.name in modes:
        raise ini.error(line, f"capture mode {mode.name} is here for the second time; first in line {lines[mode.name]}")
    modes[mode.name] = mode
    lines[mode.name] = line


def _parsed(ini: IniFile, line: int, text: str) -> CaptureMode:
    """A mode in the module's notation; if only its name can be read, one that stands for it."""
    try:
        return parse_mode(text)
    except BadMode as error:
        name, arrow, _ = text.partition("=>")
        if not arrow or not name.strip():
            raise ini.error(line, f"capture_mode: {error}") from None
        ini.keep(ini.error(line, f"capture_mode: {error}"))
        return CaptureMode(name.strip())


def _mode(ini: IniFile, section: Section, name: str, overrides: Mapping[str, Override] | None = None) -> CaptureMode:
    """The mode of a section; where a value is wrong, with the default in its place."""
    values = {key: section.values[key].text for key in MODE_KEYS if key in section.values}
    if values.get("db_url", "").startswith("@"):
        try:
            values["db_url"] = secret(values["db_url"])
        except ValueError as error:
            ini.keep(ini.error(section.values["db_url"].line, f"[{section.name}] db_url {error}"))
            values["db_url"] = DEFAULT_URL
    if section.name in ini.unclear:
        values.setdefault("db_url", DEFAULT_URL)
    values |= {key: str(value) for key, (value, _) in (overrides or {}).items()}
    while True:
        try:
            return make_mode(name, values)
        except BadMode as error:
            if overrides and error.key in overrides:
                raise CannotStart(f"{overrides[error.key].origin}: {error}") from None
            line = section.values[error.key].line if error.key else section.line
            ini.keep(ini.error(line, f"[{section.name}] {error}"))
            if not error.key:
                return CaptureMode(name)
            del values[error.key]
            values.setdefault("db_url", DEFAULT_URL)


def _columns(ini: IniFile, main: Section) -> dict[str, str]:
    found = {}
    for key, column in COLUMN_KEYS.items():
        if key in main.values:
            with ini.gathering():
                name = read_value(ini, main, key, MAIN_KEYS[key]).value
                if name != column:
                    found[column] = name
    return found


def _schema(ini: IniFile, main: Section) -> str | None:
    value: Value | None = main.values.get("schema")
    if value is not None and value.text not in SCHEMAS:
        hint = nearest(value.text, SCHEMAS)
        raise ini.error(value.line, f"[{MAIN}] schema must be one of {', '.join(SCHEMAS)}{hint}")
    return None if value is None else value.text
