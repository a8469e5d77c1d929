"""The program as a whole: exit codes, streams, colours."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from sipcap import errors
from sipcap.cli import main
from sipcap.cli.common import Env, common_options
from sipcap.cli.console import LOGGER, wants_color
from sipcap.errors import EXIT_CODES, SipcapError
from tests.conftest import ROOT, SIPCAP, TIMEOUT_S, RunSipcap, environment

PROGRAM = " ".join(SIPCAP)


def _subclasses(base: type[SipcapError]) -> Iterator[type[SipcapError]]:
    for child in base.__subclasses__():
        yield child
        yield from _subclasses(child)


def _shell(script: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", script],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def run_failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs a command line whose command raises the given exception."""

    def run(error: BaseException, *args: str) -> int:
        @click.command()
        @common_options
        def failing() -> None:
            raise error

        monkeypatch.setattr(main, "cli", failing)
        return main.run(args)

    monkeypatch.setattr(Env, "_current", None)
    before = LOGGER.handlers[:], LOGGER.propagate, LOGGER.level
    yield run
    LOGGER.handlers[:], LOGGER.propagate = before[:2]
    LOGGER.setLevel(before[2])


def test_exit_codes_every_exception_uses_one_of_the_table() -> None:
    """No exception ends a command with a code that the table, and so the man page, does not explain."""
    assert {error.exit_code for error in _subclasses(SipcapError)} <= set(EXIT_CODES)


def test_exit_codes_meanings_are_unique() -> None:
    """Two codes never mean the same."""
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


@pytest.mark.parametrize("code", EXIT_CODES)
def test_exit_codes_each_is_in_every_man_page(code: int) -> None:
    """The man pages explain each code."""
    for page in (ROOT / "man").glob("*.1"):
        assert f".TP\n\\fB{code}\\fR\n" in page.read_text(), page.name


@pytest.mark.parametrize("kind", [errors.CannotStart, errors.InputError, errors.Unwritten, errors.ControlError])
def test_run_expected_failure_gives_its_code_and_one_line(
    run_failing: Callable[..., int], capsys: pytest.CaptureFixture[str], kind: type[SipcapError]
) -> None:
    """What a user can act on is one line on stderr and the code of its class."""
    assert run_failing(kind("no such file"), "-vv") == kind.exit_code
    assert capsys.readouterr() == ("", "sipcap: error: no such file\n")


@pytest.mark.parametrize("options", [[], ["-v"], ["-qq"]])
def test_run_bug_is_70_and_one_line(
    run_failing: Callable[..., int], capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """A bug never looks like a result, and says how to report it."""
    assert run_failing(ZeroDivisionError("a\nb"), *options) == 70
    text = capsys.readouterr().err
    assert "bug: ZeroDivisionError" in text
    assert "-vv" in text
    assert text.count("\n") == 1


def test_run_bug_with_vv_shows_the_traceback(
    run_failing: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """-vv shows where it happened."""
    assert run_failing(ZeroDivisionError(), "-vv") == 70
    assert "Traceback" in capsys.readouterr().err


def test_run_interrupt_is_130(run_failing: Callable[..., int]) -> None:
    """Ctrl-C in a command that has no handler of its own ends it as a shell expects."""
    assert run_failing(KeyboardInterrupt()) == 130


def test_run_broken_pipe_is_0_and_silent(
    run_failing: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that goes away is no failure."""
    with Path(os.devnull).open("w") as devnull:  # stdout's number is given away here, so it is not pytest's
        monkeypatch.setattr(sys, "stdout", devnull)
        assert run_failing(BrokenPipeError()) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("args", [["nothing"], ["--nothing"], [], ["--color", "blue", "float2int", "1", "2"]])
def test_usage_error_is_2_on_stderr(sipcap: RunSipcap, args: list[str]) -> None:
    """A wrong command line is explained on stderr, and nothing reaches stdout."""
    done = sipcap(*args)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr


@pytest.mark.parametrize("args", [["--help"], ["float2int", "1", "2"], ["--version"]])
def test_reader_gone_before_the_output_is_0_and_silent(args: list[str]) -> None:
    """``| head`` and ``| true`` end any command well and quietly."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [*SIPCAP, *args],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment(),
            timeout=TIMEOUT_S,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_help_into_head_is_0() -> None:
    """``sipcap --help | head -1`` shows one line and both ends are content."""
    done = _shell(f"set -o pipefail; {PROGRAM} --help | head -1")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"\n") == 1


@pytest.mark.parametrize("args", ["--help", "float2int 1 2"])
def test_full_disk_is_5_with_the_reason(args: str) -> None:
    """Output that cannot be written is said, and is no success."""
    done = _shell(f"{PROGRAM} {args} > /dev/full")
    assert done.returncode == 5
    assert done.stderr == b"sipcap: error: cannot write: No space left on device\n"


@pytest.mark.parametrize(("script", "code"), [("--help >&-", 0), ("--version <&-", 0), ("nothing 2>&- >&- <&-", 2)])
def test_closed_streams_change_no_exit_code(script: str, code: int) -> None:
    """A command started without stdin, stdout or stderr does its work."""
    done = _shell(f"{PROGRAM} {script}")
    assert (done.returncode, done.stderr) == (code, b"")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("choice", "variables", "terminal", "expected"),
    [
        ("auto", {}, False, False),
        ("auto", {}, True, True),
        ("auto", {"TERM": "dumb"}, True, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colors_option_then_no_color_then_force_color_then_terminal(
    monkeypatch: pytest.MonkeyPatch, choice: str, variables: dict[str, str], terminal: bool, expected: bool
) -> None:
    """The first of --color, NO_COLOR, FORCE_COLOR and the terminal that says something decides."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wants_color(choice, _Terminal() if terminal else io.StringIO()) is expected


@pytest.mark.parametrize(("args", "colored"), [([], False), (["--color", "always"], True)])
def test_errors_are_colored_on_demand(
    run_failing: Callable[..., int], capsys: pytest.CaptureFixture[str], args: list[str], colored: bool
) -> None:
    """--color reaches what is written to stderr."""
    run_failing(errors.CannotStart("no"), *args)
    assert ("\033[" in capsys.readouterr().err) is colored
