"""``sipcap store``: NDJSON to a database."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import stat
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from sipcap.batching import INSERT_MODES, Batcher, BatchOptions, batches_ahead
from sipcap.cli.destination import Destination, destination_of, destination_options, mode_options
from sipcap.cli.options import common_options, drain_option, options_bundle
from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import InputError, Unwritten
from sipcap.heap import give_large_blocks_back
from sipcap.lanes import Lane
from sipcap.limits import ASYNC_BATCHES, SPOOL_BYTES
from sipcap.quantities import size_bytes
from sipcap.sinks.base import Sink
from sipcap.sinks.deferred import DeferredSink, open_or_defer
from sipcap.spool import Spool, SpoolPlace, segment_of
from sipcap.stopping import Stop
from sipcap.storing import Convert, Store

_LOGGER = logging.getLogger("sipcap")


class _IntervalType(click.FloatRange):
    """A range of numbers, of which ``nan`` is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return number


class _SizeType(click.ParamType[int]):
    """A number of bytes, as ``quantities.size_bytes`` reads it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else size_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


batch_options = options_bundle(
    click.option(
        "--batch-size", type=click.IntRange(1, 100_000), default=2_000, show_default=True, metavar="N",
        help="Records in one transaction.",
    ),
    click.option(
        "--batch-interval", type=_IntervalType(0.01, 3_600), default=0.5, show_default=True, metavar="SECONDS",
        help="A record is in its table at most this long after it was read.",
    ),
    click.option(
        "--dead-letter", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
        help="Where records go that the database refuses; sipcap store reads this file again.",
    ),
    click.option(
        "--spool", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
        help="Where records wait while the database is away. They go in by themselves when it is back, each once.",
    ),
    click.option(
        "--spool-max", type=_SizeType(), default=f"{SPOOL_BYTES >> 30}GiB", show_default=True, metavar="SIZE",
        help="What --spool takes of the disk at most.",
    ),
)  # fmt: skip
"""How records are stored, and what happens to those that are not."""

sink_options = options_bundle(destination_options, batch_options)
"""Where and how records are stored."""

insert_options = options_bundle(
    click.option(
        "--insert-mode", type=click.Choice(INSERT_MODES), default=INSERT_MODES[0], show_default=True,
        help="plain: a batch is in the database before the next but one is read. delayed: as plain, and by INSERT "
             "DELAYED into tables of MariaDB whose engine takes it. async: up to "
             f"{ASYNC_BATCHES} batches are read ahead of a slow database.",
    ),
    click.option(
        "--insert-retries", type=click.IntRange(0, 500), default=0, show_default=True, metavar="N",
        help="Further attempts for a batch that the database could not take.",
    ),
    click.option(
        "--insert-retry-timeout", type=click.IntRange(0, 300), default=60, show_default=True, metavar="SECONDS",
        help="No attempt begins later than this after the first.",
    ),
)  # fmt: skip
"""How a batch is inserted, and how often it is tried."""

_EPILOG = """\b
EXAMPLES
    $ sipcap listen | sipcap store
    $ sipcap replay night.pcap | sipcap store --table 'sip_capture_%Y%m%d'
    $ sipcap listen | sipcap store --config modes.ini --capture-mode mode1
    $ sipcap listen | sipcap store --schema homer7 --db-url postgresql://homer_user@localhost/homer_data

\b
CAPTURE MODES
    A capture mode is a database with its tables. A file has any number of them; its section [sipcap] is the
    mode called default. Only db_url must be there.

\b
    [capture_mode:mode1]
    db_url = mysql://user:password@host/database
    table_name = sip_a_%Y%m%d|sip_b_%Y%m%d
    mt_mode = hash
    hash_source = call_id

\b
    The module's own notation stands on the command line or, a line each, under the key capture_mode of [sipcap]:
    mode1=>db_url=mysql://user:password@host/database;table_name=a|b;mt_mode=hash;hash_source=call_id;
    hash takes CRC-32 of the source modulo the number of tables, as the module does; an empty source is hashed too.
    With --config alone, records follow the routes of the file, as in sipcap run, and a dead letter goes back to
    the mode that it was meant for; --capture-mode or --db-url take all records. --table is for those that no
    hook and no dead letter has a place for, whatever the routes say.

