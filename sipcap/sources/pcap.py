"""Capture files and pipes as a source: the SIP over UDP and the HEP in them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sipcap.counters import Counters
from sipcap.errors import DecodeError, InputError
from sipcap.sources.pcap_pipe import is_pipe, open_reader
from sipcap.sources.pcap_reader import Packet, PacketReader
from sipcap.wire.detect import is_keep_alive, looks_like_sip
from sipcap.wire.hep import decode_datagram, looks_like_hep
from sipcap.wire.message import Message
from sipcap.wire.packet import Datagram, decode_packet, message_of

_LOGGER = logging.getLogger("sipcap")
_HEP_BEGINS: Final = b"HE\1\2"
"""First bytes of what can be HEP; also "in" for no bytes at all, which is none."""

_MAX_TS_US: Final = (1 << 32) * 1_000_000
"""2106: what 32 bits of seconds hold, in pcap as in HEP."""


@dataclass(frozen=True)
class PcapOptions:
    """What is read.

    Args:
        paths: capture files or pipes; ``-`` is stdin.
        ports: SIP is what has one of these ports; None: what looks like SIP.
        bpf: a capture filter that packets must pass.
        loops: how many times to read all paths, in their order.
    """

    paths: Sequence[str]
    ports: range | None = None
    bpf: str | None = None
    loops: int = 1


class PcapSource:
    """A Source (see ``base.py``) over captures.

    HEP is unwrapped to the messages in it, with their own times; SIP has its packet's time. ``skipped``
    counts, by reason, the packets that hold no message: they are in ``stats.packets`` only.
    """

    def __init__(self, options: PcapOptions) -> None:
        self.stats = Counters()
        self.skipped: Counter[str] = Counter()
        self.packet_times: list[int] = []
        """When the packets of the last batch's messages were captured, microseconds since 1970, one each."""
        self._options = options
        self._reader: PacketReader | None = None
        self._stopping = False
        self._path = options.paths[0]

    @property
    def is_live(self) -> bool:
        """Whether a pipe is being read: then a stop means reading on to its end (design 1.1)."""
        return is_pipe(self._path)

    def open(self) -> None:
        """Open the first capture; the others when their turn comes, and so the first, too, if it cannot be read."""
        try:
            self._reader = open_reader(self._path, self._options.bpf)
        except InputError:
            if len(self._options.paths) == 1:
                raise

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield the messages of all captures, in their order; see Source.

        A capture that cannot be read to its end is said, and keeps no other from being read.

        Raises:
            InputError: at the end; a capture is none, cut short, or of a link type without IP.
        """
        failure: InputError | None = None
        for path in [path for _ in range(self._options.loops) for path in self._options.paths]:
            try:
                yield from self._read_capture(path)
            except InputError as error:
                if failure is not None:
                    _LOGGER.warning("%s", failure)
                failure = error
            self.close()
            if self._stopping:
                break
        if failure is not None:
            raise failure

    def _read_capture(self, path: str) -> Iterator[list[Message]]:
        self._path = path
        reader = self._reader or open_reader(path, self._options.bpf)
        self._reader = reader
        while not self._stopping and (packets := reader.read()) is not None:
            yield self._decode(packets, reader)

    def stop(self) -> None:
        """Take in nothing new."""
        self._stopping = True

    def close(self) -> None:
        """Close the capture that is open."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _decode(self, packets: list[Packet], reader: PacketReader) -> list[Message]:
        """Make messages of packets: the hot loop."""
        link, bpf, ports = reader.link, reader.bpf, self._options.ports
        messages: list[Message] = []
        times: list[int] = []
        skipped = self.skipped
        size = 0
        for header, data in packets:
            size += len(data)
            if bpf is not None and not bpf.offline_filter(header, data):
                skipped["bpf"] += 1
                continue
            try:
                datagram = decode_packet(data, link)
            except DecodeError as error:
                skipped[error.reason] += 1
                continue
            # Exact: a double has 53 bits, microseconds until 2106 need 52. 0 would say "no time".
            ts_us = int(header.ts * 1_000_000 + 0.5) or 1
            payload = datagram.payload
            # HEP first: what length and addresses look like between "HEP3" and a request line is anybody's guess.
            if payload[:1] in _HEP_BEGINS and looks_like_hep(payload):
                if self._is_whole(datagram, ts_us):
                    self._unwrap(datagram, ts_us, messages)
                    times.extend([ts_us] * (len(messages) - len(times)))
            elif not (looks_like_sip(payload) if ports is None else _is_on(ports, datagram)):
                skipped["other" if ports is None else "ports"] += 1
            elif self._is_whole(datagram, ts_us):
                messages.append(message_of(datagram, link, ts_us))
                times.append(ts_us)
        self.packet_times = times
        self.stats.received += len(messages)
        self.stats.packets += len(packets)
        self.stats.bytes += size
        return messages

    def _is_whole(self, datagram: Datagram, ts_us: int) -> bool:
        """Count a SIP or HEP datagram that cannot be made messages of, or lacks its end."""
        if not datagram.is_fragment and not datagram.missing and 0 < ts_us < _MAX_TS_US:
            return True
        if datagram.is_fragment or not 0 < ts_us < _MAX_TS_US:
            self.stats.received += 1
            self.stats.rejected["fragment" if datagram.is_fragment else "time"] += 1
            return False
        self.stats.truncated += 1
        return True

    def _unwrap(self, datagram: Datagram, ts_us: int, messages: list[Message]) -> None:
        """Append the messages of a HEP datagram, those that the port filter lets through."""
        inner: list[Message] = []
        stats = self.stats
        try:
            decode_datagram(datagram.payload, inner, ts_us)
        except DecodeError as error:
            stats.received += 1
            stats.rejected[error.reason] += 1
        ports = self._options.ports
        for message in inner:
            message.ts_us = message.ts_us or ts_us
            if ports is None or any(
                port in ports
                for port in (
                    message.source_port, message.destination_port, datagram.source_port, datagram.destination_port,
                )
            ):  # fmt: skip
                messages.append(message)
            else:
                stats.received += 1
                stats.filtered["ports"] += 1


def _is_on(ports: range, datagram: Datagram) -> bool:
    """Whether a datagram is SIP by its ports; one that only keeps a NAT binding open is no message."""
    return (datagram.source_port in ports or datagram.destination_port in ports) and not is_keep_alive(datagram.payload)
