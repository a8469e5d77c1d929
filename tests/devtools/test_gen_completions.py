"""The completions know every command and option, and real shells complete with them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sipcap.devtools.gen_completions import completions
from sipcap.devtools.tree import Command, read_tree
from tests.conftest import ROOT
from tests.devtools.sample import SAMPLE
from tests.support.programs import run_tool

SCRIPTS = completions(SAMPLE)
SHELLS = {"sipcap": "bash", "_sipcap": "zsh", "sipcap.fish": "fish"}
REAL = list(read_tree().walk())

# What is typed; what the shell offers. "@" stands for the cursor behind a blank.
TYPED = {
    "sipcap li@": {"listen"},
    "sipcap @": {"listen", "replay", "status", "tables"},
    "sipcap --color a@": {"auto", "always"},
    "sipcap --color always li@": {"listen"},
    "sipcap --color=always listen --mo@": {"--mode"},
    "sipcap listen --mode @": {"hep", "ipip"},
    "sipcap listen --mode hep --k@": {"--key"},
    "sipcap listen --key one.pe@": {"one.pem"},
    "sipcap listen --dir @": {"folder/"},
    "sipcap listen --bpf --m@": {"--mode"},
    "sipcap listen --sec@": set(),
    "sipcap replay one.pc@": {"one.pcap"},
    "sipcap replay --no-@": {"--no-create"},
    "sipcap status o@": {"on", "off"},
    "sipcap tables c@": {"create-all"},
    "sipcap tables create-all --a@": {"--ahead"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files to complete, and the scripts beside it."""
    for name, script in SCRIPTS.items():
        (tmp_path / name).write_text(script)
    here = tmp_path / "here"
    (here / "folder").mkdir(parents=True)
    for name in ("one.pcap", "one.pem"):
        (here / name).touch()
    return here


@pytest.mark.parametrize(("name", "shell"), SHELLS.items())
def test_completion_of_the_sample_is_valid_shell(folder: Path, name: str, shell: str) -> None:
    """Quotes, brackets and dollars in help texts do not break the script."""
    assert run_tool(shell, "-n", str(folder.parent / name)) == ""


@pytest.mark.parametrize(("name", "shell"), SHELLS.items())
def test_completion_committed_is_valid_shell(name: str, shell: str) -> None:
    """What is installed can be read by its shell."""
    assert run_tool(shell, "-n", str(ROOT / "completions" / name)) == ""


def _bash(script: Path, words: list[str], folder: Path) -> set[str]:
    typed = " ".join(map(shlex.quote, words))
    lines = [
        f"source {shlex.quote(str(script))}",
        f"COMP_WORDS=({typed}) COMP_CWORD={len(words) - 1}",
        "$(complete -p sipcap | sed 's/.*-F \\([^ ]*\\).*/\\1/')",
        '[[ ${#COMPREPLY[@]} == 0 ]] || printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    return set(run_tool("bash", "--norc", "-c", "\n".join(lines), cwd=folder).split())


@pytest.mark.parametrize("typed", TYPED)
def test_completion_in_bash_offers_what_fits(folder: Path, typed: str) -> None:
    """A real bash completes commands, options, choices, files and folders."""
    words = typed.replace("=", " = ").removesuffix("@").split(" ")
    expected = {name.removesuffix("/") for name in TYPED[typed]}  # readline adds it when it shows them
    assert _bash(folder.parent / "sipcap", words, folder) == expected


@pytest.mark.parametrize("typed", TYPED)
def test_completion_in_fish_offers_what_fits(folder: Path, typed: str) -> None:
    """A real fish completes commands, options, choices, files and folders."""
    script = f"source {folder.parent}/sipcap.fish; complete -C {shlex.quote(typed.removesuffix('@'))}"
    offered = run_tool("fish", "-N", "-c", script, cwd=folder).splitlines()
    assert {line.split("\t")[0] for line in offered} == TYPED[typed]


def test_completion_in_zsh_defines_its_functions(folder: Path) -> None:
    """A real zsh loads the script and finds a function for every command."""
    script = (
        f"autoload -Uz compinit; compinit -u -D; source {folder.parent}/_sipcap; print $_comps[sipcap]; "
        "whence -w _sipcap_tables_create_all"
    )
    assert run_tool("zsh", "-f", "-c", script).split("\n")[:2] == ["_sipcap", "_sipcap_tables_create_all: function"]


def test_completion_in_bash_of_the_real_program() -> None:
    """``sipcap fl<TAB>`` completes."""
    assert _bash(ROOT / "completions" / "sipcap", ["sipcap", "fl"], ROOT) == {"float2int"}


@pytest.mark.parametrize("command", REAL, ids=lambda command: " ".join(("sipcap", *command.path)))
def test_completion_in_bash_knows_each_option(command: Command) -> None:
    """No option of any command is missing in the committed script."""
    names = {name for option in command.options for name in option.names}
    for start in ("-", "--"):
        offered = _bash(ROOT / "completions" / "sipcap", ["sipcap", *command.path, start], ROOT)
        assert offered == {name for name in names if name.startswith(start)}


@pytest.mark.parametrize("name", SHELLS)
def test_completion_mentions_each_command_and_option(name: str) -> None:
    """No shell is forgotten."""
    script = (ROOT / "completions" / name).read_text()
    for command in REAL:
        words = [child.path[-1] for child in command.commands]
        words += [name.lstrip("-") for option in command.options for name in option.names]
        assert [word for word in words if word not in script] == []
