"""Captured packets to the messages in them: what files and live captures have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from typing import Final

from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.sources.passed_over import TcpCounts
from sipcap.wire.detect import is_keep_alive, looks_like_sip
from sipcap.wire.hep import attach_frames, decode_datagram, looks_like_hep
from sipcap.wire.ip import PROTOCOL_REASONS, SCTP, TCP, UDP, UDP_LITE
from sipcap.wire.link import LinkType, link_fields
from sipcap.wire.media_reports import MediaReports
from sipcap.wire.message import Message
from sipcap.wire.packet import Carried, Datagram, decode_udp, decode_usual, message_of, usual_packets
from sipcap.wire.rtcp import looks_like_rtcp
from sipcap.wire.sctp import SctpMessages
from sipcap.wire.stream_messages import StreamMessages
from sipcap.wire.tcp import Segment, decode_tcp, decode_usual_segment
from sipcap.wire.tunnels import UDP_TUNNELS, udp_tunnel
from sipcap.wire.unwrap import Unwrapper, beginnings

_HEP_BEGINS: Final = b"HE\1\2"
"""First bytes of what can be HEP; also "in" for no bytes at all, which is none."""

_ONLY_IN_TUNNELS: Final = frozenset(("arp", "extension", "fragment_length", "nested"))
"""Reasons for which there is no message in a tunnel over UDP, and which random bytes hardly give."""

_MAX_TS_US: Final = (1 << 32) * 1_000_000
"""2106: what 32 bits of seconds hold, in pcap as in HEP."""


Packet = tuple[int, bytes, LinkType]
"""One captured frame: its time in microseconds since 1970 UTC, its bytes, and how it begins.

