"""``sipcap config``: what a configuration file says, before a service runs with it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import click

from sipcap.cli.options import common_options
from sipcap.config.ini import read_ini
from sipcap.config.kamailio.translate import translate
from sipcap.config.reading import read_settings, settings_of
from sipcap.config.settings import DEFAULT, Entry, Settings
from sipcap.errors import CannotStart
from sipcap.service.plan import OFF, Plan

_LOGGER = logging.getLogger("sipcap")
_FILE = click.argument(
    "path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The configuration: modes.ini."
)


@click.group(
    "config",
    epilog="\b\nEXAMPLES\n    $ sipcap config check /etc/sipcap/modes.ini\n"
    "    $ sipcap config show --format json /etc/sipcap/modes.ini | jq .sipcap.db_url\n"
    "    $ sipcap config from-kamailio /etc/kamailio/kamailio.cfg >modes.ini && sipcap config check modes.ini",
)
@common_options
def command() -> None:
    """Look at configuration files of the service."""


@command.command("check")
@_FILE
@common_options
def check(path: Path) -> int:
    """Say whether a file can be used.

    All errors are told, each with file, line, key and the nearest valid one; the exit code is 3 then. Only what a
    wrong line hides shows when that is mended: what a listener of an unknown mode listens on, say. The hook is
    loaded; databases and sockets are not touched.
    """
    ini = read_ini(path)
    settings = settings_of(ini)
    plan = Plan(settings)
    for examine in (plan.check, plan.extraction):  # also of a wrong file: of what could be read
        try:
            examine()
        except CannotStart as error:
            for line in error.lines:
                ini.keep_text(line)
    ini.finish()
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
    """Show effective values and their origins.

    What is the default stands in a comment, so that the text is a file again.

    Passwords and keys are hidden.
    """
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
        if entry.origin == DEFAULT:
            click.echo(f"# {entry.key} = {value}".rstrip())
        else:
            click.echo(f"# {entry.origin}\n{entry.key} = {value}")
    return 0


@command.command("from-kamailio")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="A kamailio.cfg.")
@common_options
def from_kamailio(path: Path) -> int:
    """Make a modes.ini of a kamailio.cfg.

    Carried over are the parameters of sipcapture, the listeners, capture modes, and calls of sip_capture and
    sip_capture_forward as routes: their conditions may be about method, source, headers, HEP type and capture id.
    Definitions, substitutions and included files are followed. What no route can say is listed on stderr with file
    and line, and the exit code is 1 then. So it is if the file has nothing of sipcapture.
    """
    result = translate(path)
    notes = result.notes if result.is_about_capture else result.unfollowed
    if result.is_about_capture:
        click.echo(result.text, nl=False)
    else:
        _LOGGER.error("%s: nothing in it is about sipcapture: no loadmodule, modparam or sip_capture()", path)
    for note in notes:
        _LOGGER.warning("%s", note)
    return 1 if notes or not result.is_about_capture else 0


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
