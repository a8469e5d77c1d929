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

from sipcap.capturing import CaptureJob, capture_live
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
from sipcap.cli.packets import check_mode_options, ipip_options_of, mirror_options_of, packet_options
from sipcap.endpoint import Endpoint
from sipcap.errors import BadFilterError
from sipcap.heap import give_large_blocks_back
from sipcap.limits import HEP_PORT, RCVBUF_BYTES
from sipcap.sources.addresses import Network
from sipcap.sources.base import LiveSource
from sipcap.sources.hep import HepOptions, HepSource
from sipcap.sources.ipip import IpipSource
from sipcap.sources.mirror import MirrorSource
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

receive_options = options_bundle(
    click.option(
        "--mode", type=click.Choice(["hep", "ipip", "mirror"]), default="hep", show_default=True,
        help="What to capture: HEP that agents send, IP in IP that is sent to this machine, or all that an interface "
        "sees.",
    ),
    click.option(
        "--listen", "endpoints", type=EndpointType(), multiple=True, metavar="ENDPOINT",
        help=f"Where to receive, repeatable: [udp:|tcp:|tls:]HOST:PORT[-PORT].  [default: udp:127.0.0.1:{HEP_PORT}] "
        "With ipip and mirror the ports are a filter: SIP is what has one of them at either end. Without one, or with "
        "port 0, SIP is known by its content. With ipip, HOST is the address at which tunnels end.",
    ),
    *packet_options,
    click.option("--auth-key", type=KeyType(), metavar="KEY|@FILE", help="Refuse HEP that does not carry this key."),
    click.option(
        "--allow", type=NetworkType(), multiple=True, metavar="CIDR", help="Hear these senders only, repeatable."
    ),
    click.option("--tls-cert", type=_FILE, help="Certificate for tls: endpoints (PEM)."),
    click.option("--tls-key", type=_FILE, help="Its key, if it is in a file of its own."),
    click.option("--tls-client-ca", type=_FILE, help="Demand client certificates signed by this CA."),
    click.option(
        "--rcvbuf", type=click.IntRange(4_096, 2**31 - 2), default=RCVBUF_BYTES, show_default=True, metavar="BYTES",
        help="Receive buffer to ask for, of each socket (with mirror: of all processes together); what is granted is "
        "said on stderr.",
    ),
    click.option(
        "--children", type=click.IntRange(1, 64), default=1, show_default=True, metavar="N",
        help="Processes that share the sockets; with ipip and mirror, each flow goes to one of them.",
    ),
)  # fmt: skip


@click.command(
    "listen",
    epilog="\b\nEXAMPLES\n    $ sipcap listen --listen udp:0.0.0.0:9060 --listen tcp:0.0.0.0:9060 | sipcap store\n"
    "    $ sipcap listen | jq 'select(.method==\"INVITE\")' | sipcap store\n"
    "    $ sipcap listen --mode mirror --iface eth1 --promisc --listen '*:5060-5090' --bpf | sipcap store\n"
    "    $ sipcap listen --mode ipip --listen 192.0.2.1:5060 | sipcap store\n"
    "    $ sipcap listen --hook hooks.py:on_request | sipcap store\n\n"
    "\b\nHOOKS\n"
    '    A hook is a Python callable that gets a sipcap.hooks.Request: message, record, source_ip, hep("version"),\n'
    "    hep(0x011) and so on. It returns 1 or None: go on; 0: do not store it; or\n"
    '    Route(table="calls_%Y%m%d", capture_mode="mode1"), which the line tells sipcap store by its keys _table and\n'
    "    _mode. Whatever else it does costs the message: it is counted as rejected, hook_error or hook_timeout.\n"
    "    The file is loaded before processes are forked, as one is with any hook: a hook opens connections when it is\n"
    "    first called. If it hangs, its process ends, and what that had taken in is counted (dropped, worker_killed;\n"
    "    exit code 5). What it registers with atexit is called in each such process at its end, within the time of\n"
    "    --drain-timeout after a stop. What a hook prints goes to stderr.\n"
    "    No process is forked for a file that starts threads when it is loaded, as they would be left behind, unless\n"
    "    --children are more than 1. If such a hook hangs, the command itself ends, with code 1 and no counters.\n"
    "    Where memory is bounded (ulimit -v, prlimit --as), a hook is refused the last 64 MiB: what it keeps costs\n"
    "    messages first, and then, after 100 of them in a row, its process.",
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

    In mode hep, versions 1, 2 and 3 are told apart by themselves. SIP becomes records of kind sip with the columns of
    the sipcapture module; RTCP, logs and all other HEP types become records of kind report.

    Mode mirror takes packets from an interface (--iface, else from all), with VLAN tags, fragments and tunnels; on
    loopback, where every packet passes twice, each is taken once. Mode ipip takes IP in IP (protocols 4 and 41) that
    is sent to an address of this machine, on IPv4 and IPv6. Both need the capability CAP_NET_RAW. Messages have the
    time at which the kernel saw their packet.

    It runs until it is stopped, and says on stderr at the end, and on SIGUSR1, what it did with every message.
    """
    give_large_blocks_back()
    stop = Stop()
    stop.install()
    source = source_of(options)
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
        try:
            source.open()
        except BadFilterError as error:
            raise click.BadParameter(str(error), param_hint="--bpf") from None
        capture_live(job, stop)
    return 0


def source_of(options: dict[str, Any], protocols: Sequence[str] = ("udp",)) -> LiveSource:
    """Make the source that ``receive_options`` describes.

    Raises:
        click.UsageError: an option was given that has no effect in this mode.
    """
    check_mode_options(click.get_current_context())
    if options["mode"] == "mirror":
        return MirrorSource(mirror_options_of(options))
    if options["mode"] == "ipip":
        return IpipSource(ipip_options_of(options))
    return HepSource(hep_options_of(options, protocols))


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