\b
SCHEMAS
    sipcapture  the module's columns in the tables that --table and --report-table name
    homer5      the same columns; sip_capture_call_%Y%m%d, sip_capture_registration_%Y%m%d and
                sip_capture_rest_%Y%m%d by method, rtcp_capture_all_%Y%m%d, logs_capture_all_%Y%m%d and
                report_capture_all_%Y%m%d by HEP type
    homer7      HOMER 7's columns and tables, hep_proto_1_call and so on. In PostgreSQL, partitions are made as
                they are needed, beside those of heplify-server; elsewhere the tables have none. Exact bytes that
                are no text, and most of what the HEP envelope says, have no place in them."""


@click.command("store", epilog=_EPILOG)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="[FILE]...",
                help="NDJSON files; - or none for stdin.")  # fmt: skip
@mode_options
@sink_options
@insert_options
@click.option("--strict", is_flag=True, help="A bad line ends it with exit code 4; else it is counted and named.")
@drain_option
@common_options
def command(**options: Any) -> int:
    """Store NDJSON records in a database.

    Records of kind sip go to --table, records of kind report to the tables of their HEP type. Missing tables
    are created. A batch of records is one transaction.
    """
    return store_inputs(options, destination_of(options), options["files"] or ("-",))


def store_inputs(
    options: dict[str, Any], destination: Destination, names: Sequence[str], convert: Convert | None = None
) -> int:
    """Store all inputs, as ``batch_options`` and the options behind them say; returns the exit code.

    Args:
        options: of the command.
        destination: where records go.
        names: of the inputs, ``-`` is stdin.
        convert: what is made of each record; see Store.
    """
    give_large_blocks_back()
    stop = Stop()
    stop.install()
    counters = Counters()
    dead_letters = DeadLetterFile(options["dead_letter"]) if options["dead_letter"] else None
    if dead_letters is not None:
        _check_inputs(names, dead_letters)
    drain = _Drain(stop, options["drain_timeout"], counters)
    spool = spool_of(options)
    waiting = _waiting_places(destination, spool)
    with contextlib.ExitStack() as sinks:
        if spool is not None:
            sinks.callback(spool.close)

        def lane_of(place: Destination, sink: Sink) -> Lane:
            name = place.mode.name
            letters = dead_letters.of_mode(name) if dead_letters is not None else None
            batcher = Batcher(sink, batch_options_of(options), counters, letters, drain.is_over, waiting.get(name))
            sinks.callback(batcher.close)
            return Lane(name, place.router(), batcher)

        def other_lane(name: str) -> Lane:
            place = destination.other(name)
            return lane_of(place, DeferredSink(place.connect))

        others = {name: partial(other_lane, name) for name in destination.others or ()}
        own = lane_of(destination, open_or_defer(destination.connect, can_wait=bool(waiting)))
        store = Store(
            own, counters, strict=options["strict"], others=others or None, convert=convert, routes=destination.routes
        )
        for name in [name for name in others if name in waiting and waiting[name].segments]:
            store.enter(name)
        whole = _store_files(store, names, drain, counters)
    if store.unwritten:
        raise Unwritten(f"{store.unwritten} record(s) remain unwritten")
    if not whole:
        return 128 + stop.signal_number
    return 1 if counters.trouble() else 0


def _waiting_places(destination: Destination, spool: Spool | None) -> dict[str, SpoolPlace]:
    """Where the records of each capture mode wait for their database; nothing without a spool."""
    if spool is None:
        return {}
    modes = {name: destination.other(name) for name in destination.others or ()}
    places = {name: place.place(spool) for name, place in (modes | {destination.mode.name: destination}).items()}
    spool.report_strangers()
    return places


def _store_files(store: Store, names: Sequence[str], drain: _Drain, counters: Counters) -> bool:
    """Store all inputs and say what became of them; false if a signal ended one before its end."""
    whole = True
    try:
        for name in names:
            whole &= _store_file(store, name, drain)
        store.recover_all(drain.is_stopped)
    except InputError as error:
        if store.unwritten:  # worse than the input, and its code
            raise Unwritten(f"{error}; {store.unwritten} record(s) remain unwritten") from None
        raise
    finally:
        _LOGGER.info("%s", counters.summary(), extra={"fields": counters.as_dict()})
    return whole


class _Drain:
    """Says when a stopped command gives up: one bound over all its inputs; asked often, it gives the counters, too."""

    def __init__(self, stop: Stop, timeout_s: float, counters: Counters) -> None:
        self._stop = stop
        self._counters = counters
        self._timeout_s = timeout_s
        self._stopped_s = float("inf")
        self.is_reading_pipe = False
        """The writer of a pipe is stopped by the same Ctrl-C: what it still has to say is read."""

    def is_stopped(self) -> bool:
        return self._stop.requested

    def is_over(self) -> bool:
        self._stop.answer(lambda: self._counters)
        if self._stop.requested:
            self._stopped_s = min(self._stopped_s, time.monotonic())
        return time.monotonic() >= self._stopped_s + self._timeout_s

    def stops_reading(self) -> bool:
        return self.is_over() or (self._stop.requested and not self.is_reading_pipe)


def _check_inputs(names: Sequence[str], dead_letters: DeadLetterFile) -> None:
    for name in names:
        status = os.fstat(sys.stdin.fileno()) if name == "-" else Path(name).stat()
        if dead_letters.is_same_file(status):
            raise click.UsageError(f"--dead-letter is the input {name} itself: rename that file before it is read")


def _store_file(store: Store, name: str, drain: _Drain) -> bool:
    """Store one input; false if a signal ended it before its end."""
    if name == "-":
        fd = sys.stdin.fileno()
        name = "stdin"
        if os.isatty(fd):
            _LOGGER.info("reading NDJSON from the terminal; end with Ctrl-D")
    elif (segment := segment_of(Path(name))) is not None:
        store.read_segment(segment)
        return True
    else:
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    drain.is_reading_pipe = not (stat.S_ISREG(os.fstat(fd).st_mode) or os.isatty(fd))
    whole = store.read(fd, name, drain.stops_reading)
    if whole and fd != sys.stdin.fileno():
        os.close(fd)  # else it is still being read, and the program ends
    return whole


def batch_options_of(options: dict[str, Any], **more: Any) -> BatchOptions:
    """Make the BatchOptions that ``batch_options``, and ``insert_options`` or *more*, describe."""
    if "insert_retries" in options:
        more |= {"retries": options["insert_retries"], "retry_timeout_s": options["insert_retry_timeout"]}
    more.setdefault("ahead", batches_ahead(options.get("insert_mode", INSERT_MODES[0])))
    return BatchOptions(options["batch_size"], options["batch_interval"], **more)


def spool_of(options: dict[str, Any]) -> Spool | None:
    """Open the spool that ``batch_options`` describe; None if there is none."""
    return Spool(options["spool"], options["spool_max"]) if options["spool"] else None
