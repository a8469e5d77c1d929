"""The man page of the configuration file, modes.ini(5): every section and key that may stand in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import sipcap
from sipcap.config.keys import (
    CAPTURE_MODE,
    COLUMN_KEYS,
    FURTHER_KEYS,
    LABELLED,
    LISTEN,
    LISTEN_KEYS,
    MAIN,
    MAIN_KEYS,
    MODULE_KEYS,
    ROUTE,
    ROUTE_HELP,
    SECTION_HELP,
    SECTIONS,
)
from sipcap.config.values import Key, allowed_of
from sipcap.devtools.roff import body, bold, escape, paragraphs, running_text, tagged
from sipcap.devtools.tree import PROGRAM

CONFIG_PAGE: Final = "modes.ini.5"

_DESCRIPTION: Final = """\
The configuration of sipcap run, read by sipcap run --config and, for its capture modes, by sipcap store, report and
tables. It is UTF-8 text of sections in brackets and of lines key = value. A comment stands on a line of its own and
begins with # or ;. A value goes on in indented lines below it. No character of a value means more than itself: % needs
no escape, and quotes are part of it.

An unknown section or key, a value out of range, and a key or a route that would have no effect are errors, which name
file and line: sipcap config check tells them, and sipcap config show tells what holds and why. Options and variables of
sipcap run win over the file. Passwords are never shown; a secret may stand in a file of its own, named @FILE.

SIGHUP makes a running service read it again; a file with an error changes nothing. The control sockets, metrics_listen
and user are as they were at the start.
"""

_EXAMPLE: Final = """\
\b
[sipcap]
capture_on = 1
db_url = sqlite:////var/lib/sipcap/sip.db
table_name = sip_capture_%Y%m%d
insert_retries = 5
metrics_listen = 127.0.0.1:9096

\b
[listen:hep]
listen = udp:0.0.0.0:9060, tcp:0.0.0.0:9060
children = 2

\b
[listen:span]
mode = mirror
iface = eth1
listen = 0.0.0.0:5060-5090
bpf = auto

\b
[capture_mode:archive]
db_url = postgresql://sipcap@db.example.com/sip

\b
[route:registrations]
methods = REGISTER
capture_mode = archive
"""

_OF_A_MODE: Final[Mapping[str, Key]] = {
    "db_url": MAIN_KEYS["db_url"]._replace(
        default="", help="The database of this mode, written as that of [sipcap] is; it must be there."
    )
}
"""What keys mean otherwise in a capture mode that has a name."""

_FILES: Final = {
    "/etc/sipcap/modes.ini": "Where the systemd unit looks for it.",
    "/run/sipcap/sipcap.sock": "The control socket, where none is named.",
}
_RELATED: Final = ("sipcap-run", "sipcap-config-check", "sipcap-config-show", "sipcap-config-from-kamailio",
                   "sipcap-doctor", "sipcap-store")  # fmt: skip


def config_page(date: str) -> str:
    """Make the page."""
    lines = [
        rf".\" Generated from the keys of the configuration by python -m {PROGRAM}.devtools --write; do not edit.",
        f'.TH MODES.INI 5 {date} "{PROGRAM} {sipcap.__version__}" "{PROGRAM} manual"',
        ".SH NAME",
        "modes.ini \\- configuration of the service sipcap run",
        ".SH DESCRIPTION",
        *body(_DESCRIPTION),
    ]
    for kind in SECTIONS:
        lines += _section(kind)
    lines += [".SH FILES", *(line for path, text in _FILES.items() for line in tagged(bold(path), text))]
    lines += [".SH EXAMPLES", *body(_EXAMPLE)]
    pages = [f"{bold(name)}(1)" for name in _RELATED]
    return "\n".join([*lines, ".SH SEE ALSO", *(f"{page}," for page in pages[:-1]), pages[-1]]) + "\n"


def _section(kind: str) -> list[str]:
    """A heading of its own for each kind of section."""
    name = f"[{kind}:NAME]" if kind in LABELLED else f"[{kind}]"
    lines = [
        f".SH {escape(name)}",
        *(line for part in paragraphs(SECTION_HELP[kind]) for line in running_text(part[0])),
    ]
    if kind == MAIN:
        lines += ['.SS "Parameters of Kamailio\\(aqs module"', *_entries(MODULE_KEYS)]
        lines += ['.SS "Columns with other names"', *_columns()]
        return [*lines, '.SS "The service"', *_entries(FURTHER_KEYS)]
    keys: dict[str, Mapping[str, Key]] = {
        CAPTURE_MODE: {key: _OF_A_MODE.get(key, MAIN_KEYS[key]) for key in SECTIONS[CAPTURE_MODE]},
        LISTEN: LISTEN_KEYS,
    }
    if kind == ROUTE:
        return lines + [line for key in SECTIONS[ROUTE] for line in tagged(bold(key), ROUTE_HELP[key])]
    return lines + list(_entries(keys[kind]))


def _entries(keys: Mapping[str, Key]) -> Iterator[str]:
    for key, meaning in keys.items():
        yield from tagged(bold(key), f"{meaning.help} {_range(meaning)}")


def _range(meaning: Key) -> str:
    """What a key takes and what holds without it."""
    allowed = allowed_of(meaning.read)
    default = meaning.shown(meaning.default)
    return (f"Takes {allowed}. " if allowed else "") + (f"Default: {default}." if default else "Default: none.")


def _columns() -> list[str]:
    """All keys that rename a column, as one paragraph: they mean the same."""
    names = ", ".join(
        key if key == f"{column}_column" else f"{key} (of {column})" for key, column in COLUMN_KEYS.items()
    )
    return running_text(
        "Each is what a column is called in the tables; the default is the column's own name. " + names + "."
    )
