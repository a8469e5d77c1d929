"""From a configuration file, and what options say in its place, to Settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from sipcap.config.capture_modes import modes_of
from sipcap.config.ini import IniFile, Section, read_ini
from sipcap.config.keys import COLUMN_KEYS, HEP, LISTEN, LISTEN_KEYS, MAIN, MAIN_KEYS, ROUTE, check_keys, url_text
from sipcap.config.listeners import Found, Overrides, listen_origin, listeners_of
from sipcap.config.meeting import comes_back, share_a_port
from sipcap.config.route_sections import routes_of, warn_of_methods
from sipcap.config.settings import DEFAULT, Entry, Listener, Override, Settings, read_value
from sipcap.config.values import metrics_endpoint
from sipcap.modes import MODE_KEYS, CaptureMode
from sipcap.routes import Route

_ELSEWHERE: Final = frozenset({
    *MODE_KEYS, *COLUMN_KEYS, "capture_mode", "hep_capture_on", "raw_ipip_capture_on", "raw_moni_capture_on",
    "raw_socket_listen", "raw_interface", "raw_sock_children", "promiscuous_on", "raw_moni_bpf_on", "auth_key",
    "allow", "tls_cert", "tls_key", "tls_client_ca",
})  # fmt: skip
"""Keys of ``[sipcap]`` that are parts of capture modes and listeners."""


def read_settings(
    path: Path | None, overrides: Overrides | None = None, listening: Overrides | None = None
) -> Settings:
    """Read a configuration.

    Args:
        path: of the file; None = there is none: the defaults, with capture on and HEP from this machine.
        overrides: of keys of ``[sipcap]``, with their origins.
        listening: of keys of every ``[listen:*]``; ``listen`` puts one listener in the place of all of them.

    Raises:
        CannotStart: the file cannot be read, or something in it is wrong: file, line, key and the nearest valid one.
    """
    ini = read_ini(path) if path is not None else IniFile("", ())
    settings = settings_of(ini, overrides, listening)
    ini.finish()
    return settings


def settings_of(ini: IniFile, overrides: Overrides | None = None, listening: Overrides | None = None) -> Settings:
    """What could be read of a file, for who looks for further errors: of what is wrong, the default holds.

    Args:
        ini: as it was read; gets all that is wrong among its problems. Without a path it is no file.
        overrides: as ``read_settings`` has them.
        listening: likewise.

    Raises:
        ManyWrong: there are more errors than anybody reads.
    """
    ini = check_keys(ini)
    main = next(ini.of_kind(MAIN), Section(MAIN, 0))
    found = _main_values(ini, main, overrides or {})
    if not ini.path and found["capture_on"].origin == DEFAULT:
        found["capture_on"] = Override(value=True, origin=DEFAULT)
    modes = modes_of(ini, {key: found[key] for key in MODE_KEYS if key in (overrides or {})})
    listeners = listeners_of(ini, found, listening or {})
    routes = routes_of(ini, modes)
    _check_repeated(ini)
    _check_metrics(ini, found["metrics_listen"], listeners)
    _check_loops(ini, routes, listeners)
    if not ini.problems:
        warn_of_methods(ini)
    columns = {column: found[key].value for key, column in COLUMN_KEYS.items() if found[key].value != column}
    entries = _main_entries(found) + _mode_entries(ini, modes) + _listener_entries(listeners) + _route_entries(ini)
    return Settings(
        path=ini.path, modes=modes, listeners=tuple(listener for listener, _ in listeners), routes=routes,
        columns=columns, entries=tuple(entries), origins={key: origin for key, (_, origin) in found.items()},
        **{key: value for key, (value, _) in found.items() if key not in _ELSEWHERE},
    )  # fmt: skip


def _check_metrics(ini: IniFile, metrics: Override, listeners: Sequence[Found]) -> None:
    """The page of metrics needs a port that no listener has."""
    if metrics.value is None:
        return
    page = metrics_endpoint(metrics.value)
    for listener, entries in listeners:
        if listener.mode == HEP and any(share_a_port(page, endpoint) for endpoint in listener.endpoints):
            text = f"[{MAIN}] metrics_listen: {metrics.value} is listened on in {listen_origin(entries)} already"
            ini.keep(ini.error_at(metrics.origin, text))


def _check_loops(ini: IniFile, routes: Sequence[Route], listeners: Sequence[Found]) -> None:
    """What a route sends to a listener of the same service would come back, and be sent again, without end."""
    lines = {section.label: section.values["forward"].line for section in ini.of_kind(ROUTE) if _forwards(section)}
    heard = [
        (endpoint, listen_origin(entries))
        for listener, entries in listeners
        if listener.mode == HEP
        for endpoint in listener.endpoints
    ]
    for route in routes:
        if route.forward is None:
            continue
        origin = next((origin for endpoint, origin in heard if comes_back(route.forward, endpoint)), None)
        if origin is not None:
            text = f"{route.forward} is listened on in {origin}: all that is sent there would come back, without end"
            ini.keep(ini.error(lines[route.name], f"[{ROUTE}:{route.name}] forward: {text}"))


def _forwards(section: Section) -> bool:
    return "forward" in section.values


def _main_values(ini: IniFile, main: Section, overrides: Overrides) -> dict[str, Override]:
    found: dict[str, Override] = {}
    for key, meaning in MAIN_KEYS.items():
        if key in overrides:
            found[key] = overrides[key]
        elif key in main.values:
            found[key] = Override(meaning.default, DEFAULT)
            with ini.gathering():
                found[key] = read_value(ini, main, key, meaning)
        else:
            found[key] = Override(meaning.default, DEFAULT)
    return found


def _check_repeated(ini: IniFile) -> None:
    """Find what is wrong in sections that are there for the second time, as far as each value tells it by itself."""
    for section in ini.repeated:
        meanings = {MAIN: MAIN_KEYS, LISTEN: LISTEN_KEYS}.get(section.kind, {})
        for key in section.values:
            if key in meanings:
                with ini.gathering():
                    read_value(ini, section, key, meanings[key])


def _main_entries(found: Mapping[str, Override]) -> list[Entry]:
    return [Entry(MAIN, key, MAIN_KEYS[key].shown(value), origin) for key, (value, origin) in found.items()]


def _mode_entries(ini: IniFile, modes: Mapping[str, CaptureMode]) -> list[Entry]:
    """The named modes; the default one is made of keys of ``[sipcap]``."""
    lines = {section.label: section for section in ini.of_kind("capture_mode")}
    entries = []
    for mode in list(modes.values())[1:]:
        section = lines.get(mode.name)
        shown = {
            "db_url": url_text(mode.db_url), "table_name": "|".join(mode.tables),
            "mt_mode": mode.mt_mode, "hash_source": mode.hash_source,
        }  # fmt: skip
        for key, text in shown.items():
            origin = f"{ini.path}: capture_mode"
            if section is not None:
                origin = f"{ini.path}:{section.values[key].line}" if key in section.values else DEFAULT
            entries.append(Entry(f"capture_mode:{mode.name}", key, text, origin))
    return entries


def _listener_entries(listeners: list[tuple[Listener, list[Entry]]]) -> list[Entry]:
    return [entry for _, entries in listeners for entry in entries]


def _route_entries(ini: IniFile) -> list[Entry]:
    return [
        Entry(f"{ROUTE}:{section.label}", key, value.text, f"{ini.path}:{value.line}")
        for section in ini.of_kind(ROUTE)
        for key, value in section.values.items()
    ]
