"""What the program says about itself, and what it costs to ask."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sipcap import __version__
from sipcap.cli import main
from sipcap.devtools.tree import Command, read_tree
from sipcap.wire.link import LINK_TYPES
from tests.conftest import TIMEOUT_S, RunSipcap, environment

COMMANDS = list(read_tree().walk())
START_LIMIT_S = 0.5
"""The goal is 0.15 s of CPU time; a loaded machine gets more, but loading a database driver would be seen."""


def _ids(command: Command) -> str:
    return " ".join(("sipcap", *command.path))


def test_version_is_one_line(sipcap: RunSipcap) -> None:
    """--version is the name and the number."""
    assert sipcap("--version").stdout.decode() == f"sipcap {__version__}\n"


def test_version_costs_little_cpu_time(record_property: Callable[[str, object], None]) -> None:
    """--version imports no more than it needs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "sipcap", "--version"],
        check=True,
        capture_output=True,
        env=environment(),
        timeout=TIMEOUT_S,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    record_property("version_cpu_s", seconds)
    assert seconds < START_LIMIT_S


def test_version_loads_no_command() -> None:
    """A command's file, and what it needs, is imported when the command is used."""
    script = (
        "import sys; from sipcap.cli.main import run; run(['--help'])\n"
        "heavy = {'rich', 'msgspec', 'sqlite3', 'asyncio', 'ssl', 'cypcap', 'multiprocessing', 'sqlite_utils'}\n"
        "print(heavy & {name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=environment(), timeout=TIMEOUT_S, check=True
    )
    assert done.stderr == b"set()\n"


@pytest.mark.parametrize("command", ["replay", "listen"])
def test_capturing_command_loads_no_database(command: str) -> None:
    """What stores is not imported by what only captures: it would be a third of the time to start."""
    script = (
        f"import sys; from sipcap.cli.main import run; run([{command!r}, '--help'])\n"
        "heavy = {'sipcap.sinks.' + name for name in ('registry', 'driver', 'server', 'sqlite', 'forms', 'shape')}\n"
        "print(heavy & sys.modules.keys(), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=environment(), timeout=TIMEOUT_S, check=True
    )
    assert done.stderr == b"set()\n"


@pytest.mark.parametrize("command", COMMANDS, ids=_ids)
def test_help_of_every_command_works(sipcap: RunSipcap, command: Command) -> None:
    """Each --help is answered, on stdout."""
    done = sipcap(*command.path, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"Usage: {_ids(command)}".encode())


@pytest.mark.parametrize("command", COMMANDS, ids=_ids)
def test_help_of_every_command_and_option_is_written(command: Command) -> None:
    """Each command, option and operand is explained."""
    assert command.help
    assert command.summary
    assert [option.names for option in command.options if not option.help.strip()] == []
    assert [argument.metavar for argument in command.arguments if not argument.help] == []


@pytest.mark.parametrize("command", COMMANDS, ids=_ids)
def test_variables_are_named_after_command_and_option(command: Command) -> None:
    """SIPCAP_<COMMAND>_<OPTION> is what the user would guess from the option."""
    prefix = "_".join(("sipcap", *command.path)).upper()
    for option in command.options:
        if option.long_name not in {"--help", "--version"}:
            assert option.envvars[0] == f"{prefix}_{option.long_name[2:]}".replace("-", "_").upper()


def test_variable_sets_an_option(sipcap: RunSipcap) -> None:
    """An option is read from the environment, and the command line wins."""
    done = sipcap("float2int", "1", "2", env={"SIPCAP_FLOAT2INT_COLOR": "blue"})
    assert done.returncode == 2
    done = sipcap("float2int", "1", "2", "--color", "never", env={"SIPCAP_FLOAT2INT_COLOR": "blue"})
    assert done.returncode == 0


def test_commands_are_files_of_their_own() -> None:
    """Every command of the list has its file."""
    for name in main.COMMANDS:
        assert Path(main.__file__ or "").with_name(f"{name}.py").exists()


def test_replay_help_names_what_is_read(sipcap: RunSipcap) -> None:
    """Every link type, transport and tunnel that the native reader knows stands in --help."""
    said = " ".join(sipcap("replay", "--help").stdout.decode().split())
    names = {link.name.removesuffix(" v2") for link in LINK_TYPES.values()}
    names |= {"UDP", "TCP", "WebSocket", "SCTP", "RTCP", "IP in IP", "GRE", "ERSPAN", "VXLAN", "GENEVE", "TZSP", "MPLS"}
    assert not {name for name in names if name not in said}
