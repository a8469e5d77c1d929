"""``sipcap report``: the module's report_capture([table],[cid],[data])."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from sipcap.cli.destination import create_option, db_url_option, destination_of, mode_options, schema_option
from sipcap.cli.options import common_options, drain_option
from sipcap.cli.selection import TIME
from sipcap.cli.store import batch_options, insert_options, store_inputs
from sipcap.errors import CannotStart
from sipcap.ndjson import encode_records
from sipcap.pipeline import ExtractOptions
from sipcap.reporting import DEFAULT_REPORT_TABLE, ReportMaker
from sipcap.routing import split_patterns
from sipcap.schemas import HOMER7

_LOGGER = logging.getLogger("sipcap")
_NOT_ASKED: Final = {"tables": (), "mt_mode": None, "hash_source": None, "strict": False}
"""Options of ``store`` that say nothing about reports."""


@click.command(
    "report",
    epilog="\b\nEXAMPLES\n    $ sipcap report --cid abc@host --data '{\"mos\": 4.1}'\n"
    "    $ sipcap listen | jq -c --unbuffered 'select(.kind==\"report\")' | sipcap report --table 'report_%Y%m%d'",
)
@click.option("--cid", default="", metavar="TEXT", help="Correlation id of every row, in place of the record's own.")
@click.option("--data", default="", metavar="TEXT", help="Message of every row, as it is, in place of the record's.")
@click.option("--time", "ts_us", type=TIME, metavar="TIME", help="Of the one row.  [default: now]")
@click.option(
    "--table", metavar="PATTERN",
    help=f"The table, strftime in UTC of the row's time.  [default: {DEFAULT_REPORT_TABLE}; HOMER 7 has its own]",
)  # fmt: skip
@mode_options
@db_url_option
@schema_option
@create_option
@batch_options
@insert_options
@drain_option
@common_options
def command(**options: Any) -> int:
    """Store reports: every record on stdin, of whatever kind, becomes a row of a report table.

    With --cid or --data, and a terminal or /dev/null as stdin, it stores one row. A row without any correlation
    id is refused: no_cid.
    """
    data = os.fsencode(options["data"])
    maker = ReportMaker(os.fsencode(options["cid"]).decode(errors="replace"), data)
    _check_data(data)
    if _has_no_input() and (options["cid"] or data):
        ts_us = time.time_ns() // 1_000 if options["ts_us"] is None else options["ts_us"]
        _read_instead(encode_records([maker.row(ts_us, ExtractOptions().capture_node)]))
    elif options["ts_us"] is not None:
        raise click.UsageError("--time is that of one row: --cid or --data, and no records on stdin")
    elif data:
        _LOGGER.info("--data goes into each record that stdin has; for one row by hand, give it none: </dev/null")
    options |= _NOT_ASKED | {"report_table": _one_table(options["table"])}
    destination = replace(destination_of(options), routes=None)  # this record has its table
    if destination.report_pattern is None and destination.schema != HOMER7:
        destination = replace(destination, report_pattern=DEFAULT_REPORT_TABLE)
    return store_inputs(options, destination, ("-",), maker)


def _one_table(text: str | None) -> str | None:
    try:
        patterns = split_patterns([text]) if text is not None else (None,)
    except CannotStart as error:
        raise click.BadParameter(str(error), param_hint="--table") from None
    if len(patterns) > 1:
        raise click.BadParameter("one pattern only", param_hint="--table")
    return patterns[0]


def _check_data(data: bytes) -> None:
    """Warn of what those who read reports cannot read."""
    if data:
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            _LOGGER.warning("--data is not JSON; it is stored as it is")


def _has_no_input() -> bool:
    """Whether stdin is a terminal or /dev/null."""
    stdin = sys.stdin.fileno()
    status = os.fstat(stdin)
    return os.isatty(stdin) or (stat.S_ISCHR(status.st_mode) and status.st_rdev == Path(os.devnull).stat().st_rdev)


def _read_instead(line: bytes) -> None:
    """Let the one row go the way of all: it is what stands in stdin."""
    holder = os.memfd_create("sipcap-report")
    with os.fdopen(holder, "wb", closefd=False) as file:
        file.write(line)
    os.lseek(holder, 0, os.SEEK_SET)
    os.dup2(holder, sys.stdin.fileno())
    os.close(holder)
