"""Completions for bash, zsh and fish: static scripts, so that TAB does not start Python."""

from __future__ import annotations

from sipcap.devtools.gen_bash import bash_completion
from sipcap.devtools.gen_fish import fish_completion
from sipcap.devtools.gen_zsh import zsh_completion
from sipcap.devtools.tree import PROGRAM, Command


def completions(tree: Command) -> dict[str, str]:
    """Make all scripts: file name, as the shell looks for it, to text."""
    return {
        PROGRAM: bash_completion(tree),
        f"_{PROGRAM}": zsh_completion(tree),
        f"{PROGRAM}.fish": fish_completion(tree),
    }
