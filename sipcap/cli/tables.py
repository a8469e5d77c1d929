"""``sipcap tables``: upkeep of the tables that capture fills."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

from sipcap.calls.suggest import nearest_tables
from sipcap.cli.destination import Destination, database_of
from sipcap.cli.options import common_options
from sipcap.cli.selection import (
    DURATION,
    TIME,
    dry_run_option,
    keep_option,
    max_size_option,
    patterns_of,
    tables_options,
    usual_tables,
)
from sipcap.cli.tables_text import printer
from sipcap.errors import CannotStart, SinkError
from sipcap.forecast import forecast, growth_per_day, listing, summary
from sipcap.patterns import Pattern, Period
from sipcap.quantities import size_text
from sipcap.sinks.driver import LEDGER
from sipcap.stopping import Stop
from sipcap.tables import (
    SCHEMA_PATTERNS,
    Chosen,
    Piece,
    Step,
    chosen,
    excess_bytes,
    plan_before,
    plan_create,
    plan_drop,
    plan_partitions,
    plan_rotate,
)
from sipcap.upkeep.base import Upkeep
from sipcap.upkeep.carrying import carry_out
from sipcap.upkeep.registry import open_upkeep

_LOGGER = logging.getLogger("sipcap")
_EPILOG = """\b
EXAMPLES
    $ sipcap tables plan --table 'sip_capture_%Y%m%d' --keep 10d --max-size 20GB
    $ sipcap tables rotate --table 'sip_capture_%Y%m%d' --keep 10d --dry-run
    $ sipcap tables list --table 'sip_capture_%Y%m%d|rtcp_capture'

\b
CRON
    # /etc/cron.d/sipcap: cron takes % for the end of a line, so each has a backslash before it
    SIPCAP_DB_URL=@/etc/sipcap/db-url
    17 * * * * sipcap sipcap -q tables create --table 'sip_capture_\\%Y\\%m\\%d|rtcp_capture_\\%Y\\%m\\%d' --ahead 2d
    37 * * * * sipcap sipcap -q tables rotate --table 'sip_capture_\\%Y\\%m\\%d|rtcp_capture_\\%Y\\%m\\%d' \
--keep 10d --max-size 20GB

