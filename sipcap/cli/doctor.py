"""``sipcap doctor``: what is wrong on this machine, and the command that mends it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from sipcap.cli.asking import socket_option
from sipcap.cli.common import Env, common_options
from sipcap.cli.console import escape_controls, wants_color
from sipcap.cli.destination import db_url_option
from sipcap.cli.options import EndpointType
from sipcap.config.keys import LISTEN_MODES
from sipcap.config.reading import read_settings
from sipcap.config.settings import Override
from sipcap.doctor.checks import NAMES, examine
from sipcap.doctor.finding import OK, WRONG, Finding
from sipcap.service.plan import Plan

_COLORS = {OK: "32", WRONG: "31"}

_EPILOG = """\b
EXAMPLES
    $ sipcap doctor --config /etc/sipcap/modes.ini
    $ sipcap doctor --listen udp:0.0.0.0:9060 --db-url @url.txt
    $ sipcap doctor --config modes.ini --format json | jq -r 'select(.state=="wrong") | .command'

\b
NOTES
    Run it as whoever starts the service: it sees what that one may. Nothing is changed: a port is bound for a
    moment, a database is asked for the right to write, and an INSERT of no rows is rolled back. All checks together
    take half a minute at most. Exit code 1: something is wrong."""


@click.command("doctor", epilog=_EPILOG)
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="The service's modes.ini.  [default: as sipcap run without one]",
)  # fmt: skip
@db_url_option
@click.option(
    "--listen", "endpoints", multiple=True, type=EndpointType(), metavar="[udp:|tcp:|tls:]HOST:PORT[-PORT]",
    help="Where it will listen; repeatable.  [default: as the configuration says]",
)  # fmt: skip
@click.option("--mode", type=click.Choice(LISTEN_MODES), help="What is captured.  [default: hep]")
@click.option("--iface", metavar="NAME", help="The interface that it will capture from.")
@click.option(
    "--spool", type=click.Path(path_type=Path), metavar="DIR|off",
    help="Its spool.  [default: $STATE_DIRECTORY or $XDG_STATE_HOME/sipcap]",
)  # fmt: skip
@click.option("--tshark", is_flag=True, help="Look for tshark, too (replay --dissector tshark).")
@click.option(
    "--skip", "skipped", multiple=True, type=click.Choice(NAMES), help="Leave out a group of checks; repeatable."
)
@click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="json: one object a finding: check, state, text, command.",
)  # fmt: skip
@socket_option
@common_options
def command(skipped: tuple[str, ...], tshark: bool, output_format: str, socket_path: str | None, **options: Any) -> int:
    """Look for what keeps the service from working.

    Permissions, ports and who has them, interfaces, receive buffers, drivers, databases, folders, disk space, the
    spool, clocks, and the running service: each is ok, wrong with the command that mends it, or unknown.
    """
    count = 0
    for finding in examine(partial(_load, options), socket_path=socket_path, tshark=tshark, skipped=skipped):
        count += finding.state == WRONG
        _write(
            json.dumps(dataclasses.asdict(finding), ensure_ascii=False) if output_format == "json" else _text(finding)
        )
    return 1 if count else 0


def _load(options: Mapping[str, Any]) -> Plan:
    overrides, listening = {}, {}
    if options["db_url"] is not None:
        overrides["db_url"] = Override(options["db_url"], "--db-url")
    if (spool := options["spool"]) is not None:
        overrides["spool"] = Override(False if str(spool) == "off" else spool, "--spool")
    if options["endpoints"]:
        listening["listen"] = Override(options["endpoints"], "--listen")
    for key in ("mode", "iface"):
        if options[key] is not None:
            listening[key] = Override(options[key], f"--{key}")
    return Plan(read_settings(options["config"], overrides, listening))


def _text(finding: Finding) -> str:
    """A line for people, and one for the command."""
    state = f"{finding.state:<7}"
    if wants_color(Env.current().color, sys.stdout) and finding.state in _COLORS:
        state = f"\033[{_COLORS[finding.state]}m{state}\033[0m"
    line = f"{state} {escape_controls(finding.text)}"
    return f"{line}\n          $ {escape_controls(finding.command)}" if finding.command else line


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
