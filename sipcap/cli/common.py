"""The options that every command has, before and behind its name (design 1.1)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import click

from sipcap.cli.console import set_up

R = TypeVar("R")


@dataclass
class Env:
    """What the common options say; they may stand before and behind the command's name."""

    verbosity: int = 0
    color: str = "auto"
    log_format: str = "text"

    _current: ClassVar[Env | None] = None

    @classmethod
    def current(cls) -> Env:
        """The environment of this process."""
        if cls._current is None:
            cls._current = cls()
        return cls._current

    def update(self, verbose: int, quiet: int, color: str | None, log_format: str | None) -> None:
        """Take over one set of common options; what is not given keeps its value."""
        self.verbosity += verbose - quiet
        self.color = color or self.color
        self.log_format = log_format or self.log_format
        set_up(self.verbosity, self.color, self.log_format)


def common_options(function: Callable[..., R]) -> Callable[..., R]:
    """Add the COMMON options of design 1.1 to a command."""

    @click.option("-v", "--verbose", count=True, help="Say more on stderr; twice: tracebacks too.")
    @click.option("-q", "--quiet", count=True, help="Say less on stderr; twice: errors only.")
    @click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        help="Colours: auto looks at NO_COLOR, FORCE_COLOR and the terminal.  [default: auto]",
    )
    @click.option("--log-format", type=click.Choice(["text", "json"]), help="Form of stderr lines.  [default: text]")
    @functools.wraps(function)
    def wrapper(*args: Any, verbose: int, quiet: int, color: str | None, log_format: str | None, **kwargs: Any) -> R:
        Env.current().update(verbose, quiet, color, log_format)
        return function(*args, **kwargs)

    return wrapper