\b
NOTES
    Nothing is touched whose name the patterns do not make: sip_capture_20260230 is no day of sip_capture_%Y%m%d.
    With --config, and neither --table nor --schema, the patterns are those of the capture mode, and those for SIP to
    which routes of the file lead in it. Tables for reports to which routes lead are named with --table.
    A pattern without a year, as sip_capture_%d, makes names that come again: of such tables, and of those without
    a date in their names, old rows are deleted, in small batches.
    Tables need not be created ahead: sipcap creates what is missing. It saves the moment that this takes."""


@dataclass
class _Job:
    """What every subcommand begins with."""

    upkeep: Upkeep
    patterns: tuple[Pattern, ...]
    stop: Stop
    now_s: int
    show: Callable[[Iterable[dict[str, Any]]], None]

    def pieces(self) -> list[Chosen]:
        """The tables that match, with their sizes."""
        names = {name for name in self.upkeep.names() if any(pattern.matches(name) for pattern in self.patterns)}
        return chosen(self.upkeep.look(names), self.patterns)

    def stopping(self) -> bool:
        """Whether a signal came."""
        return self.stop.requested


@contextmanager
def _job(options: dict[str, Any], *, create: bool = False) -> Iterator[_Job]:
    stop = Stop()
    stop.install()
    patterns = patterns_of(options["tables"]) if options["tables"] else ()
    destination = database_of(options)
    patterns = patterns or patterns_of(_usual_tables(options, destination))
    if any(pattern.matches(LEDGER) for pattern in patterns):
        raise click.BadParameter(f"{LEDGER} is not a table of messages", param_hint="--table")
    upkeep = open_upkeep(destination.mode.db_url, create=create, columns=destination.columns)
    try:
        yield _Job(upkeep, patterns, stop, int(time.time()), printer(options["output_format"]))
    except SinkError as error:
        raise CannotStart(str(error)) from None
    finally:
        upkeep.close()


def _usual_tables(options: dict[str, Any], destination: Destination) -> tuple[str, ...]:
    """The tables that are meant where --table names none."""
    if options["schema"]:
        return SCHEMA_PATTERNS[options["schema"]]
    if not (options["config"] or options["capture_mode"]):
        raise click.UsageError("no pattern: name the tables that are meant with --table, --schema or --config")
    return usual_tables(destination)


@click.group("tables", epilog=_EPILOG)
@common_options
def command(**_: Any) -> None:
    """Look after the tables that capture fills, while it fills them.

    The patterns say which tables are meant. Capture goes on meanwhile, two at once do no harm, and whoever owns
    the tables may do it: fit for cron.
    """


@command.command("list")
@tables_options
@common_options
def list_command(**options: Any) -> int:
    """Show the tables with their sizes, rows and times.

    Rows and sizes of large tables are estimates. The exit code is 1 if there is no such table.
    """
    with _job(options) as job:
        pieces = job.pieces()
        job.show(map(listing, pieces))
        return _found(job, pieces)


@command.command("plan")
@tables_options
@keep_option
@max_size_option
@common_options
def plan_command(**options: Any) -> int:
    """Show growth, and what would go when.

    First what rotate would do now, then for each other table when it would go.
    The last line has the sums: bytes a day, when the disk would be full, and what all takes in the long run with
    --keep.
    """
    with _job(options) as job:
        pieces, keep_s, max_bytes = job.pieces(), options["keep"], options["max_size"]
        steps = plan_rotate(pieces, job.now_s, keep_s, max_bytes, job.upkeep.nth_oldest)
        job.show(step.as_dict() for step in forecast(pieces, steps, job.now_s, keep_s, max_bytes))
        growth = growth_per_day(pieces, job.now_s)
        job.show([summary(pieces, growth, job.now_s, keep_s, job.upkeep.room_bytes())])
        return _found(job, pieces)


@command.command("create")
@tables_options
@click.option("--ahead", type=DURATION, default="2d", show_default=True, metavar="DURATION", help="How far ahead.")
@dry_run_option
@common_options
def create_command(**options: Any) -> int:
    """Create the tables of the time from now on.

    And the partitions, as those that exist go on. What is there is left as it is. A new table holds what the other
    tables of its pattern do; the first of a pattern holds SIP, or reports if its name begins with rtcp_capture,
    report_capture or logs_capture.
    """
    dry_run, ahead_s = options["dry_run"], options["ahead"]
    with _job(options, create=not dry_run) as job:

        def missing(pieces: Sequence[Piece]) -> list[tuple[str, Period]]:
            return job.upkeep.missing_partitions(pieces, job.now_s, ahead_s)

        try:
            plan_partitions(job.pieces(), ahead_s, missing)  # before anything is made: does --table mean tables?
            tables = plan_create(job.patterns, job.upkeep.names(), job.now_s, ahead_s)
            code = _carry_out(job, tables, dry_run=dry_run)
            return _carry_out(job, plan_partitions(job.pieces(), ahead_s, missing), dry_run=dry_run) or code
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--ahead") from None


@command.command("rotate")
@tables_options
@keep_option
@max_size_option
@dry_run_option
@common_options
def rotate_command(**options: Any) -> int:
    """Drop what is too old or too much.

    A table with a date in its name goes when all of its time is older than --keep, or, with --max-size, when it is
    the oldest and all together are too large; the one of the present stays. Of other tables old rows are deleted.

    The exit code is 1 if something could not be done, or --max-size is still exceeded.
    """
    keep_s, max_bytes = options["keep"], options["max_size"]
    if keep_s is None and max_bytes is None:
        raise click.UsageError("what shall stay? --keep DURATION, --max-size SIZE, or both")
    with _job(options) as job:
        pieces = job.pieces()
        steps = plan_rotate(pieces, job.now_s, keep_s, max_bytes, job.upkeep.nth_oldest)
        code = _carry_out(job, steps, dry_run=options["dry_run"])
        excess = 0 if max_bytes is None else excess_bytes(pieces, steps, max_bytes)
        if excess:
            _LOGGER.warning("still %s too large: what is left is of the present", size_text(excess))
        return code or int(excess > 0)


@command.command("drop")
@click.argument("names", nargs=-1, metavar="[NAME]...", help="Tables, or partitions as TABLE.PARTITION.")
@tables_options
@click.option("--before", type=TIME, metavar="TIME", help="Everything before this time, ISO 8601 (UTC) or -10d.")
@dry_run_option
@common_options
def drop_command(**options: Any) -> int:
    """Drop tables by name, or all messages before a time.

    A name that --table does not make is refused, and nothing is dropped at all. With --before, tables go whose time
    is over by then, and old rows of tables without a date in their names.

    The exit code is 1 if a named table is not there.
    """
    names, before_us = list(dict.fromkeys(options["names"])), options["before"]
    if bool(names) == (before_us is not None):
        raise click.UsageError("either NAME, or --before TIME")
    with _job(options) as job:
        pieces = job.pieces()
        if before_us is not None:
            return _carry_out(job, plan_before(pieces, before_us // 1_000_000, job.now_s), dry_run=options["dry_run"])
        try:
            steps = plan_drop(pieces, names, job.patterns)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        for name in names:
            if name not in {step.table for step in steps} | {step.partition for step in steps} | _dotted(steps):
                _LOGGER.warning("there is no table %s", name)
        code = _carry_out(job, steps, dry_run=options["dry_run"])
        return code or int(len(steps) < len(names))


def _dotted(steps: Sequence[Step]) -> set[str]:
    return {f"{step.table}.{step.partition}" for step in steps}


def _found(job: _Job, pieces: Sequence[Chosen]) -> int:
    if pieces:
        return 0
    names = job.upkeep.names()
    for pattern in job.patterns:
        _LOGGER.info("no table matches %s%s", pattern.text, nearest_tables(pattern, names))
    return 1


def _carry_out(job: _Job, steps: Sequence[Step], *, dry_run: bool) -> int:
    """Do what was planned, or only show it; the exit code."""
    if dry_run:
        job.show(step.as_dict() for step in steps)
        return 0
    failed = 0
    for outcome in carry_out(job.upkeep, steps, job.patterns, job.stopping):
        keys: dict[str, Any] = outcome.step.as_dict()
        if outcome.step.action == "delete":
            keys["rows"] = outcome.rows
            del keys["size_bytes"]
        keys["done"] = outcome.done
        if outcome.error:
            failed += 1
            _LOGGER.error("%s: %s", outcome.step.table, outcome.error)
            keys["error"] = outcome.error
        job.show([keys])
    if steps and steps[0].action != "create":
        freed = job.upkeep.settle(job.stopping)
        if freed is not None:
            _LOGGER.info("%s given back", size_text(freed))
    if job.stopping():
        return 128 + job.stop.signal_number
    return int(failed > 0)
