"""Which sections and keys may stand in a configuration file, and what holds without them (design 1.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sipcap.config import values
from sipcap.config.ini import IniFile
from sipcap.config.values import HIDDEN, Key, hidden, joined, or_nothing, switch_text
from sipcap.limits import DEAD_LETTER_BYTES, DRAIN_TIMEOUT_S, HOOK_TIMEOUT_S, MAX_CHILDREN, RCVBUF_BYTES, SPOOL_BYTES
from sipcap.modes import MODE_KEYS, nearest
from sipcap.record import SIP_COLUMNS
from sipcap.routes import ROUTE_KEYS
from sipcap.routing import HASH_SOURCES, MT_MODES
from sipcap.schemas import SCHEMAS, SIPCAPTURE
from sipcap.sinks.url import DEFAULT_URL

MAIN: Final = "sipcap"
CAPTURE_MODE: Final = "capture_mode"
LISTEN: Final = "listen"
ROUTE: Final = "route"

HEP: Final = "hep"
IPIP: Final = "ipip"
MIRROR: Final = "mirror"
LISTEN_MODES: Final = (HEP, IPIP, MIRROR)
DIRECTIONS: Final = ("in", "out", "both")

_PASSWORD: Final = re.compile(r"(//[^/@:]*:)[^/]*(@)|((?:password|passwd|pwd)=)[^&;]*", re.IGNORECASE)


def url_text(url: Any) -> str:
    """A database URL without its password; of what is no URL nothing is shown: it may be one."""
    if url and "://" not in str(url):
        return HIDDEN
    return _PASSWORD.sub(lambda found: f"{found[1] or found[3]}{HIDDEN}{found[2] or ''}", str(url))


_FLAG_OFF: Final = Key(values.flag, default=False, shown=switch_text)
_FLAG_ON: Final = Key(values.flag, default=True, shown=switch_text)
_NO_PATH: Final = Key(values.path, None, or_nothing())
_CHILDREN: Final = Key(values.integer(1, MAX_CHILDREN), 1)
_TLS: Final = dict.fromkeys(("tls_cert", "tls_key", "tls_client_ca"), _NO_PATH)
_SENDERS: Final = {"auth_key": Key(values.secret, None, hidden), "allow": Key(values.networks, (), joined), **_TLS}

# The module's parameters (spec 1.1), with its defaults and ranges; capture_bad_msgs alone is on (design 1.7).
MODULE_KEYS: Final[Mapping[str, Key]] = {
    "db_url": Key(values.secret, DEFAULT_URL, url_text),
    "table_name": Key(values.name, "", lambda text: text or "by the schema"),
    "mt_mode": Key(values.one_of(*MT_MODES), "rand"),
    "hash_source": Key(values.one_of(*HASH_SOURCES), "call_id"),
    "capture_mode": Key(values.text_value, "", url_text),
    "capture_on": _FLAG_OFF,
    "capture_node": Key(values.text_value, "homer01"),
    "hep_capture_on": _FLAG_OFF,
    "nonsip_hook": _FLAG_OFF,
    "event_callback": Key(values.text_value, ""),
    "db_insert_mode": Key(values.integer(0, 2), 0),
    "insert_retries": Key(values.integer(0, 500), 0),
    "insert_retry_timeout": Key(values.integer(0, 300), 60),
    "callid_aleg_header": Key(values.header_names, ("X-CID",), ";".join),
    "custom_field1_header": Key(values.text_value, "Mac"),
    "custom_field2_header": Key(values.text_value, "IP"),
    "custom_field3_header": Key(values.text_value, "Port"),
    "capture_bad_msgs": _FLAG_ON,
    "topoh_unmask": _FLAG_OFF,
    "raw_ipip_capture_on": _FLAG_OFF,
    "raw_moni_capture_on": _FLAG_OFF,
    "raw_socket_listen": Key(values.host_and_ports, None, or_nothing()),
    "raw_interface": Key(values.text_value, ""),
    "raw_sock_children": _CHILDREN,
    "promiscuous_on": _FLAG_OFF,
    "raw_moni_bpf_on": _FLAG_OFF,
}

_RENAMED: Final = {"correlation_id": "correlation", "auth": "authorization"}  # these columns have other names there
COLUMN_KEYS: Final[Mapping[str, str]] = {f"{_RENAMED.get(column, column)}_column": column for column in SIP_COLUMNS}
"""The module's parameter that renames a column, and the column."""

