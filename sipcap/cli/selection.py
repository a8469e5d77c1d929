"""Options that say which database, tables, times and amounts are meant."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from sipcap.cli.options import SecretType
from sipcap.patterns import Pattern, read_patterns
from sipcap.quantities import duration_s, size_bytes, time_us
from sipcap.sinks.registry import DEFAULT_URL


class _NumberType(click.ParamType[int]):
    """Text that a function reads as a number."""

    def __init__(self, name: str, read: Callable[[str], int]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it, or say how one looks."""
        if isinstance(value, int):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


TIME = _NumberType("time", lambda text: time_us(text, time.time_ns() // 1_000))
DURATION = _NumberType("duration", duration_s)
SIZE = _NumberType("size", size_bytes)


def patterns_of(tables: Sequence[str]) -> tuple[Pattern, ...]:
    """The patterns that ``--table`` gives.

    Raises:
        click.BadParameter: one cannot be read back from a name.
    """
    try:
        return read_patterns(tables)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--table") from None


db_url_option = click.option(
    "--db-url", type=SecretType(), default=DEFAULT_URL, show_default=True, metavar="URL|@FILE",
    envvar=["SIPCAP_DB_URL"], help="The database.",
)  # fmt: skip
