"""``sipcap run``: the service."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import Any

import click

from sipcap.capturing import CaptureJob
from sipcap.cli.destination import destination_of
from sipcap.cli.listen import receive_options, source_of
from sipcap.cli.options import common_options, drain_option, extract_options, extract_options_of
from sipcap.cli.store import batch_options_of, sink_options, spool_of
from sipcap.deadletter import DeadLetterFile
from sipcap.ndjson import encode_records
from sipcap.service.service import Service, StoreJob
from sipcap.sinks.budget import Budget
from sipcap.stopping import Stop


@click.command(
    "run",
    epilog="\b\nEXAMPLES\n    $ sipcap run\n    $ sipcap run --listen udp:0.0.0.0:9060 --db-url sqlite:////var/lib/sip.db",
)
@receive_options
@extract_options
@sink_options
@drain_option
@common_options
def command(**options: Any) -> int:
    """Receive HEP, or capture packets, and store the messages, unattended.

    Without options it hears udp:127.0.0.1:9060 and tcp:127.0.0.1:9060 and stores into sipcap.db in the working
    directory. It does what sipcap listen | sipcap store does, until it is stopped; while the database takes no
    records, it tries again until it does; with --spool, records wait there meanwhile.
    """
    stop = Stop()
    stop.install()
    source = source_of(options, ("udp", "tcp"))
    capture = CaptureJob(
        source,
        extract_options_of(options),
        encode_records,
        output=-1,
        children=options["children"],
        drain_timeout_s=options["drain_timeout"],
    )
    destination = replace(destination_of(options), budget=Budget())
    spool = spool_of(options)
    store = StoreJob(
        destination.connect,
        destination.router(),
        batch_options_of(options, retries=None if spool is None else 0),
        DeadLetterFile(options["dead_letter"]) if options["dead_letter"] else None,
        destination.place(spool) if spool is not None else None,
    )
    if spool is not None:
        spool.report_strangers()
    with closing(source):
        source.open()
        Service(capture, store).run(stop)
    return 0
