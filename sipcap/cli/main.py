"""The ``sipcap`` command: finds the subcommand, runs it, turns what happens into an exit code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

import sipcap
from sipcap.cli.console import escape_controls, report_error
from sipcap.cli.common import Env, common_options
from sipcap.errors import EXIT_CODES, SipcapError

COMMANDS = {
    "listen": "live capture: HEP to NDJSON",
    "float2int": "the module's float2int(fval, ival)",
}
"""Name and one-line help of every command; the file of the same name in ``sipcap.cli`` is loaded when it is used."""

ISSUES = "the project's issue tracker"


class LazyGroup(click.Group):
    """Loads a command's file only when that command is used: ``--version`` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All commands, in the order of a message's way."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"sipcap.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "SIPCAP", "max_content_width": 100},
)
@click.version_option(sipcap.__version__, prog_name="sipcap", message="%(prog)s %(version)s")
@common_options
def cli() -> None:
    """Capture SIP signalling and store it.

    Each command is one stage; stages speak newline-delimited JSON and chain in a shell:

    \b
        sipcap listen | jq 'select(.method=="INVITE")' | sipcap store
    """


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (design 1.1); nothing escapes.

    Click's own policy is not used: it gives 1 for Ctrl-C and for a reader that went away.
    """
    env = Env.current()
    try:
        result = cli.main(args=args, prog_name="sipcap", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SipcapError as error:
        report_error(str(error))
        return error.exit_code
    except BrokenPipeError:
        return _reader_went_away()
    except SystemExit as error:  # Click's answer to EPIPE while it prints help
        return _reader_went_away() if error.code == 1 else int(error.code or 0)
    except Exception as error:  # noqa: BLE001  # the only place that may: a bug must not look like a result
        if env.verbosity >= 2:
            traceback.print_exc()
        report_error(f"bug: {type(error).__name__}: {error}; please report it with the output of -vv")
        return 70
    return result if isinstance(result, int) else 0


def _reader_went_away() -> int:
    """Ends quietly when the reader of our stdout is gone; nothing may be flushed into the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def main() -> NoReturn:
    """Entry point of the ``sipcap`` program."""
    sys.exit(run())


__all__ = ["COMMANDS", "EXIT_CODES", "cli", "escape_controls", "main", "run"]