FURTHER_KEYS: Final[Mapping[str, Key]] = {
    "schema": Key(values.one_of(*SCHEMAS), SIPCAPTURE),
    "batch_size": Key(values.integer(1, 100_000), 2_000),
    "batch_interval": Key(values.seconds(0.01, 3_600), 0.5),
    "spool": Key(values.folder_or_off, None, lambda place: "off" if place is False else str(place or "")),
    "spool_max": Key(values.size, SPOOL_BYTES),
    "dead_letter": _NO_PATH,
    "dead_letter_max": Key(values.size, DEAD_LETTER_BYTES),
    "hook_timeout": Key(values.seconds(0.1, 3_600), HOOK_TIMEOUT_S),
    "topoh_key": Key(values.secret, None, hidden),
    "topoh_prefix": Key(values.text_value, ""),
    **_SENDERS,
    "user": Key(values.name, None, or_nothing()),
    "control_socket": _NO_PATH,
    "control_group": Key(values.name, None, or_nothing()),
    "binrpc_socket": _NO_PATH,
    "rpc_fifo": _NO_PATH,
    "metrics_listen": Key(values.name, None, or_nothing()),
    "drain_timeout": Key(values.seconds(), DRAIN_TIMEOUT_S),
    "max_age": Key(values.seconds_or_off, None, lambda age: "off" if age is None else str(age)),
}

MAIN_KEYS: Final[Mapping[str, Key]] = (
    {**MODULE_KEYS} | {key: Key(values.column, column) for key, column in COLUMN_KEYS.items()} | {**FURTHER_KEYS}
)

LISTEN_KEYS: Final[Mapping[str, Key]] = {
    "mode": Key(values.one_of(*LISTEN_MODES), HEP),
    "listen": Key(values.text_value, ""),  # what it means depends on the mode
    "iface": Key(values.text_value, ""),
    "promisc": _FLAG_OFF,
    "bpf": Key(values.text_value, ""),
    "direction": Key(values.one_of(*DIRECTIONS), "both"),
    "children": _CHILDREN,
    "rcvbuf": Key(values.size_of(4_096, 2**31 - 2), RCVBUF_BYTES),
    **_SENDERS,
}
SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    MAIN: tuple(MAIN_KEYS),
    CAPTURE_MODE: MODE_KEYS,
    LISTEN: tuple(LISTEN_KEYS),
    ROUTE: ROUTE_KEYS,
}
"""The keys of each kind of section."""

LABELLED: Final = frozenset({CAPTURE_MODE, LISTEN, ROUTE})
"""Sections that have a name behind a colon."""


def check_keys(ini: IniFile) -> None:
    """Refuse what cannot stand in a configuration file.

    Raises:
        CannotStart: an unknown section or key; it names file, line and the nearest valid name.
    """
    for section in ini.sections:
        if section.kind not in SECTIONS:
            known = ", ".join(f"{kind}:NAME" if kind in LABELLED else kind for kind in SECTIONS)
            hint = nearest(section.kind, SECTIONS)
            raise ini.error(section.line, f"unknown section [{section.name}]{hint} (known: {known})")
        if bool(section.label) is not (section.kind in LABELLED):
            wanted = f"[{section.kind}:NAME]" if section.kind in LABELLED else f"[{section.kind}]"
            raise ini.error(section.line, f"[{section.name}] is written {wanted}")
        keys = SECTIONS[section.kind]
        for key, value in section.values.items():
            if key not in keys:
                raise ini.error(value.line, f"unknown key {key} in [{section.name}]{nearest(key, keys)}")
