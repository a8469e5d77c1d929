"""``sipcap search``: database to NDJSON."""

from __future__ import annotations

import logging
import os
import sys
import time
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
    went in. Without a condition all messages come. With --config, columns that the file renames are understood.

    The exit code is 1 if nothing was found.
    """
    stop = Stop()
    stop.install()
    database = database_of(options)
    patterns = patterns_of(options["tables"] or usual_tables(database))
    encode = encoder_for(options["output_format"])
    query = query_of(options)
    tables = _open(database)
    try:
        search = Search(tables, patterns, query, options["limit"])
        for batch in search.batches(lambda: stop.requested):
            _write(encode_found(batch, encode))
    finally:
        tables.close()
    if search.vanished:
        _LOGGER.warning("%d message(s) were dropped while they were read", search.vanished)
    if search.is_cut:
        _LOGGER.warning("there is more: --limit let %d message(s) through", search.found)
    if stop.requested:
        return 128 + stop.signal_number
    if not search.found:
        _LOGGER.info("nothing found in %d table(s)", len(search.tables))
        return 1
    return 0


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
