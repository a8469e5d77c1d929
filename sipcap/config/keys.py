"""Which sections and keys may stand in a configuration file, and what holds without them (design 1.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sipcap.config import values
from sipcap.config.ini import IniFile, Section
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

# Up to the last @ of the line: an @ or / in a password should be escaped, but is shown no less if it is not.
_PASSWORD: Final = re.compile(r"(//(?!/)[^@:\n]*:).*(@)|((?:password|passwd|pwd)=)[^&;]*", re.IGNORECASE)


def url_text(url: Any) -> str:
    """A database URL without its password; of what is no URL nothing is shown: it may be one."""
    if url and "://" not in str(url):
        return HIDDEN
    return _PASSWORD.sub(lambda found: f"{found[1] or found[3]}{HIDDEN}{found[2] or ''}", str(url))


def _off(text: str) -> Key:
    return Key(values.flag, default=False, shown=switch_text, help=text)


def _path(text: str) -> Key:
    return Key(values.path, None, or_nothing(), text)


_SENDERS: Final = {
    "auth_key": Key(
        values.secret, None, hidden,
        "HEP without this authentication key is refused and counted (rejected, auth_key); HEP 1 and 2 cannot have it.",
    ),
    "allow": Key(values.networks, (), joined, "Only these may send HEP; others are counted (rejected, not_allowed)."),
    "tls_cert": _path("The certificate, with its chain, of listeners with tls: in PEM."),
    "tls_key": _path("Its private key, if that is not in the same file."),
    "tls_client_ca": _path("Clients must show a certificate of this authority."),
}  # fmt: skip

# The module's parameters (spec 1.1), with its defaults and ranges; capture_bad_msgs alone is on (design 1.7).
MODULE_KEYS: Final[Mapping[str, Key]] = {
    "db_url": Key(
        values.secret, DEFAULT_URL, url_text,
        "The database of the default capture mode: sqlite:///FILE, postgresql://, mysql://, unixodbc://, text:///FOLDER"
        " or ndjson:///FOLDER; user and password are percent-encoded.",
    ),
    "table_name": Key(
        values.name, "", help=
        "Tables for SIP, with | between; strftime in UTC of the message's time: sip_capture_%Y%m%d is one a day.",
    ),
    "mt_mode": Key(values.one_of(*MT_MODES), "rand", help="How one of several tables is chosen."),
    "hash_source": Key(values.one_of(*HASH_SOURCES), "call_id", help="What mt_mode = hash takes the CRC-32 of."),
    "capture_mode": Key(
        values.text_value, "", url_text,
        "Named capture modes in the module's notation, NAME=>db_url=URL;table_name=A|B;mt_mode=hash, one a line;"
        " [capture_mode:NAME] says the same.",
    ),
    "capture_on": _off("Whether it stores from the start; sipcap status on switches it on later."),
    "capture_node": Key(values.text_value, "homer01", help="First half of the column node; the capture id follows."),
    "hep_capture_on": _off("Adds a listener for HEP on udp:*:9060, with raw_sock_children processes."),
    "nonsip_hook": _off("The hook is asked about HEP that is not SIP, too."),
    "event_callback": Key(
        values.text_value, "",
        help="The hook: MODULE:CALLABLE or FILE.py:CALLABLE, called with each request; 1 or None go on, 0 drops it,"
        " a Route says where it is stored.",
    ),
    "db_insert_mode": Key(
        values.integer(0, 2), 0,
        help="0 plain; 1 INSERT DELAYED where the engine takes it; 2 the next batches are made while one is written.",
    ),
    "insert_retries": Key(
        values.integer(0, 500), 0, help="How often a batch is tried again before it goes to the spool or dead letters."
    ),
    "insert_retry_timeout": Key(values.integer(0, 300), 60, help="Seconds after which it is not tried again."),
    "callid_aleg_header": Key(
        values.header_names, ("X-CID",), ";".join, "Headers whose first present one gives callid_aleg."
    ),
    "custom_field1_header": Key(values.text_value, "Mac", help="The header for custom_field1; empty for none."),
    "custom_field2_header": Key(values.text_value, "IP", help="The header for custom_field2; empty for none."),
    "custom_field3_header": Key(values.text_value, "Port", help="The header for custom_field3; empty for none."),
    "capture_bad_msgs": Key(
        values.flag, default=True, shown=switch_text,
        help="Messages without Via, From, To, Call-ID or CSeq are stored with what can be read; with 0 they are"
        " refused (rejected, missing_header), as the module does.",
    ),
    "topoh_unmask": _off("Takes the mask of Kamailio's topoh off Call-IDs; msg keeps what was sent."),
    "raw_ipip_capture_on": _off("Adds a listener for IP in IP, made of the raw_ keys."),
    "raw_moni_capture_on": _off("Adds a listener for a mirror port, made of the raw_ keys; both may be on."),
    "raw_socket_listen": Key(
        values.host_and_ports, None, or_nothing(),
        "Where tunnels end (IP in IP), and the ports of SIP; without ports SIP is known by its content.",
    ),
    "raw_interface": Key(values.text_value, "", help="The interface that raw listeners hear; empty for all."),
    "raw_sock_children": Key(
        values.integer(1, MAX_CHILDREN), 1, help="Processes of each listener that a _capture_on adds."
    ),
    "promiscuous_on": _off("The interface of raw_moni_capture_on takes packets to others, too."),
    "raw_moni_bpf_on": _off("The kernel filters for the ports of raw_socket_listen."),
}  # fmt: skip

_RENAMED: Final = {"correlation_id": "correlation", "auth": "authorization"}  # these columns have other names there
COLUMN_KEYS: Final[Mapping[str, str]] = {f"{_RENAMED.get(column, column)}_column": column for column in SIP_COLUMNS}
"""The module's parameter that renames a column, and the column."""

