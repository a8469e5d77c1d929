"""The listeners of a configuration: ``[listen:*]``, and those that the module's parameters add (design 1.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sipcap.config import values
from sipcap.config.ini import IniFile, Section
from sipcap.config.keys import HEP, IPIP, LISTEN, LISTEN_KEYS, MAIN, MIRROR
from sipcap.config.meeting import share_a_port
from sipcap.config.settings import DEFAULT, Entry, Listener, Override
from sipcap.endpoint import Endpoint
from sipcap.limits import HEP_PORT

Overrides = Mapping[str, Override]
Found = tuple[Listener, list[Entry]]

_SHARED: Final = ("auth_key", "allow", "tls_cert", "tls_key", "tls_client_ca")
_OF_PACKETS: Final = frozenset({"iface", "promisc", "bpf", "direction"})
_OF_HEP: Final = frozenset(_SHARED)
_OF_THIS_MACHINE: Final = tuple(Endpoint(protocol, "127.0.0.1", HEP_PORT, HEP_PORT) for protocol in ("udp", "tcp"))
_ADDED: Final = {"hep_capture_on": HEP, "raw_ipip_capture_on": IPIP, "raw_moni_capture_on": MIRROR}


def listeners_of(ini: IniFile, main: Overrides, overrides: Overrides) -> list[Found]:
    """Make the listeners; without any, HEP from this machine is heard.

    Args:
        ini: the file.
        main: the values of ``[sipcap]``.
        overrides: of keys of ``[listen:*]``; with ``listen`` among them, they make the only listener.

    Returns:
        All of which the mode is known; what is wrong with them is among the problems of the file.
    """
    if "listen" in overrides:
        section = Section(f"{LISTEN}:options", 0)
        found = [_listener(ini, section, main, overrides, overrides["listen"].origin)]
        return [each for each in found if each is not None]
    found = [_listener(ini, section, main, overrides, f"{ini.path}:{section.line}") for section in ini.of_kind(LISTEN)]
    found += [_added(ini, key, mode, main, overrides) for key, mode in _ADDED.items() if main[key].value]
    if not found:
        is_hep = "mode" not in overrides or overrides["mode"].value == HEP
        usual = {"listen": Override(_OF_THIS_MACHINE if is_hep else (), DEFAULT), **overrides}
        found = [_listener(ini, Section(f"{LISTEN}:{HEP}", 0), main, usual, DEFAULT)]
    made = [each for each in found if each is not None]
    _check_names(ini, made)
    _check_endpoints(ini, made)
    _check_certificates(ini, made)
    return made


def _listener(ini: IniFile, section: Section, main: Overrides, overrides: Overrides, origin: str) -> Found | None:
    """The listener of a section; where a value is wrong, with the default in its place. None if that makes none."""
    problems = len(ini.problems)
    found: dict[str, Override] = {}
    for key, meaning in LISTEN_KEYS.items():
        if key in overrides:
            found[key] = overrides[key]
        elif key in section.values:
            if key != "mode":
                found[key] = Override(meaning.default, DEFAULT)
            with ini.gathering():
                found[key] = _value(ini, section, key)
        else:
            found[key] = main[key] if key in _SHARED else Override(meaning.default, DEFAULT)
    if "mode" not in found:
        return None
    mode = found["mode"].value
    if "listen" not in overrides:
        found["listen"] = Override((), DEFAULT)
        if "listen" in section.values or section.name not in ini.unclear:
            with ini.gathering():
                found["listen"] = _endpoints(ini, section, mode)
    _check(ini, section, mode)
    made = _made(section.label, found, origin)
    if len(ini.problems) == problems:
        with ini.gathering():
            _check_together(ini, made)
    return made


def _value(ini: IniFile, section: Section, key: str) -> Override:
    value = section.values[key]
    try:
        return Override(LISTEN_KEYS[key].read(value.text), f"{ini.path}:{value.line}")
    except ValueError as error:
        raise ini.error(value.line, f"[{section.name}] {key} {error}") from None


def _endpoints(ini: IniFile, section: Section, mode: str) -> Override:
    value = section.values.get("listen")
    if value is None or not value.text:
        if mode == HEP:
            raise ini.error(section.line, f"[{section.name}] listen is missing: where to receive HEP")
        return Override((), DEFAULT)
    try:
        if mode == HEP:
            found: Sequence[Endpoint] = values.endpoints(value.text)
        else:
            found = [values.host_and_ports(each) for each in values.pieces(value.text)]
    except ValueError as error:
        raise ini.error(value.line, f"[{section.name}] listen: {error}") from None
    return Override(tuple(found), f"{ini.path}:{value.line}")


def _check(ini: IniFile, section: Section, mode: str) -> None:
    """Find keys that would have no effect."""
    useless = _OF_PACKETS if mode == HEP else _OF_HEP
    for key, value in section.values.items():
        if key in useless or (mode == IPIP and key == "promisc"):
            ini.keep(ini.error(value.line, f"[{section.name}] {key} has no meaning with mode = {mode}"))


def _added(ini: IniFile, key: str, mode: str, main: Overrides, overrides: Overrides) -> Found:
    """The listener of ``hep_capture_on``, ``raw_ipip_capture_on`` or ``raw_moni_capture_on``."""
    origin = main[key].origin
    found = {each: Override(meaning.default, DEFAULT) for each, meaning in LISTEN_KEYS.items()}
    found["mode"] = Override(mode, origin)
    if mode == HEP:
        found |= {each: main[each] for each in _SHARED}
        found["listen"] = Override((Endpoint("udp", "*", HEP_PORT, HEP_PORT),), origin)
    else:
        where: Endpoint | None = main["raw_socket_listen"].value
        found["listen"] = Override((where,) if where is not None else (), main["raw_socket_listen"].origin)
        found["iface"] = main["raw_interface"]
        if mode == MIRROR:
            found["promisc"] = main["promiscuous_on"]
        if main["raw_moni_bpf_on"].value and mode == MIRROR:
            found["bpf"] = Override("auto", main["raw_moni_bpf_on"].origin)
    found["children"] = main["raw_sock_children"]
    made = _made(key.removesuffix("_capture_on"), {**found, **overrides}, origin)
    with ini.gathering():
        _check_together(ini, made)
    return made


def _made(name: str, found: Mapping[str, Override], origin: str) -> Found:
    fields: dict[str, Any] = {key: value for key, (value, _) in found.items() if key != "listen"}
    listener = Listener(name=name, endpoints=found["listen"].value, origin=origin, **fields)
    entries = []
    for key, (value, came_from) in found.items():
        shown = values.joined(value) if key == "listen" else LISTEN_KEYS[key].shown(value)
        entries.append(Entry(f"{LISTEN}:{name}", key, shown, came_from))
    return listener, entries


def _check_together(ini: IniFile, made: Found) -> None:
    """Raise CannotStart if the values of a listener do not go together."""
    listener, _ = made
    of_listener = f"listener {listener.name}"
    if listener.promisc and listener.iface in ("", "any"):
        raise ini.error_at(listener.origin, f"{of_listener}: promisc needs iface: it is for one interface")
    if listener.bpf == "auto" and not ports_of(listener.endpoints):
        raise ini.error_at(
            listener.origin, f"{of_listener}: bpf = auto follows from the ports of listen: there are none"
        )


def _check_names(ini: IniFile, found: Sequence[Found]) -> None:
    """A name stands for one listener: state and counters are shown by it."""
    seen: set[str] = set()
    for listener, _ in found:
        if listener.name in seen:
            ini.keep(ini.error_at(listener.origin, f"a listener called {listener.name} is in {ini.path} already"))
        seen.add(listener.name)


def _check_endpoints(ini: IniFile, found: Sequence[Found]) -> None:
    """What arrives at a port can be one listener's only. Packets that are watched, several may have."""
    taken: list[tuple[Endpoint, str]] = []
    for listener, entries in found:
        if listener.mode != HEP:
            continue
        origin = listen_origin(entries)
        for endpoint in listener.endpoints:
            first = next((origin for other, origin in taken if share_a_port(endpoint, other)), None)
            if first is not None:
                text = f"[{LISTEN}:{listener.name}] listen: {endpoint} is listened on in {first} already"
                ini.keep(ini.error_at(origin, text))
            taken.append((endpoint, origin))


