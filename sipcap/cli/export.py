"""``sipcap export``: NDJSON to a capture file, a HEP stream or text."""

from __future__ import annotations

import logging
import os
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from sipcap.cli.options import common_options, drain_option
from sipcap.counters import Counters
from sipcap.errors import CannotStart, InputError
from sipcap.exporting.base import Exporter
from sipcap.exporting.export import Export
from sipcap.exporting.hep import HepExporter
from sipcap.exporting.pcap import PacketMaker, PcapExporter, PcapngExporter
from sipcap.exporting.reading import RecordReader
from sipcap.exporting.text import TextExporter
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")
_FORMS: Final = ("pcap", "pcapng", "hep", "text")
_FORM_OF_SUFFIX: Final = {".pcap": "pcap", ".cap": "pcap", ".pcapng": "pcapng", ".hep": "hep", ".txt": "text"}
_STDOUT: Final = "-"

_EPILOG = """\b
EXAMPLES
    $ sipcap search --callid abc@host | sipcap export --to call.pcap
    $ sipcap search --since -1h | sipcap export --as pcap | tshark -r - -q -z sip,stat
    $ sipcap search --callid abc@host | sipcap export --as text | less
    $ sipcap export night.ndjson --as hep | nc -N collector 9060

\b
FORMS
    pcap    one link type for the whole file: Ethernet if the first record has MACs, Linux cooked if it has the
            sender's alone or a VLAN, else raw IP
    pcapng  an interface for each link type, so that every record keeps just what it has
    hep     HEPv3 frames one behind the other, as over TCP
    text    a line with time, protocol and addresses, then the message
    TCP, WebSocket and SCTP go back as connections, from their handshake on; TLS as the TCP that was inside.
    RTCP that was captured goes back as RTCP; any other report has no packet of its own and becomes HEP to port 9060."""


@click.command("export", epilog=_EPILOG)
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True), metavar="[FILE]...",
                help="NDJSON files; - or none for stdin.")  # fmt: skip
@click.option("--to", "output", default=_STDOUT, show_default=True, metavar="FILE|-",
              type=click.Path(dir_okay=False, allow_dash=True),
              help="Where to write; a file is written anew.")  # fmt: skip
@click.option("--as", "form", type=click.Choice(_FORMS),
              help="What to write.  [default: what the name of the file says, else pcap]")  # fmt: skip
@click.option("--keep-hep", is_flag=True, help="In captures, what came as HEP becomes HEP again, with its envelope.")
@drain_option
@common_options
def command(**options: Any) -> int:
    """Export NDJSON records as packets, HEP or text.

    SIP becomes the packets that it was: addresses, ports, MACs, VLAN and the time to the microsecond are those of
    the record. Records that the form cannot carry are counted and named, and the exit code is 1.
    """
    stop = Stop()
    stop.install()
    form = options["form"] or _FORM_OF_SUFFIX.get(Path(options["output"]).suffix.lower(), "pcap")
    if options["keep_hep"] and not form.startswith("pcap"):
        raise click.UsageError(f"--keep-hep is for captures, not for {form}")
    exporter = _exporter(form, keep_hep=options["keep_hep"])
    fd = _open_output(options["output"], form)
    counters = Counters()
    reader = RecordReader(counters)
    try:
        _export(reader, Export(exporter, fd, counters), options["files"] or (_STDOUT,), _Stopping(stop, options))
    except BrokenPipeError:
        if options["output"] == _STDOUT:
            raise
    finally:
        _LOGGER.info("%s", counters.summary(), extra={"fields": counters.as_dict()})
    if isinstance(exporter, PcapExporter) and exporter.reduced:
        _LOGGER.warning("%d message(s) have MACs or a VLAN that this pcap has no room for: --as pcapng keeps them",
                        exporter.reduced)  # fmt: skip
    if not reader.is_whole:
        return 128 + stop.signal_number
    return 1 if counters.trouble() else 0


def _exporter(form: str, *, keep_hep: bool) -> Exporter:
    if form == "pcap":
        return PcapExporter(PacketMaker(keep_hep=keep_hep))
    if form == "pcapng":
        return PcapngExporter(PacketMaker(keep_hep=keep_hep))
    return HepExporter() if form == "hep" else TextExporter()


def _open_output(name: str, form: str) -> int:
    if name == _STDOUT:
        if form != "text" and sys.stdout.isatty():
            raise click.UsageError(f"{form} is no text for a terminal: --to FILE, or a pipe")
        return sys.stdout.fileno()
    try:
        # Captured data is for its owner alone (design 1.1).
        return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotStart(f"{name}: cannot be written: {error.strerror}") from None


def _export(reader: RecordReader, export: Export, names: Sequence[str], stopping: _Stopping) -> None:
    """Write the records of all inputs, also those before one that cannot be read."""
    try:
        for name in names:
            fd = sys.stdin.fileno() if name == _STDOUT else _open_input(name)
            stopping.is_reading_pipe = not stat.S_ISREG(os.fstat(fd).st_mode) and not os.isatty(fd)
            if os.isatty(fd):
                _LOGGER.info("reading NDJSON from the terminal; end with Ctrl-D")
            export.write(reader.read(fd, "stdin" if name == _STDOUT else name, stopping))
    finally:
        export.close()


def _open_input(name: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None


class _Stopping:
    """A stopped command reads a pipe on to its end, for the time to drain at most (design 1.1)."""

    def __init__(self, stop: Stop, options: dict[str, Any]) -> None:
        self._stop = stop
        self._drain_s: float = options["drain_timeout"]
        self._until_s = 0.0
        self.is_reading_pipe = False

    def __call__(self) -> bool:
        if not self._stop.requested:
            return False
        now_s = time.monotonic()
        self._until_s = self._until_s or now_s + self._drain_s
        return not self.is_reading_pipe or now_s >= self._until_s