FURTHER_KEYS: Final[Mapping[str, Key]] = {
    "schema": Key(
        values.one_of(*SCHEMAS), SIPCAPTURE,
        help="Columns and tables: the module's; the same in HOMER 5's tables by method and day; or HOMER 7's.",
    ),
    "batch_size": Key(values.integer(1, 100_000), 2_000, help="Records of one transaction."),
    "batch_interval": Key(values.seconds(0.01, 3_600), 0.5, help="How long a record waits for others at most."),
    "spool": Key(
        values.folder_or_off, None, lambda place: "off" if place is False else str(place or ""),
        "Where records wait while a database is away. Without a word it is $STATE_DIRECTORY, else"
        " $XDG_STATE_HOME/sipcap or ~/.local/state/sipcap; where root starts with a user, /var/lib/sipcap in place of"
        " the latter, made for that user.",
    ),
    "spool_max": Key(values.size, SPOOL_BYTES, help="What the spool may take of the disk, for each database."),
    "dead_letter": _path("The file for records that a database refuses for themselves; sipcap store reads it again."),
    "dead_letter_max": Key(values.size, DEAD_LETTER_BYTES, help="What that file may take of the disk."),
    "hook_timeout": Key(values.seconds(0.1, 3_600), HOOK_TIMEOUT_S, help="How long the hook may take for one message."),
    "topoh_key": Key(values.secret, None, hidden, "mask_key of topoh, if it is not topoh's own."),
    "topoh_prefix": Key(values.text_value, "", help="callid_prefix of topoh, if it is not topoh's own."),
    **_SENDERS,
    "user": Key(
        values.name, None, or_nothing(), "NAME or NAME:GROUP: who the service is once the sockets are open as root."
    ),
    "control_socket": _path(
        "The Unix socket that sipcap status, top and doctor ask, JSON-RPC 2.0. Without a word it is"
        " /run/sipcap/sipcap.sock or $XDG_RUNTIME_DIR/sipcap.sock, if that can be made. Read at the start only, as are"
        " the next four."
    ),
    "control_group": Key(values.name, None, or_nothing(), "The group that may use the control sockets, too (0660)."),
    "binrpc_socket": _path("A Unix socket for Kamailio's kamcmd -s unix:PATH."),
    "rpc_fifo": _path("A FIFO for Kamailio's kamctl rpc."),
    "metrics_listen": Key(
        values.host_and_port, None, or_nothing(), "HOST:PORT of /metrics for Prometheus, and of /healthz."
    ),
    "drain_timeout": Key(values.seconds(), DRAIN_TIMEOUT_S, help="How long it goes on, once stopped, to store."),
    "max_age": Key(
        values.seconds_or_off, None, lambda age: "off" if age is None else str(age),
        "What is older when it arrives gets the time of its arrival.",
    ),
}  # fmt: skip

MAIN_KEYS: Final[Mapping[str, Key]] = (
    {**MODULE_KEYS}
    | {
        key: Key(values.column, column, help=f"What the column {column} is called in the tables.")
        for key, column in COLUMN_KEYS.items()
    }
    | {**FURTHER_KEYS}
)

