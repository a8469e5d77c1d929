"""``sipcap listen``: live capture to NDJSON."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from sipcap.capturing import CaptureJob, capture_here, capture_in_workers
from sipcap.cli.options import (
    EndpointType,
    KeyType,
    NetworkType,
    SecondsType,
    age_option,
    common_options,
    drain_option,
    encoder_for,
    extract_options,
    extract_options_of,
    format_option,
    options_bundle,
)
from sipcap.endpoint import Endpoint
from sipcap.limits import HEP_PORT, RCVBUF_BYTES
from sipcap.sources.addresses import Network
from sipcap.sources.hep import HepOptions, HepSource
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

receive_options = options_bundle(
    click.option("--mode", type=click.Choice(["hep"]), default="hep", show_default=True, help="What to capture."),
    click.option(
        "--listen", "endpoints", type=EndpointType(), multiple=True, metavar="ENDPOINT",
        help=f"Where to receive, repeatable: [udp:|tcp:|tls:]HOST:PORT.  [default: udp:127.0.0.1:{HEP_PORT}]",
    ),
    click.option("--auth-key", type=KeyType(), metavar="KEY|@FILE", help="Refuse HEP that does not carry this key."),
    click.option(
        "--allow", type=NetworkType(), multiple=True, metavar="CIDR", help="Hear these senders only, repeatable."
    ),
    click.option("--tls-cert", type=_FILE, help="Certificate for tls: endpoints (PEM)."),
    click.option("--tls-key", type=_FILE, help="Its key, if it is in a file of its own."),
    click.option("--tls-client-ca", type=_FILE, help="Demand client certificates signed by this CA."),
    click.option(
        "--rcvbuf", type=click.IntRange(4_096, 2**31 - 2), default=RCVBUF_BYTES, show_default=True, metavar="BYTES",
        help="Receive buffer to ask for; what is granted is said on stderr.",
    ),
    click.option(
        "--children", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N",
        help="Processes that share the sockets.",
    ),
)  # fmt: skip


@click.command(
    "listen",
    epilog="\b\nEXAMPLES\n    $ sipcap listen --listen udp:0.0.0.0:9060 --listen tcp:0.0.0.0:9060 | sipcap store\n"
    "    $ sipcap listen | jq 'select(.method==\"INVITE\")' | sipcap store",
)
@receive_options
@extract_options
@age_option
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after so many records.")
@click.option("--duration", type=SecondsType(), metavar="SECONDS", help="End after so long.")
@drain_option
@format_option
@common_options
def command(**options: Any) -> int:
    """Capture live and write one JSON object a message to stdout.

    HEP versions 1, 2 and 3 are told apart by themselves. SIP becomes records of kind sip with the columns of
    the sipcapture module; RTCP, logs and all other HEP types become records of kind report.

    It runs until it is stopped, and says on stderr at the end what it did with every message.
    """
    stop = Stop()
    stop.install()
    source = HepSource(hep_options_of(options))
    job = CaptureJob(
        source,
        extract_options_of(options),
        encoder_for(options["output_format"]),
        sys.stdout.fileno(),
        options["children"],
        options["count"],
        options["duration"],
        options["drain_timeout"],
    )
    with closing(source):
        source.open()
        if job.children == 1:
            capture_here(job, stop)
        else:
            capture_in_workers(job, stop)
    return 0


def hep_options_of(options: dict[str, Any], protocols: Sequence[str] = ("udp",)) -> HepOptions:
    """Make the HepOptions that ``receive_options`` describes; without an endpoint, the usual port of this machine."""
    endpoints: tuple[Endpoint, ...] = options["endpoints"]
    allow: tuple[Network, ...] = options["allow"]
    if not endpoints:
        endpoints = tuple(Endpoint(protocol, "127.0.0.1", HEP_PORT, HEP_PORT) for protocol in protocols)
        _LOGGER.info("hearing this machine only; the network with --listen udp:0.0.0.0:%d", HEP_PORT)
    if all(endpoint.protocol != "tls" for endpoint in endpoints):
        for name in ("tls_cert", "tls_key", "tls_client_ca"):
            if options[name] is not None:
                _LOGGER.warning("--%s has no effect without --listen tls:HOST:PORT", name.replace("_", "-"))
    key: str | None = options["auth_key"]
    return HepOptions(
        endpoints,
        options["rcvbuf"],
        None if key is None else os.fsencode(key),
        allow,
        options["tls_cert"],
        options["tls_key"],
        options["tls_client_ca"],
        drain_s=options["drain_timeout"] / 2,  # the other half is for the reader of our output
    )
