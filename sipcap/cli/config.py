"""``sipcap config``: what a configuration file says, before a service runs with it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from sipcap.cli.options import common_options
from sipcap.config.kamailio.translate import translate
from sipcap.config.reading import read_settings
from sipcap.config.settings import Entry, Settings
from sipcap.service.plan import OFF, Plan

_LOGGER = logging.getLogger("sipcap")
_FILE = click.argument(
    "path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The configuration: modes.ini."
)


@click.group(
    "config",
    epilog="\b\nEXAMPLES\n    $ sipcap config check /etc/sipcap/modes.ini\n"
    "    $ sipcap config show --format json /etc/sipcap/modes.ini | jq .sipcap.db_url",
)
@common_options
def command() -> None:
    """Look at configuration files of the service."""


@command.command("check")
@_FILE
@common_options
def check(path: Path) -> int:
    """Say whether a configuration file can be used, and what it does.

    An error names file, line, key and the nearest valid one; the exit code is 3 then. Databases and sockets are
    not touched.
    """
    settings = read_settings(path)
    Plan(settings).check()
    for line in summary_of(settings):
        click.echo(line)
    return 0


@command.command("show")
@_FILE
@click.option(
    "--format", "output_format", type=click.Choice(["text", "json"]), default="text", show_default=True,
    help="text: as it would stand in a file; json: one object.",
)  # fmt: skip
@common_options
def show(path: Path, output_format: str) -> int:
    """Show every effective value and where it comes from; passwords and keys are hidden."""
    entries = read_settings(path).entries
    if output_format == "json":
        click.echo(json.dumps(_tree(entries), ensure_ascii=False))
        return 0
    section = ""
    for entry in entries:
        if entry.section != section:
            click.echo(f"{section and chr(10)}[{entry.section}]")
            section = entry.section
        value = " ".join(entry.value.split("\n"))
        click.echo(f"# {entry.origin}\n{entry.key} = {value}")
    return 0


@command.command("from-kamailio", epilog="\b\nEXAMPLES\n    $ sipcap config from-kamailio kamailio.cfg >modes.ini")
@click.argument(
    "path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="A capture node's kamailio.cfg."
)
@common_options
def from_kamailio(path: Path) -> int:
    """Write the configuration that does what a kamailio.cfg does.

    Parameters, definitions, listen lines, capture modes and the calls of sip_capture in the usual routes are carried
    over. What is not is listed on stderr, each with its place. Passwords of databases are carried over as they are.
    """
    translation = translate(path)
    click.echo(translation.text, nl=False)
    for note in translation.notes:
        _LOGGER.warning("not carried over: %s", note)
    return 0


def _tree(entries: tuple[Entry, ...]) -> dict[str, dict[str, dict[str, str]]]:
    """Sections, their keys, and of each the value and its origin."""
    tree: dict[str, dict[str, dict[str, str]]] = {}
    for section, key, value, origin in entries:
        tree.setdefault(section, {})[key] = {"value": value, "origin": origin}
    return tree


def summary_of(settings: Settings) -> list[str]:
    """What a configuration does, in lines for people."""
    listeners = [f"{listener.name} ({listener.mode})" for listener in settings.listeners]
    lines = [
        f"{settings.path} can be used",
        f"listeners: {', '.join(listeners)}",
        f"capture modes: {', '.join(settings.modes)}",
        f"routes: {', '.join(route.name for route in settings.routes) or 'none'}",
    ]
    if not settings.capture_on:
        lines.append(OFF)
    return lines
