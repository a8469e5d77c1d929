"""A program with everything that a generator may meet, and with traps in its texts."""

from __future__ import annotations

from typing import Any

import click

from sipcap.devtools.tree import Command, read_tree


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SIPCAP"},
    epilog="\b\nFILES\n    ~/.sample  its `file`",
)
@click.option("--color", type=click.Choice(["auto", "always"]), help="It's [a] colour: $(x) \\n. More of it.")
def program(**_: Any) -> None:
    """Show traps: a back\\slash - and a dash.

    .TH is no heading, and

    'quoted' at a line's start. A line that is so long that it has to be broken somewhere, best between its words.

    \b
        .PP | 'as it'   stands
        second --line\\
    """


@program.command(
    epilog="\b\nEXAMPLES\n    $ sample listen\n\nText under it.\n\n\b\nSEE ALSO\n    jq(1)\n\n\b\nLIMITS\n    None."
)
@click.option("--mode", type=click.Choice(["hep", "ipip"]), default="hep", show_default=True, help="Mode.")
@click.option("--bpf", metavar="EXPR", is_flag=False, flag_value="auto", help="Filter.")
@click.option("--key", type=click.Path(dir_okay=False), help="Key.", envvar=["KEY_FILE"])
@click.option("-d", "--dir", type=click.Path(file_okay=False), multiple=True, help="Folder.")
@click.option("--secret", hidden=True, help="Not shown.")
def listen(**_: Any) -> None:
    """Listen to the world."""


@program.command()
@click.argument("files", nargs=-1, type=click.Path(), metavar="[FILE]...", help="Captures; - is stdin.")
@click.option("--create/--no-create", default=True, show_default=True, help="Create it.")
def replay(**_: Any) -> None:
    """Replay files."""


@program.command()
@click.argument("what", type=click.Choice(["on", "off"]), required=False, help="What to do.")
def status(**_: Any) -> None:
    """Ask or change."""


@program.group()
def tables(**_: Any) -> None:
    """Look after tables."""


@tables.command("create-all")
@click.option("--ahead", metavar="TIME", help="How far.")
def create_all(**_: Any) -> None:
    """Create them."""


@program.command(hidden=True)
def ghost(**_: Any) -> None:
    """Not shown."""


SAMPLE: Command = read_tree(program)
