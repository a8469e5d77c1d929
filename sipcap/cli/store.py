"""``sipcap store``: NDJSON to a database."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import click

from sipcap.batching import Batcher, BatchOptions
from sipcap.cli.options import SecretType, common_options, drain_option, options_bundle
from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.routing import HASH_SOURCES, MT_MODES, Router, split_patterns
from sipcap.schemas import DEFAULT_TABLE
from sipcap.sinks.registry import DEFAULT_URL, open_sink
from sipcap.stopping import Stop
from sipcap.storing import Store

_LOGGER = logging.getLogger("sipcap")

sink_options = options_bundle(
    click.option(
        "--db-url", type=SecretType(), default=DEFAULT_URL, show_default=True, metavar="URL|@FILE",
        envvar=["SIPCAP_STORE_DB_URL", "SIPCAP_DB_URL"], help="The database.",
    ),
    click.option(
        "--table", "tables", multiple=True, metavar="PATTERN[|PATTERN]",
        help=f"Tables for SIP, strftime in UTC of the message's time; repeatable.  [default: {DEFAULT_TABLE}]",
    ),
    click.option(
        "--report-table", metavar="PATTERN",
        help="Table for reports.  [default: rtcp_capture, logs_capture or report_capture by HEP type]",
    ),
    click.option(
        "--mt-mode", type=click.Choice(MT_MODES), default="rand", show_default=True,
        help="How one of several tables is chosen.",
    ),
    click.option(
        "--hash-source", type=click.Choice(HASH_SOURCES), default="call_id", show_default=True,
        help="What --mt-mode hash looks at.",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1, 100_000), default=2_000, show_default=True, metavar="N",
        help="Records in one transaction.",
    ),
    click.option(
        "--batch-interval", type=click.FloatRange(0.01, 3_600), default=0.5, show_default=True, metavar="SECONDS",
        help="A record is in its table at most this long after it was read.",
    ),
    click.option(
        "--dead-letter", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="Where records go that the database refuses; sipcap store reads this file again.",
    ),
    click.option("--create/--no-create", default=True, show_default=True, help="Create tables that are missing."),
)  # fmt: skip
"""Where and how records are stored."""


retry_options = options_bundle(
    click.option(
        "--insert-retries", type=click.IntRange(0, 500), default=0, show_default=True, metavar="N",
        help="Further attempts for a batch that the database could not take.",
    ),
    click.option(
        "--insert-retry-timeout", type=click.IntRange(0, 300), default=60, show_default=True, metavar="SECONDS",
        help="No attempt begins later than this after the first.",
    ),
)  # fmt: skip
"""How often a batch is tried."""


@click.command(
    "store",
    epilog="\b\nEXAMPLES\n    $ sipcap listen | sipcap store\n"
    "    $ sipcap replay night.pcap | sipcap store --table 'sip_capture_%Y%m%d'",
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="[FILE]...",
                help="NDJSON files; - or none for stdin.")  # fmt: skip
@sink_options
@retry_options
@click.option("--strict", is_flag=True, help="A bad line ends it with exit code 4; else it is counted and named.")
@drain_option
@common_options
def command(**options: Any) -> int:
    """Store NDJSON records in a database.

    Records of kind sip go to --table, records of kind report to the tables of their HEP type. Missing tables
    are created. A batch of records is one transaction.
    """
    stop = Stop()
    stop.install()
    counters = Counters()
    dead_letters = DeadLetterFile(options["dead_letter"]) if options["dead_letter"] else None
    sink = open_sink(options["db_url"], create=options["create"])
    batcher = Batcher(sink, batch_options_of(options), counters, dead_letters)
    store = Store(router_of(options), batcher, counters, strict=options["strict"])
    try:
        whole = all([_store_file(store, name, stop, options["drain_timeout"]) for name in options["files"] or ("-",)])
    finally:
        sink.close()
        _LOGGER.info("%s", counters.summary(), extra={"fields": counters.as_dict()})
    if not whole:
        return 128 + stop.signal_number
    return 1 if counters.trouble() else 0


def _store_file(store: Store, name: str, stop: Stop, drain_timeout_s: float) -> bool:
    """Store one input; false if a signal ended it before its end."""
    if name == "-":
        fd = sys.stdin.fileno()
        name = "stdin"
        if os.isatty(fd):
            _LOGGER.info("reading NDJSON from the terminal; end with Ctrl-D")
    else:
        fd = os.open(name, os.O_RDONLY)
    # The writer of a pipe is being stopped by the same Ctrl-C: what it still has to say is read.
    bound_s = 0.0 if stat.S_ISREG(os.fstat(fd).st_mode) else drain_timeout_s
    stopped_s = float("inf")

    def stopping() -> bool:
        nonlocal stopped_s
        if stop.requested:
            stopped_s = min(stopped_s, time.monotonic())
        return time.monotonic() >= stopped_s + bound_s

    return store.read(fd, name, stopping)


def router_of(options: dict[str, Any]) -> Router:
    """Make the Router that ``sink_options`` describes."""
    return Router(
        split_patterns(options["tables"] or (DEFAULT_TABLE,)),
        split_patterns([options["report_table"]])[0] if options["report_table"] else None,
        options["mt_mode"],
        options["hash_source"],
    )


def batch_options_of(options: dict[str, Any], *, retry_for_ever: bool = False) -> BatchOptions:
    """Make the BatchOptions that ``sink_options`` and ``retry_options`` describe."""
    if retry_for_ever:
        return BatchOptions(options["batch_size"], options["batch_interval"], retries=None)
    return BatchOptions(
        options["batch_size"], options["batch_interval"], options["insert_retries"], options["insert_retry_timeout"]
    )
