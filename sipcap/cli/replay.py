"""``sipcap replay``: captures to HEP, or to NDJSON."""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sipcap.cli.options import (
    EndpointType,
    SecretType,
    common_options,
    drain_option,
    encoder_for,
    extract_options,
    extract_options_of,
    format_option,
    options_bundle,
)
from sipcap.cli.progress import ReplayProgress
from sipcap.endpoint import Endpoint
from sipcap.errors import BadFilterError, CannotStart, InputError, Unwritten
from sipcap.outlet import Outlet
from sipcap.replaying import ReplayStop, Restamped, replay_to_hep, replay_to_output
from sipcap.sinks.hep import DEFAULT_CAPTURE_ID, HepSink, HepTarget
from sipcap.sinks.pacing import Pacer
from sipcap.sources.capture_bytes import STDIN
from sipcap.sources.passed_over import log_passed_over
from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.sources.replayed import ReplaySource
from sipcap.stopping import Stop

if TYPE_CHECKING:
    import ssl

_LOGGER = logging.getLogger("sipcap")
_SENDING = ("hep_version", "capture_id", "auth_key", "compress", "speed", "rate")
_TLS = ("tls_ca", "tls_insecure", "tls_cert", "tls_key")
_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


class SpeedType(click.ParamType[float]):
    """A factor, or ``max``: infinity."""

    name = "speed"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read the factor."""
        try:
            speed = float("inf") if value == "max" else float(value)
        except ValueError:
            speed = 0.0
        if not speed > 0:
            self.fail(f"{value!r} is neither a number above 0 nor max", param, ctx)
        return speed


class PortsType(click.ParamType[range]):
    """``PORT`` or ``PORT-PORT``."""

    name = "ports"

    def convert(self, value: str | range, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """Read one port or a range of them."""
        if isinstance(value, range):
            return value
        match = re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", value)
        ports = range(0) if match is None else range(int(match[1]), int(match[2] or match[1]) + 1)
        if not ports or ports[-1] > 65_535:
            self.fail(f"{value!r} is no port or range of ports, such as 5060 or 5060-5090", param, ctx)
        return ports


replay_options = options_bundle(
    click.option("--to", "endpoint", type=EndpointType(), metavar="ENDPOINT",
                 help="Send HEP there, [udp:|tcp:|tls:]HOST:PORT, instead of writing NDJSON."),
    click.option("--hep-version", type=click.Choice(["1", "2", "3"]),
                 help="HEP version to send; 1 and 2 carry SIP only.  [default: 3]"),
    click.option("--capture-id", type=click.IntRange(0, 2**32 - 1), metavar="N",
                 help=f"Capture id of all messages.  [default: the captured one, {DEFAULT_CAPTURE_ID} for plain SIP]"),
    click.option("--auth-key", type=SecretType(), metavar="KEY|@FILE", help="Key to send with HEP version 3."),
    click.option("--compress", is_flag=True, help="Compress messages that do not fit otherwise (64 KB, HEP 3)."),
    click.option("--tls-ca", type=_FILE, metavar="FILE",
                 help="Who vouches for the collector of a tls: endpoint (PEM).  [default: the system's authorities]"),
    click.option("--tls-insecure", is_flag=True, help="Do not ask who the collector of a tls: endpoint is."),
    click.option("--tls-cert", type=_FILE, metavar="FILE", help="Certificate to show to it (PEM)."),
    click.option("--tls-key", type=_FILE, metavar="FILE", help="Its key, if it is in a file of its own."),
    click.option("--speed", type=SpeedType(), metavar="X|max",
                 help="Pace of sending: 1 as captured, 2 twice as fast, max without waiting.  [default: 1]"),
    click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="PPS",
                 help="Send so many messages a second, whatever their times."),
    click.option("--loop", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                 help="Replay the files so many times."),
    click.option("--ports", type=PortsType(), metavar="RANGE",
                 help="SIP is what has one of these ports at either end.  [default: SIP is known by its content]"),
    click.option("--bpf", metavar="EXPR", help="Take packets that pass this pcap filter."),
    click.option("--dissector", type=click.Choice(["native", "tshark"]), default="native", show_default=True,
                 help="Who takes packets apart. tshark must be installed; it decrypts TLS and knows more layers."),
    click.option("--keylog", type=_FILE, metavar="FILE",
                 help="TLS secrets, as SSLKEYLOGFILE makes them, for --dissector tshark."),
    click.option("--display-filter", metavar="EXPR",
                 help="Take packets that match this Wireshark filter; for --dissector tshark."),
    click.option("--now", is_flag=True, help="Replace the captured times by the time of sending."),
)  # fmt: skip


@click.command(
    "replay",
    epilog="\b\nEXAMPLES\n    $ sipcap replay calls.pcap | sipcap store\n"
    "    $ sipcap replay calls.pcapng --to udp:127.0.0.1:9060\n"
    "    $ sipcap replay night.pcap.gz --to tls:collector:9061 --tls-ca ca.pem\n"
    "    $ sipcap replay tls.pcap --dissector tshark --keylog keys.log --ports 5061\n"
    "    $ sudo tcpdump -i eth0 -U --immediate-mode -w - udp | sipcap replay - | jq -r .callid",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...",
                type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
                help="pcap or pcapng files, also gzip or zstd, or pipes; - is stdin.")  # fmt: skip
@replay_options
@extract_options
@drain_option
@format_option
@common_options
def command(**options: Any) -> int:
    """Replay captured SIP: to NDJSON, or as HEP to a collector.

    SIP is found over UDP, TCP, WebSocket and SCTP, on IPv4 and IPv6, with fragments put together, under VLAN
    tags, MPLS and PPPoE, and in tunnels: IP in IP, GRE, ERSPAN, VXLAN, GENEVE, TZSP. HEP in a capture is
    unwrapped to the messages in it; RTCP becomes records of kind report, tied to its call where the SDP was
    seen. Link types are Ethernet, Linux cooked v1 and v2, raw IP, BSD loopback, PPP, PPPoE and Cisco HDLC.

    Without --to, one JSON object a message is written at full speed; with it, messages are sent at the pace of
    the capture.
    """
    _check(options)
    stop = Stop()
    stop.install()
    source = _source(options)
    stopping = ReplayStop(stop, source, options["drain_timeout"])
    replay = _write if options["endpoint"] is None else _send
    try:
        reader_gone = replay(source, stopping, options)
    except BadFilterError as error:
        hint = "--bpf" if options["display_filter"] is None else "--display-filter"
        raise click.BadParameter(str(error), param_hint=hint) from None
    except (InputError, Unwritten):
        _summarize(source)
        raise
    if reader_gone:
        return 0
    _summarize(source)
    if stop.signal_number:
        return 128 + stop.signal_number
    return 1 if source.stats.trouble() else 0


def _source(options: dict[str, Any]) -> ReplaySource:
    """What reads the files, as the options say."""
    if options["dissector"] == "native":
        return PcapSource(PcapOptions(options["files"], options["ports"], options["bpf"], options["loop"]))
    from sipcap.sources.tshark import TsharkOptions, TsharkSource  # noqa: PLC0415  # few need it

    keylog: Path | None = options["keylog"]
    return TsharkSource(
        TsharkOptions(
            options["files"],
            options["ports"],
            options["loop"],
            None if keylog is None else str(keylog),
            options["display_filter"],
        )
    )


def _check(options: dict[str, Any]) -> None:
    """Refuse what cannot be done, warn of what has no effect."""
    endpoint: Endpoint | None = options["endpoint"]
    version = int(options["hep_version"] or 3)
    if endpoint is None:
        _warn_without_effect(options, (*_SENDING, *_TLS), "without --to")
    elif endpoint.host == "*" or endpoint.port != endpoint.last_port or not endpoint.port:
        raise click.BadParameter(f"{endpoint} is not one place to send to", param_hint="--to")
    elif endpoint.protocol != "udp" and version < 3:
        raise click.BadParameter(
            f"{endpoint.protocol}: takes version 3 only, 1 and 2 have no length", param_hint="--hep-version"
        )
    elif endpoint.protocol != "tls":
        _warn_without_effect(options, _TLS, "without --to tls:HOST:PORT")
    if endpoint is not None and options["hook"] is not None:
        raise click.UsageError("--hook is asked about records, and --to sends none")
    if endpoint is not None and version < 3:
        _warn_without_effect(options, ("auth_key", "compress"), f"with --hep-version {version}")
    if endpoint is not None and options["hook"] is not None:
        raise click.UsageError("--hook is asked about records, and --to sends none")
    if endpoint is not None:
        _warn_without_effect(options, ("topoh_unmask",), "with --to, which sends messages as they are")
    if options["tls_ca"] is not None and options["tls_insecure"]:
        raise click.UsageError("--tls-ca and --tls-insecure exclude each other")
    if options["dissector"] == "native":
        for name in ("keylog", "display_filter"):
            if options[name] is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --dissector tshark")
    elif options["bpf"] is not None:
        raise click.UsageError("--dissector tshark takes --display-filter, no --bpf")
    if options["rate"] is not None and options["speed"] is not None:
        raise click.UsageError("--rate and --speed exclude each other")
    if STDIN in options["files"]:
        if options["loop"] > 1:
            raise click.UsageError("stdin can be read once: no --loop with -")
        if os.isatty(0):
            raise click.UsageError("stdin is a terminal; pipe a capture into it")


def _warn_without_effect(options: dict[str, Any], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if options[name] not in (None, False, float("inf")):
            _LOGGER.warning("--%s has no effect %s", name.replace("_", "-"), why)


def _write(source: ReplaySource, stopping: ReplayStop, options: dict[str, Any]) -> bool:
    """Write records to stdout; returns whether its reader went away."""
    extracting = extract_options_of(options)
    outlet = Outlet(sys.stdout.fileno(), source.stats)
    messages = Restamped(source) if options["now"] else source
    source.open()
    outlet.start()
    with ReplayProgress(source, options["files"], options["loop"], shown=not sys.stdout.isatty()) as progress:
        replay_to_output(
            messages,
            extracting,
            outlet,
            encoder_for(options["output_format"]),
            stopping=stopping,
            on_tick=progress.update,
            close_s=options["drain_timeout"],
        )
    return outlet.reader_gone


def _send(source: ReplaySource, stopping: ReplayStop, options: dict[str, Any]) -> bool:
    """Send HEP; returns False."""
    key: str | None = options["auth_key"]
    target = HepTarget(
        options["endpoint"],
        int(options["hep_version"] or 3),
        options["capture_id"],
        None if key is None else os.fsencode(key),
        options["now"],
        options["compress"],
        _tls_context(options) if options["endpoint"].protocol == "tls" else None,
    )
    sink = HepSink(target, source.stats)
    speed: float = options["speed"] or 1.0
    pacer = Pacer(None if speed == float("inf") else speed, options["rate"])
    source.open()
    sink.open()
    with ReplayProgress(source, options["files"], options["loop"], shown=True) as progress:
        replay_to_hep(source, sink, pacer, stopping=stopping, on_tick=progress.update)
    return False


def _tls_context(options: dict[str, Any]) -> ssl.SSLContext:
    """What a tls: endpoint is connected with; raises CannotStart."""
    import ssl  # noqa: PLC0415  # 30 ms that only tls: endpoints pay for

    authority: Path | None = options["tls_ca"]
    certificate: Path | None = options["tls_cert"]
    if options["tls_key"] is not None and certificate is None:
        raise click.UsageError("--tls-key needs --tls-cert")
    try:
        context = ssl.create_default_context(cafile=authority)
        if options["tls_insecure"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate is not None:
            context.load_cert_chain(certificate, options["tls_key"], password="")  # "": no question on the terminal
    except OSError as error:  # ssl.SSLError is one
        raise CannotStart(f"certificate: {error.strerror or error}") from None
    return context


def _summarize(source: ReplaySource) -> None:
    """Say what became of every message and packet."""
    counters = source.stats
    _LOGGER.info("%s", counters.summary(), extra={"fields": counters.as_dict()})
    log_passed_over(source.skipped, source.tcp)
