"""Options that say which database, tables, times and amounts are meant."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from sipcap.cli.destination import Destination, mode_options
from sipcap.cli.options import SecretType, options_bundle
from sipcap.cli.tables_text import format_option
from sipcap.patterns import Pattern, read_patterns
from sipcap.quantities import duration_s, size_bytes, time_us
from sipcap.schemas import DEFAULT_TABLE
from sipcap.sinks.url import DEFAULT_URL
from sipcap.tables import SCHEMA_PATTERNS


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


def usual_tables(database: Destination) -> tuple[str, ...]:
    """The tables of a capture mode: its own, or those that its schema has; and where routes put what is for it."""
    tables = database.mode.tables or SCHEMA_PATTERNS.get(database.schema, (DEFAULT_TABLE,))
    return tuple(dict.fromkeys((*tables, *database.routed)))


db_url_option = click.option(
    "--db-url", type=SecretType(), metavar="URL|@FILE", envvar=["SIPCAP_DB_URL"],
    help=f"The database.  [default: {DEFAULT_URL}]",
)  # fmt: skip
tables_options = options_bundle(
    db_url_option,
    click.option(
        "--table", "tables", multiple=True, metavar="PATTERN[|PATTERN]",
        help="The tables that are meant, and no others: strftime patterns (UTC); repeatable.",
    ),
    click.option(
        "--schema", type=click.Choice(tuple(SCHEMA_PATTERNS)), help="In place of --table: the tables of HOMER 5 or 7.",
    ),
    mode_options,
    format_option,
)  # fmt: skip
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
keep_option = click.option("--keep", type=DURATION, metavar="DURATION", help="Keep the last 10d, 36h or 2w.")
max_size_option = click.option(
    "--max-size", type=SIZE, metavar="SIZE", help="Drop the oldest until all together take 20GB at most."
)
