"""The listeners of a configuration: ``[listen:*]``, and those that the module's parameters add (design 1.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sipcap.config import values
from sipcap.config.ini import IniFile, Section
from sipcap.config.keys import HEP, IPIP, LISTEN, LISTEN_KEYS, MIRROR
from sipcap.config.settings import DEFAULT, Entry, Listener, Override
from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
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

    Raises:
        CannotStart: with file, line and key.
    """
    if "listen" in overrides:
        section = Section(f"{LISTEN}:options", 0)
        return [_listener(ini, section, main, overrides, overrides["listen"].origin)]
    found = [_listener(ini, section, main, overrides, f"{ini.path}:{section.line}") for section in ini.of_kind(LISTEN)]
    found += [_added(key, mode, main, overrides) for key, mode in _ADDED.items() if main[key].value]
    if not found:
        is_hep = "mode" not in overrides or overrides["mode"].value == HEP
        usual = {"listen": Override(_OF_THIS_MACHINE if is_hep else (), DEFAULT), **overrides}
        found = [_listener(ini, Section(f"{LISTEN}:{HEP}", 0), main, usual, DEFAULT)]
    _check_names(ini, found)
    return found


def _listener(ini: IniFile, section: Section, main: Overrides, overrides: Overrides, origin: str) -> Found:
    found: dict[str, Override] = {}
    for key, meaning in LISTEN_KEYS.items():
        if key in overrides:
            found[key] = overrides[key]
        elif key in section.values:
            line = section.values[key].line
            try:
                found[key] = Override(meaning.read(section.values[key].text), f"{ini.path}:{line}")
            except ValueError as error:
                raise ini.error(line, f"[{section.name}] {key} {error}") from None
        else:
            found[key] = main[key] if key in _SHARED else Override(meaning.default, DEFAULT)
    mode = found["mode"].value
    if "listen" not in overrides:
        found["listen"] = _endpoints(ini, section, mode)
    _check(ini, section, mode)
    return _made(section.label, found, origin)


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
    """Refuse keys that would have no effect."""
    useless = _OF_PACKETS if mode == HEP else _OF_HEP
    for key, value in section.values.items():
        if key in useless or (mode == IPIP and key == "promisc"):
            raise ini.error(value.line, f"[{section.name}] {key} has no meaning with mode = {mode}")


def _added(key: str, mode: str, main: Overrides, overrides: Overrides) -> Found:
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
    return _made(key.removesuffix("_capture_on"), {**found, **overrides}, origin)


def _made(name: str, found: Mapping[str, Override], origin: str) -> Found:
    fields: dict[str, Any] = {key: value for key, (value, _) in found.items() if key != "listen"}
    listener = Listener(name=name, endpoints=found["listen"].value, origin=origin, **fields)
    if listener.promisc and listener.iface in ("", "any"):
        raise CannotStart(f"{origin}: listener {name}: promisc needs iface: it is for one interface")
    if listener.bpf == "auto" and not ports_of(listener.endpoints):
        raise CannotStart(f"{origin}: listener {name}: bpf = auto follows from the ports of listen: there are none")
    entries = []
    for key, (value, came_from) in found.items():
        shown = values.joined(value) if key == "listen" else LISTEN_KEYS[key].shown(value)
        entries.append(Entry(f"{LISTEN}:{name}", key, shown, came_from))
    return listener, entries


def _check_names(ini: IniFile, found: Sequence[Found]) -> None:
    """A name stands for one listener: state and counters are shown by it."""
    seen: set[str] = set()
    for listener, _ in found:
        if listener.name in seen:
            raise CannotStart(f"{listener.origin}: a listener called {listener.name} is in {ini.path} already")
        seen.add(listener.name)


def ports_of(endpoints: Sequence[Endpoint]) -> list[range]:
    """The ports that SIP has in captured packets; none if an endpoint leaves them open."""
    if any(endpoint.last_port == 0 for endpoint in endpoints):
        return []
    return [range(endpoint.port, endpoint.last_port + 1) for endpoint in endpoints]
