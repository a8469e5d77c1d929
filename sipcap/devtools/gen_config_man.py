"""The man page of the configuration file, modes.ini(5)."""

from __future__ import annotations

import sipcap
from sipcap.config.keys import CAPTURE_MODE, LABELLED, LISTEN, LISTEN_KEYS, MAIN, MAIN_KEYS
from sipcap.config.manual import COLUMNS, SECTION_TEXTS, TEXTS
from sipcap.devtools.roff import bold, escape, literal, running_text, tagged
from sipcap.devtools.tree import PROGRAM

PAGE = "modes.ini.5"
_FORM = (
    "Sections in brackets, a key and its value a line. Comments stand on lines of their own and begin with # or ;. A "
    "value goes on in the indented lines below it. No character in a value means more than itself. Unknown sections "
    "and keys and bad values are errors; sipcap-config-check(1) finds them. A flag is 0 or 1."
)
_EXAMPLE = """\
[sipcap]
capture_on = 1
db_url = @/etc/sipcap/db_url
dead_letter = /var/lib/sipcap/dead

[listen:hep]
listen = udp:0.0.0.0:9060, tcp:0.0.0.0:9060
children = 2

[listen:span]
mode = mirror
iface = eth1
promisc = 1
listen = *:5060-5090
bpf = auto

[capture_mode:mode1]
db_url = mysql://user:password@host/database
table_name = homer_capture1|homer_capture2
mt_mode = hash

[route:registrations]
methods = REGISTER
table = sip_capture_registration_%Y%m%d
capture_mode = mode1

[route:rest]
table = sip_capture_call_%Y%m%d"""


def config_page(date: str) -> str:
    """Make the page."""
    lines = [
        rf".\" Generated from the keys of {PROGRAM}'s configuration by python -m sipcap.devtools --write; do not edit.",
        f'.TH MODES.INI 5 {date} "{PROGRAM} {sipcap.__version__}" "{PROGRAM} manual"',
        ".SH NAME", f"modes.ini \\- {escape('configuration of sipcap run')}",
        ".SH DESCRIPTION", *running_text(_FORM),
    ]  # fmt: skip
    for kind, texts in TEXTS.items():
        name = f"[{kind}:NAME]" if kind in LABELLED else f"[{kind}]"
        lines += [f".SH {escape(name)}", *running_text(SECTION_TEXTS[kind])]
        for key, text in texts.items():
            lines += tagged(bold(key), f"{text}{_default(kind, key)}")
        if kind == MAIN:
            lines += [".PP", *running_text(COLUMNS)]
    lines += [".SH EXAMPLES", *literal(_EXAMPLE.splitlines())]
    lines += [".SH SEE ALSO", f"{bold('sipcap-run')}(1),", f"{bold('sipcap-config')}(1),", f"{bold('sipcap-store')}(1)"]
    return "\n".join(lines) + "\n"


def _default(kind: str, key: str) -> str:
    """The value without a word, where it can be told in one."""
    if kind == CAPTURE_MODE or kind not in (MAIN, LISTEN):
        return ""
    meaning = (MAIN_KEYS if kind == MAIN else LISTEN_KEYS)[key]
    shown = meaning.shown(meaning.default)
    return f" [default: {shown}]" if shown else ""