def _check_certificates(ini: IniFile, found: Sequence[Found]) -> None:
    """TLS needs a certificate. What options ask for without one is told by who opens it, in the words of options."""
    sections = {section.label: section for section in (*ini.of_kind(MAIN), *ini.of_kind(LISTEN))}
    for listener, entries in found:
        asked = [sections[label] for label in (listener.name, "") if label in sections]
        is_open = any(section.name in ini.unclear or "tls_cert" in section.values for section in asked)  # told already
        tls = next((endpoint for endpoint in listener.endpoints if endpoint.protocol == "tls"), None)
        origin = listen_origin(entries)
        if tls is not None and listener.tls_cert is None and not is_open and origin.startswith(f"{ini.path}:"):
            text = f"{tls} needs tls_cert, in this section or in [{MAIN}] (and tls_key if the key is in another file)"
            ini.keep(ini.error_at(origin, f"[{LISTEN}:{listener.name}] listen: {text}"))


def listen_origin(entries: Sequence[Entry]) -> str:
    """Where the endpoints of a listener come from."""
    return next(entry.origin for entry in entries if entry.key == "listen")


def ports_of(endpoints: Sequence[Endpoint]) -> list[range]:
    """The ports that SIP has in captured packets; none if an endpoint leaves them open."""
    if any(endpoint.last_port == 0 for endpoint in endpoints):
        return []
    return [range(endpoint.port, endpoint.last_port + 1) for endpoint in endpoints]