A plain tuple: to make an object of a class takes three times as long.
"""


class PacketDecoder:
    """Turns captured packets into messages.

    HEP is unwrapped to the messages in it, with their own times; SIP has its packet's time: of a message in
    several packets, the time of the one that made it whole.

    Args:
        stats: ``packets``, ``bytes``, ``received``, ``rejected``, ``filtered``, ``truncated`` are counted here.
        skipped: counts, by reason, the packets that hold no message: they are in ``stats.packets`` only.
        ports: SIP is what has one of these ports; None: what looks like SIP.
        tcp: counts the packets of TCP, and what their connections were.
    """

    def __init__(
        self, stats: Counters, skipped: Counter[str], ports: Container[int] | None = None, tcp: TcpCounts | None = None
    ) -> None:
        self._stats = stats
        self._skipped = skipped
        self._tcp = TcpCounts() if tcp is None else tcp
        self._ports = ports
        self._unwrapper = Unwrapper()
        self._sctp = SctpMessages()
        self._streams = StreamMessages(ports)
        self._reports = MediaReports()
        self.last_us = 0
        """The time of the last packet, microseconds since 1970; 0 = there was none."""
        self._messages: list[Message] = []
        self._related = 0  # so many of them are tied to their calls
        self._usual = usual_packets(ports, UDP_TUNNELS)
        self.packet_times: list[int] = []
        """When the packets of the last batch's messages were captured, microseconds since 1970, one each."""

    def decode(self, packets: Sequence[Packet]) -> list[Message]:
        """Make messages of packets: the hot loop."""
        messages = self._messages
        times: list[int] = []
        if self._usual is not None:
            size, others = self._usual.decode(packets, messages, times, self._decode_one)
            if others:
                self._skipped["other" if self._ports is None else "ports"] += others
        else:
            size = sum(len(packet[1]) for packet in packets)
            for ts_us, data, link in packets:
                self._decode_one(ts_us, data, link, times)
        self._stats.packets += len(packets)
        self._stats.bytes += size
        if packets:
            self.last_us = packets[-1][0]
            self._expire(self.last_us)
            times.extend([self.last_us] * (len(messages) - len(times)))
        return self._hand_over(times)

    def _decode_one(self, ts_us: int, data: bytes, link: LinkType, times: list[int]) -> None:
        """Take a packet, and append its time to ``times`` for each message that it completes; the reference."""
        try:
            offset = link.header_bytes(data)
            datagram = decode_usual(data, offset)
            if datagram is not None:
                reason = self._take_datagram(datagram, link, ts_us)
            elif (segment := decode_usual_segment(data, offset, link, ts_us)) is not None:
                reason = self._take_segment(segment)
            else:
                reason = self._take(self._unwrapper.frame(data, offset, link, ts_us), link, ts_us)
        except DecodeError as error:
            reason = error.reason
        if reason:
            self._skipped[reason] += 1
            return
        while len(self._messages) > len(times):
            times.append(ts_us)

    def expire(self, ts_us: int) -> list[Message]:
        """Give up what has waited too long for the rest of it.

        Args:
            ts_us: the time of now; for who has no packets that tell it.

        Returns:
            Messages that are as whole as they will ever be.
        """
        self._expire(ts_us)
        return self._hand_over([ts_us] * len(self._messages))

    def finish(self) -> list[Message]:
        """Give up everything that is not whole, and return what comes of it: no packet will follow these.

        Packets of another capture may come then.
        """
        self._unwrapper.fragments.finish()
        self._sctp.finish()
        self._count_lost()
        self._messages += self._streams.finish()
        return self._hand_over([self.last_us] * len(self._messages))

    def _hand_over(self, times: list[int]) -> list[Message]:
        self._relate()
        messages, self._messages, self._related = self._messages, [], 0
        self.packet_times = times
        self._stats.received += len(messages)
        self._count_streams()
        return messages

    def _expire(self, ts_us: int) -> None:
        if 0 < ts_us < _MAX_TS_US:
            self._unwrapper.fragments.expire(ts_us)
            self._sctp.expire(ts_us)
            self._messages += self._streams.expire(ts_us)
        self._count_lost()

    def _count_lost(self) -> None:
        """Count everything that has never become whole: a message, if its beginning says so."""
        lost = self._unwrapper.fragments.lost
        for each in lost:
            seen = () if each.beginning is None else beginnings(each.beginning)
            self._count_pieces(each.reason, each.pieces, is_message=any(map(self._was_message, seen)))
        lost.clear()
        for reason, beginning in self._sctp.lost:
            is_message = beginning is not None and self._was_message(beginning)
            self._count_pieces(reason, 1, is_message=is_message)
        self._sctp.lost.clear()

    def _count_pieces(self, reason: str, pieces: int, *, is_message: bool) -> None:
        if is_message:
            self._stats.received += 1
            self._stats.rejected[reason] += 1
            pieces -= 1
        if pieces:
            self._skipped[reason] += pieces

    def _was_message(self, beginning: Datagram) -> bool:
        payload = beginning.payload
        return looks_like_hep(payload) or (
            looks_like_sip(payload) if self._ports is None else _is_on(self._ports, beginning)
        )

    def _take(self, carried: Carried | None, link: LinkType, ts_us: int) -> str:
        """Take what an innermost IP packet carries.

        Returns:
            Why that is no message; "" if it is one, or a part of one. So do all that take.

        Raises:
            DecodeError: it cannot be read; its reason says why.
        """
        if carried is None:
            return ""
        protocol = carried.protocol
        if protocol in (UDP, UDP_LITE):
            return self._take_datagram(decode_udp(carried), link, ts_us)
        if protocol == TCP:
            fields = link_fields(link, carried.header, carried.tos)
            return self._take_segment(decode_tcp(carried, ts_us, fields))
        if protocol == SCTP:
            reasons = [self._take_datagram(each, link, ts_us) for each in self._sctp.receive(carried, ts_us)]
            return "" if "" in reasons or not reasons else reasons[0]
        return PROTOCOL_REASONS.get(protocol, "protocol")

    def _take_segment(self, segment: Segment) -> str:
        """Put a TCP segment into its stream."""
        if not 0 < segment.ts_us < _MAX_TS_US:
            return "time"
        self._tcp.packets += 1
        self._messages += self._streams.receive(segment)
        return ""

    def _count_streams(self) -> None:
        """Take over what the streams have counted."""
        streams, stats = self._streams, self._stats
        stats.truncated += streams.truncated
        streams.truncated = 0
        if streams.rejected or streams.filtered:
            stats.received += streams.rejected.total() + streams.filtered.total()
            stats.rejected.update(streams.rejected)
            stats.filtered.update(streams.filtered)
            streams.rejected.clear()
            streams.filtered.clear()
        if streams.skipped:
            self._tcp.add(streams.skipped)
            streams.skipped.clear()

    def _take_datagram(self, datagram: Datagram, link: LinkType, ts_us: int) -> str:
        payload = datagram.payload
        ports = self._ports
        # HEP first: what length and addresses look like between "HEP3" and a request line is anybody's guess.
        if payload[:1] in _HEP_BEGINS and looks_like_hep(payload):
            if self._is_counted(datagram, ts_us):
                self._unwrap_hep(datagram, ts_us)
        elif looks_like_sip(payload) if ports is None else _is_on(ports, datagram):
            if self._is_counted(datagram, ts_us):
                self._messages.append(message_of(datagram, link, ts_us))
        else:
            return self._take_other(datagram, link, ts_us)
        return ""

    def _take_other(self, datagram: Datagram, link: LinkType, ts_us: int) -> str:
        """Take a datagram that is neither SIP nor HEP: RTCP, or a tunnel."""
        if looks_like_rtcp(datagram.payload) and self._take_rtcp(message_of(datagram, link, ts_us), datagram):
            return ""
        reason = "other" if self._ports is None else "ports"
        tunnel = udp_tunnel(datagram.source_port, datagram.destination_port)
        if tunnel is None or datagram.protocol != UDP:
            return reason
        try:
            carried = self._unwrapper.tunnel(datagram, tunnel, link, ts_us)
        except DecodeError as error:
            # Mostly not the tunnel that its ports say: a datagram like any other.
            return error.reason if error.reason in _ONLY_IN_TUNNELS else reason
        return self._take(carried, link, ts_us)

    def _take_rtcp(self, message: Message, datagram: Datagram) -> bool:
        """Take RTCP; false if it is none, or if a port filter is set that neither its ports nor a call let it pass."""
        ports = self._ports
        wanted = ports is None or message.source_port in ports or message.destination_port in ports
        if not wanted:
            self._relate()  # the call may stand before it in the same batch
        if not (wanted or self._reports.media.knows(message)) or not self._reports.report(message):
            return False
        if self._is_counted(datagram, message.ts_us):
            self._messages.append(message)
        return True

    def _relate(self) -> None:
        """Tie what there is of the batch to its calls."""
        new = self._messages[self._related :] if self._related else self._messages
        self._reports.relate(new)
        self._related = len(self._messages)

    def _is_counted(self, datagram: Datagram, ts_us: int) -> bool:
        """Count a SIP or HEP datagram that lacks its end, or (False) that has a time which no row can hold."""
        if not has_time(ts_us, self._stats):
            return False
        if datagram.missing:
            self._stats.truncated += 1
        return True

    def _unwrap_hep(self, datagram: Datagram, ts_us: int) -> None:
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
                self._messages.append(message)
            else:
                stats.received += 1
                stats.filtered["ports"] += 1


def has_time(ts_us: int, stats: Counters) -> bool:
    """Count a message whose packet has a time which no row can hold (False)."""
    if 0 < ts_us < _MAX_TS_US:
        return True
    stats.received += 1
    stats.rejected["time"] += 1
    return False


def _is_on(ports: Container[int], datagram: Datagram) -> bool:
    """Whether a datagram is SIP by its ports; one that only keeps a NAT binding open is no message."""
    return (datagram.source_port in ports or datagram.destination_port in ports) and not is_keep_alive(datagram.payload)
