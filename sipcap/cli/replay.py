"""``sipcap replay``: captures to HEP, or to NDJSON."""

from __future__ import annotations

import logging
import os
import re
import sys
from typing import Any

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
from sipcap.errors import InputError, Unwritten
from sipcap.outlet import Outlet
from sipcap.replaying import ReplayStop, Restamped, replay_to_hep, replay_to_output
from sipcap.sinks.hep import DEFAULT_CAPTURE_ID, HepSink, HepTarget
from sipcap.sinks.pacing import Pacer
from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.sources.pcap_reader import STDIN, BadFilterError
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")
_SENDING = ("hep_version", "capture_id", "auth_key", "speed", "rate")


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
                 help="Send HEP there, [udp:|tcp:]HOST:PORT, instead of writing NDJSON."),
    click.option("--hep-version", type=click.Choice(["1", "2", "3"]),
                 help="HEP version to send; 1 and 2 carry SIP only.  [default: 3]"),
    click.option("--capture-id", type=click.IntRange(0, 2**32 - 1), metavar="N",
                 help=f"Capture id of all messages.  [default: the captured one, {DEFAULT_CAPTURE_ID} for plain SIP]"),
    click.option("--auth-key", type=SecretType(), metavar="KEY|@FILE", help="Key to send with HEP version 3."),
    click.option("--speed", type=SpeedType(), metavar="X|max",
                 help="Pace of sending: 1 as captured, 2 twice as fast, max without waiting.  [default: 1]"),
    click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="PPS",
                 help="Send so many messages a second, whatever their times."),
    click.option("--loop", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                 help="Replay the files so many times."),
    click.option("--ports", type=PortsType(), metavar="RANGE",
                 help="Take what has one of these UDP ports.  [default: what looks like SIP or HEP]"),
    click.option("--bpf", metavar="EXPR", help="Take packets that pass this pcap filter."),
    click.option("--now", is_flag=True, help="Replace the captured times by the time of sending."),
)  # fmt: skip


@click.command(
    "replay",
    epilog="\b\nEXAMPLES\n    $ sipcap replay calls.pcap | sipcap store\n"
    "    $ sipcap replay calls.pcapng --to udp:127.0.0.1:9060\n"
    "    $ sudo tcpdump -i eth0 -U --immediate-mode -w - udp | sipcap replay - | jq -r .callid",
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...",
                type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
                help="pcap or pcapng files, or pipes; - is stdin.")  # fmt: skip
@replay_options
@extract_options
@drain_option
@format_option
@common_options
def command(**options: Any) -> int:
    """Replay captured SIP: to NDJSON, or as HEP to a collector.

    SIP over UDP is found on Ethernet (VLANs too), Linux cooked v1 and v2, raw IP and BSD loopback, over IPv4
    and IPv6. HEP in a capture is unwrapped to the messages in it. Without --to, one JSON object a message is
    written at full speed; with it, messages are sent at the pace of the capture.
    """
    _check(options)
    stop = Stop()
    stop.install()
    pcap = PcapOptions(options["files"], options["ports"], options["bpf"], options["loop"])
    source = PcapSource(pcap)
    stopping = ReplayStop(stop, source, options["drain_timeout"])
    replay = _write if options["endpoint"] is None else _send
    try:
        reader_gone = replay(source, stopping, options)
    except BadFilterError as error:
        raise click.BadParameter(str(error), param_hint="--bpf") from None
    except (InputError, Unwritten):
        _summarize(source)
        raise
    if reader_gone:
        return 0
    _summarize(source)
    if stop.signal_number:
        return 128 + stop.signal_number
    return 1 if source.stats.trouble() else 0


def _check(options: dict[str, Any]) -> None:
    """Refuse what cannot be done, warn of what has no effect."""
    endpoint: Endpoint | None = options["endpoint"]
    version = int(options["hep_version"] or 3)
    if endpoint is None:
        for name in _SENDING:
            if options[name] is not None and options[name] != float("inf"):
                _LOGGER.warning("--%s has no effect without --to", name.replace("_", "-"))
    elif endpoint.host == "*" or endpoint.port != endpoint.last_port or not endpoint.port:
        raise click.BadParameter(f"{endpoint} is not one place to send to", param_hint="--to")
    elif endpoint.protocol == "tls":
        raise click.BadParameter("HEP is sent over udp: or tcp: only", param_hint="--to")
    elif endpoint.protocol == "tcp" and version < 3:
        raise click.BadParameter("tcp: takes version 3 only, 1 and 2 have no length", param_hint="--hep-version")
    if endpoint is not None and options["hook"] is not None:
        raise click.UsageError("--hook is asked about records, and --to sends none")
    if endpoint is not None and version < 3 and options["auth_key"] is not None:
        _LOGGER.warning("--auth-key has no effect with --hep-version %d", version)
    if options["rate"] is not None and options["speed"] is not None:
        raise click.UsageError("--rate and --speed exclude each other")
    if STDIN in options["files"]:
        if options["loop"] > 1:
            raise click.UsageError("stdin can be read once: no --loop with -")
        if os.isatty(0):
            raise click.UsageError("stdin is a terminal; pipe a capture into it")


def _write(source: PcapSource, stopping: ReplayStop, options: dict[str, Any]) -> bool:
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


def _send(source: PcapSource, stopping: ReplayStop, options: dict[str, Any]) -> bool:
    """Send HEP; returns False."""
    key: str | None = options["auth_key"]
    target = HepTarget(
        options["endpoint"],
        int(options["hep_version"] or 3),
        options["capture_id"],
        None if key is None else key.encode(),
        options["now"],
    )
    sink = HepSink(target, source.stats)
    speed: float = options["speed"] or 1.0
    pacer = Pacer(None if speed == float("inf") else speed, options["rate"])
    source.open()
    sink.open()
    with ReplayProgress(source, options["files"], options["loop"], shown=True) as progress:
        replay_to_hep(source, sink, pacer, stopping=stopping, on_tick=progress.update)
    return False


def _summarize(source: PcapSource) -> None:
    """Say what became of every message and packet."""
    counters = source.stats
    _LOGGER.info("%s", counters.summary(), extra={"fields": counters.as_dict()})
    if source.skipped:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(source.skipped.items()))
        text = f"packets without a message: {source.skipped.total()} ({reasons})"
        _LOGGER.info("%s", text, extra={"fields": {"skipped": dict(source.skipped)}})