LISTEN_KEYS: Final[Mapping[str, Key]] = {
    "mode": Key(
        values.one_of(*LISTEN_MODES), HEP, help="hep: what agents send; ipip: IP in IP; mirror: an interface."
    ),
    "listen": Key(  # what it means depends on the mode
        values.text_value, "",
        help="hep: [udp:|tcp:|tls:]HOST:PORT[-PORT], with commas between, * for any host. ipip and mirror:"
        " HOST[:PORT[-PORT]], where tunnels end and the ports of SIP; without ports SIP is known by its content.",
    ),
    "iface": Key(values.text_value, "", help="The interface, or any; not for hep."),
    "promisc": _off("The interface takes packets to others, too; mirror only."),
    "bpf": Key(
        values.text_value, "", help="A filter of pcap-filter(7); auto is the one that follows from the ports of listen."
    ),
    "direction": Key(values.one_of(*DIRECTIONS), "both", help="Which packets, as the interface sees them."),
    "children": Key(values.integer(1, MAX_CHILDREN), 1, help="Processes that share it."),
    "rcvbuf": Key(
        values.size_of(4_096, 2**31 - 2), RCVBUF_BYTES,
        help="Receive buffer of each socket; net.core.rmem_max bounds it without CAP_NET_ADMIN.",
    ),
    **_SENDERS,
}  # fmt: skip

ROUTE_HELP: Final[Mapping[str, str]] = {
    "methods": "Condition: methods with commas between; a reply has the one of its CSeq. One that is not registered is "
    "told, and may be right.",
    "source": "Condition: addresses or networks of the sender, with commas between.",
    "hep_type": "Condition: HEP types, 1 for SIP, 5 for RTCP, with commas between.",
    "capture_id": "Condition: ids of HEP's capture agents, with commas between.",
    "header": "Condition: Name: REGEX, searched in the first header of that name.",
    "table": "Where matching records go: one pattern, strftime in UTC of the message's time. What is no SIP has other "
    "columns, and goes there only if hep_type names its type.",
    "capture_mode": "The capture mode that stores them.",
    "forward": "[udp:|tcp:]HOST:PORT of a collector that gets the packet, byte for byte, as well; no listener of the "
    "same service, where it would come back without end.",
}
"""What the keys of a route mean."""

SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    MAIN: tuple(MAIN_KEYS),
    CAPTURE_MODE: MODE_KEYS,
    LISTEN: tuple(LISTEN_KEYS),
    ROUTE: ROUTE_KEYS,
}
"""The keys of each kind of section."""

SECTION_HELP: Final[Mapping[str, str]] = {
    MAIN: "The service, and the default capture mode. The module's parameters have their own names and defaults.",
    CAPTURE_MODE: "A named capture mode: a database and its tables. Its keys mean what they mean above; db_url is"
    " needed.",
    LISTEN: "A listener; there may be any number of them, in all modes at once. Without any, HEP is heard on"
    " udp:127.0.0.1:9060 and tcp:127.0.0.1:9060.",
    ROUTE: "Where certain records go. All conditions must hold, and the first route that matches counts, in the order"
    " of the file; what matches none goes to the default capture mode. One of table, capture_mode and forward is"
    " needed; a route to which those before it leave nothing is an error.",
}
"""What each kind of section is for."""

LABELLED: Final = frozenset({CAPTURE_MODE, LISTEN, ROUTE})
"""Sections that have a name behind a colon."""


def check_keys(ini: IniFile) -> IniFile:
    """Find what cannot stand in a configuration file.

    Returns:
        The file without it: an unknown section or key is among its problems, which name file, line and the nearest
        valid name.
    """
    known = []
    for section in ini.sections:
        with ini.gathering():
            _check_section(ini, section)
            known.append(section)
    for section in (*ini.sections, *ini.repeated):
        for key in [key for key in section.values if key not in SECTIONS.get(section.kind, section.values)]:
            hint = nearest(key, SECTIONS[section.kind])
            ini.unclear.add(section.name)
            ini.keep(ini.error(section.values.pop(key).line, f"unknown key {key} in [{section.name}]{hint}"))
    return replace(ini, sections=tuple(known))


def _check_section(ini: IniFile, section: Section) -> None:
    """Raise CannotStart for a section that cannot be."""
    if section.kind not in SECTIONS:
        known = ", ".join(f"{kind}:NAME" if kind in LABELLED else kind for kind in SECTIONS)
        hint = nearest(section.kind, SECTIONS)
        raise ini.error(section.line, f"unknown section [{section.name}]{hint} (known: {known})")
    if bool(section.label) is not (section.kind in LABELLED):
        wanted = f"[{section.kind}:NAME]" if section.kind in LABELLED else f"[{section.kind}]"
        raise ini.error(section.line, f"[{section.name}] is written {wanted}")
