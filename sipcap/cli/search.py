"""``sipcap search``: database to NDJSON."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import click

from sipcap.calls.query import Condition, Query, address_is, equals, node_is
from sipcap.calls.readers.registry import open_tables
from sipcap.calls.search import Search, encode_found
from sipcap.calls.source import Tables
from sipcap.cli.destination import Destination, database_of, mode_options
from sipcap.cli.options import common_options, encoder_for, format_option
from sipcap.cli.selection import TIME, db_url_option, patterns_of, usual_tables
from sipcap.errors import CannotStart
from sipcap.modes import CaptureMode
from sipcap.patterns import Pattern
from sipcap.schemas import DEFAULT_TABLE
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")
_EPILOG = """\b
EXAMPLES
    $ sipcap search --table 'sip_capture_%Y%m%d' --callid abc@host
    $ sipcap search --since -1h --method INVITE | jq -r .ruri_user | sort | uniq -c
    $ sipcap search --table 'rtcp_capture' --callid abc@host | jq .msg
    $ sipcap search --config modes.ini --capture-mode mode1 --since -1h
    $ sipcap search --until 2026-01-01 | sipcap store --db-url sqlite:///old.db

\b
NOTES
    --since and --until look at micro_ts. In a table that has no index on it, rows are found by the column
    date, which may differ by a day (it may be in local time): a row whose date is elsewhere is not found by time."""


@click.command("search", epilog=_EPILOG)
@db_url_option
@click.option(
    "--table", "tables", multiple=True, metavar="PATTERN[|PATTERN]",
    help="Tables to look in, strftime patterns for all their names; repeatable.  "
         f"[default: those of the capture mode and of the routes to it, or {DEFAULT_TABLE}]",
)  # fmt: skip
@mode_options
@click.option("--since", type=TIME, metavar="TIME", help="From this time on: -1h, -2d, or ISO 8601 (UTC).")
@click.option("--until", type=TIME, metavar="TIME", help="Before this time.")
@click.option("--callid", multiple=True, help="With this Call-ID; a report: with this correlation id. Repeatable.")
@click.option("--from-user", multiple=True, metavar="USER", help="From this user; repeatable.")
@click.option("--to-user", multiple=True, metavar="USER", help="To this user; repeatable.")
@click.option("--ruri-user", multiple=True, metavar="USER", help="With this user in the request URI; repeatable.")
@click.option("--method", multiple=True, help="With this method, or this status of a reply; repeatable.")
@click.option("--ip", "address", metavar="ADDRESS", help="Sent from or to this address.")
@click.option("--node", metavar="NAME", help="Captured by this node: NAME or NAME:ID.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="End after so many, and say so.  [default: none]"
)
@format_option
@common_options
def command(**options: Any) -> int:
    """Find messages in a database and write them as NDJSON, in the order of time.

    All tables that a pattern can name are looked in, and the result is one stream. A record comes out as it
    went in. Without a condition all messages come. With --config, columns that the file renames are understood, and
    all its capture modes are looked in, unless --capture-mode or --db-url names one.

    The exit code is 1 if nothing was found, or if one of several databases could not be read.
    """
    stop = Stop()
    stop.install()
    modes = _modes(options)
    places = [(mode, patterns_of(options["tables"] or usual_tables(mode))) for mode in modes]
    encode = encoder_for(options["output_format"])
    query = query_of(options)
    with ExitStack() as closing:
        opened, is_whole = _open_all(places, closing)
        search = Search(*opened[0], query, options["limit"], opened[1:])
        for batch in search.batches(lambda: stop.requested):
            _write(encode_found(batch, encode))
    if search.vanished:
        _LOGGER.warning("%d message(s) were dropped while they were read", search.vanished)
    if search.is_cut:
        _LOGGER.warning("there is more: --limit let %d message(s) through", search.found)
    if stop.requested:
        return 128 + stop.signal_number
    if not search.found:
        of = f" of capture modes {', '.join(mode.mode.name for mode in modes)} (--capture-mode)" if modes[1:] else ""
        _LOGGER.info("nothing found in %d table(s)%s", len(search.tables), of)
        return 1
    return 0 if is_whole else 1


def _modes(options: dict[str, Any]) -> list[Destination]:
    """The capture modes that are meant: the one that is named, or all of the file."""
    database = database_of(options)
    if database.others is None:
        return [database]
    return [database_of({**options, "capture_mode": name}) for name in database.others]


def _open_all(
    places: Sequence[tuple[Destination, Sequence[Pattern]]], closing: ExitStack
) -> tuple[list[tuple[Tables, Sequence[Pattern]]], bool]:
    """Open each database once; one that cannot be read keeps no other from it, and is said.

    Returns:
        The databases with the patterns of their tables, and whether they are all.

    Raises:
        CannotStart: none can be read.
    """
    patterns: dict[str, list[Pattern]] = {}
    databases: dict[str, Destination] = {}
    for place, wanted in places:
        databases.setdefault(place.mode.db_url, place)
        known = patterns.setdefault(place.mode.db_url, [])
        known += [each for each in wanted if each.text not in {other.text for other in known}]
    opened: list[tuple[Tables, Sequence[Pattern]]] = []
    failures: list[CannotStart] = []
    for url, place in databases.items():
        try:
            tables = _open(place)
        except CannotStart as error:
            if place.mode == CaptureMode() and databases.keys() != {url}:
                continue  # the default database beside modes that are defined: perhaps nobody has ever made it
            failures.append(error)
        else:
            closing.callback(tables.close)
            opened.append((tables, patterns[url]))
    if not opened:
        raise failures[0]
    for failure in failures:
        _LOGGER.warning("not searched: %s", failure)
    return opened, not failures


def _open(database: Destination) -> Tables:
    try:
        return open_tables(database.mode.db_url, database.columns)
    except CannotStart as error:
        raise type(error)(str(error).replace("--db-url", database.source)) from None


def query_of(options: dict[str, Any]) -> Query:
    """Make the Query that the options describe.

    Raises:
        click.BadParameter: a value that nothing can match.
    """
    conditions: list[Condition] = [
        equals(f"--{name.replace('_', '-')}", options[name])
        for name in ("callid", "from_user", "to_user", "ruri_user", "method")
        if options[name]
    ]
    if options["address"] is not None:
        try:
            conditions.append(address_is(options["address"]))
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--ip") from None
    if options["node"] is not None:
        conditions.append(node_is(options["node"]))
    since_us, until_us = options["since"], options["until"]
    if since_us is not None and until_us is not None and since_us >= until_us:
        raise click.BadParameter("not after --since: nothing can match", param_hint="--until")
    return Query(since_us, until_us, tuple(conditions))


def _write(data: bytes) -> None:
    """Write all of it; BrokenPipeError if the reader went away."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(sys.stdout.fileno(), view) :]
        except BlockingIOError:  # somebody else made our pipe non-blocking
            time.sleep(0.01)
