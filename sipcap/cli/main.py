"""The ``sipcap`` command: finds the subcommand, runs it, turns what happens into an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

import sipcap
from sipcap.cli.common import Env, common_options
from sipcap.cli.console import report_error
from sipcap.errors import SipcapError, Unwritten

COMMANDS = {
    "listen": "live capture: HEP, a mirror port or IP-in-IP to NDJSON",
    "replay": "captures to HEP or NDJSON",
    "store": "NDJSON to a database",
    "report": "the module's report_capture([table],[cid],[data])",
    "run": "the service: receive HEP and store it",
    "status": "is capture on? switch it; the state of a running service",
    "top": "a running service, live",
    "doctor": "what is wrong on this machine, and the command that mends it",
    "config": "configuration files: check, show, from-kamailio",
    "search": "database to NDJSON",
    "export": "NDJSON to a capture file, HEP or text",
    "tables": "upkeep of tables: list, create, rotate, drop, plan",
    "float2int": "the module's float2int(fval, ival)",
}
"""Name and one-line help of every command; the file of the same name in ``sipcap.cli`` is loaded when it is used."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


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
        command.short_help = COMMANDS[cmd_name]
        _name_variables(command, f"SIPCAP_{cmd_name.upper()}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one is most like it."""
        if args and args[0] not in COMMANDS:
            import difflib  # noqa: PLC0415  # only for who has mistyped

            for name in difflib.get_close_matches(args[0], COMMANDS, n=1):
                ctx.fail(f"No such command {args[0]!r}. Did you mean {name!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _name_variables(command: click.Command, prefix: str) -> None:
    """Let every option be set by ``SIPCAP_<COMMAND>_<OPTION>``, before any other variable of its own.

    Click's own names follow the parameters of the function, which are not always what the user types.
    """
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            _name_variables(child, f"{prefix}_{name.upper().replace('-', '_')}")
    for option in command.params:
        if isinstance(option, click.Option) and option.expose_value and option.allow_from_autoenv:
            long_name = max(option.opts, key=len).lstrip("-")
            shared = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
            own = f"{prefix}_{long_name.upper().replace('-', '_')}"
            option.envvar = list(dict.fromkeys([own, *shared]))
            option.allow_from_autoenv = False


@click.command(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nFILES\n    sipcap.db  the database in the current folder, where none is named",
)  # fmt: skip
@click.version_option(sipcap.__version__, prog_name="sipcap", message="%(prog)s %(version)s")
@common_options
def cli() -> None:
    """Capture SIP signalling and store it.

    Each command is one stage; stages speak newline-delimited JSON and chain in a shell:

    \b
        sipcap listen | jq 'select(.method=="INVITE")' | sipcap store
    """


_name_variables(cli, "SIPCAP")


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (design 1.1); nothing escapes.

    Click's own policy is not used: it gives 1 for Ctrl-C and for a reader that went away.
    """
    _open_standard_streams()
    code = 0
    try:
        code = _run_command(args)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except SystemExit as error:
        if error.code != 1:
            raise
        _discard_output()  # Click's answer to EPIPE while it prints help
    except OSError as error:
        if error.errno not in _FULL:
            return _bug(error)
        report_error(f"cannot write: {error.strerror}")
        _discard_output()
        return Unwritten.exit_code
    except Exception as error:  # noqa: BLE001  # the only place that may: a bug must not look like a result
        return _bug(error)
    return code


def _run_command(args: Sequence[str] | None) -> int:
    try:
        result = cli.main(args=args, prog_name="sipcap", standalone_mode=False)
    except click.Abort:
        return 130
    except click.ClickException as error:
        try:
            error.show()
        except OSError:
            pass  # nobody is there to read it; the exit code still tells
        return error.exit_code
    except SipcapError as error:
        for line in error.lines:
            report_error(line)
        return error.exit_code
    return result if isinstance(result, int) else 0


def _open_standard_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed, or a socket would get its number."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            break
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _discard_output() -> None:
    """Let nobody try again to write what stdout still holds."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _bug(error: Exception) -> int:
    if Env.current().verbosity >= 2:
        traceback.print_exc()
    report_error(f"bug: {type(error).__name__}: {error}; please report it with the output of -vv")
    return 70


def main() -> NoReturn:
    """Entry point of the ``sipcap`` program."""
    code = run()
    sys.stdout = sys.stderr  # a hook's file may have registered functions with atexit: what they print is no record
    sys.exit(code)
