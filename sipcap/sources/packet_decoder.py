"""Captured packets to the messages in them: what files and live captures have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from typing import Final, NamedTuple

from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.wire.detect import is_keep_alive, looks_like_sip
from sipcap.wire.hep import attach_frames, decode_datagram, looks_like_hep
from sipcap.wire.link import LinkType
from sipcap.wire.message import Message
from sipcap.wire.packet import Datagram, decode_packet, message_of

_HEP_BEGINS: Final = b"HE\1\2"
"""First bytes of what can be HEP; also "in" for no bytes at all, which is none."""

_MAX_TS_US: Final = (1 << 32) * 1_000_000
"""2106: what 32 bits of seconds hold, in pcap as in HEP."""


class Packet(NamedTuple):
    """One captured frame: its time in microseconds since 1970 UTC, its bytes, and how it begins."""

    ts_us: int
    data: bytes
    link: LinkType


class PacketDecoder:
    """Turns captured packets into messages.

    HEP is unwrapped to the messages in it, with their own times; SIP has its packet's time.

    Args:
        stats: ``packets``, ``bytes``, ``received``, ``rejected``, ``filtered``, ``truncated`` are counted here.
        skipped: counts, by reason, the packets that hold no message: they are in ``stats.packets`` only.
        ports: SIP is what has one of these ports; None: what looks like SIP.
    """

    def __init__(self, stats: Counters, skipped: Counter[str], ports: Container[int] | None = None) -> None:
        self._stats = stats
        self._skipped = skipped
        self._ports = ports
        self.packet_times: list[int] = []
        """When the packets of the last batch's messages were captured, microseconds since 1970, one each."""

    def decode(self, packets: Sequence[Packet]) -> list[Message]:
        """Make messages of packets: the hot loop."""
        ports = self._ports
        messages: list[Message] = []
        times: list[int] = []
        skipped = self._skipped
        size = 0
        for ts_us, data, link in packets:
            size += len(data)
            try:
                datagram = decode_packet(data, link)
            except DecodeError as error:
                skipped[error.reason] += 1
                continue
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
        self._stats.received += len(messages)
        self._stats.packets += len(packets)
        self._stats.bytes += size
        return messages

    def _is_whole(self, datagram: Datagram, ts_us: int) -> bool:
        """Count a SIP or HEP datagram that cannot be made messages of, or lacks its end."""
        if not datagram.is_fragment and not datagram.missing and 0 < ts_us < _MAX_TS_US:
            return True
        if datagram.is_fragment or not 0 < ts_us < _MAX_TS_US:
            self._stats.received += 1
            self._stats.rejected["fragment" if datagram.is_fragment else "time"] += 1
            return False
        self._stats.truncated += 1
        return True

    def _unwrap(self, datagram: Datagram, ts_us: int, messages: list[Message]) -> None:
        """Append the messages of a HEP datagram, those that the port filter lets through."""
        inner: list[Message] = []
        stats = self._stats
        try:
            decode_datagram(datagram.payload, inner, ts_us)
        except DecodeError as error:
            stats.received += 1
            stats.rejected[error.reason] += 1
        attach_frames(datagram.payload, inner)
        ports = self._ports
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


def _is_on(ports: Container[int], datagram: Datagram) -> bool:
    """Whether a datagram is SIP by its ports; one that only keeps a NAT binding open is no message."""
    return (datagram.source_port in ports or datagram.destination_port in ports) and not is_keep_alive(datagram.payload)
