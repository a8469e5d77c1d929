"""Records as captures: each message in packets of the protocol that carried it."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import UNSET

from sipcap.exporting.record_message import message_of_record
from sipcap.limits import HEP_PORT
from sipcap.record import Record, ReportRecord, SipRecord, message_bytes
from sipcap.wire.address import ip_packed
from sipcap.wire.connection_encode import Connections
from sipcap.wire.frame_encode import ETHERNET, RAW, Way, frame, natural_link, udp_packet
from sipcap.wire.hep_encode import EncodeError, encode_hep
from sipcap.wire.media_reports import RTCP_PAYLOAD
from sipcap.wire.pcap_encode import pcap_header, pcap_record, pcapng_header, pcapng_interface, pcapng_packet
from sipcap.wire.rtcp_encode import encode_rtcp

_MAPPED: Final = bytes(10) + b"\xff\xff"
_UNKNOWN: Final = bytes(4)
_TCP_LIKE: Final = frozenset({2, 3})  # TLS goes out as the TCP it was inside
_WEBSOCKET: Final = frozenset({5, 6})
_SCTP: Final = 4
_COLLECTOR: Final = Way(bytes((127, 0, 0, 1)), HEP_PORT, bytes((127, 0, 0, 1)), HEP_PORT)

Packets = list[tuple[Way, bytes]]


class PacketMaker:
    """Makes the IP packets of records.

    SIP goes out as it was on the wire, between its own addresses, and so does RTCP that was captured. Any other report
    has no wire form of its own and becomes a HEP packet.

    Args:
        keep_hep: what came as HEP becomes HEP again, with all that its envelope says.
    """

    def __init__(self, *, keep_hep: bool = False) -> None:
        self._keep_hep = keep_hep
        self._connections = Connections()

    def check(self, record: Record) -> Way:
        """The way of a record's packets; all that can be wrong with it shows here, before a connection counts it.

        Raises:
            EncodeError: ``time``, ``address``, ``mac``, ``vlan``, or ``field`` for a number that no header holds.
        """
        way = _COLLECTOR if self._is_hep(record) else way_of(record)
        frame(pcap_record(record.micro_ts, b""), way, natural_link(way))
        return way

    def packets(self, record: Record) -> Packets:
        """The IP packets of one record, each with its way.

        Raises:
            EncodeError: ``too_big``, a reason of ``check``, or one of ``encode_hep``.
        """
        if isinstance(record, ReportRecord) and is_rtcp(record):
            way = way_of(record)
            return [(way, udp_packet(rtcp_of(record), way))]
        if self._is_hep(record):
            message = message_of_record(record)
            data = encode_hep(message, message.hep_version if message.hep_version in (1, 2) else 3)
            return [(_COLLECTOR, udp_packet(data, _COLLECTOR))]
        way, payload = way_of(record), message_bytes(record)
        if record.proto in _TCP_LIKE:
            return self._connections.tcp(payload, way)
        if record.proto in _WEBSOCKET:
            return self._connections.websocket(payload, way)
        if record.proto == _SCTP:
            return self._connections.sctp(payload, way)
        return [(way, udp_packet(payload, way))]

    def _is_hep(self, record: Record) -> bool:
        if isinstance(record, ReportRecord) and is_rtcp(record):
            return False
        return not isinstance(record, SipRecord) or (self._keep_hep and record.hep_version is not UNSET)


def is_rtcp(record: ReportRecord) -> bool:
    """Whether a report is RTCP that was captured as such: no HEP agent sent its JSON."""
    return record.payload_type == RTCP_PAYLOAD and record.hep_version is UNSET


def rtcp_of(record: ReportRecord) -> bytes:
    """The RTCP packets of a report; raises EncodeError: ``rtcp``."""
    try:
        values = msgspec.json.decode(record.msg)
    except (msgspec.DecodeError, RecursionError):
        raise EncodeError("rtcp") from None
    if not isinstance(values, dict):
        raise EncodeError("rtcp")
    return encode_rtcp(values)


def way_of(record: Record) -> Way:
    """Read the addresses of a record; one that is not known is 0.0.0.0.

    Raises:
        EncodeError: ``address``, or ``field`` for a number that no header holds.
    """
    try:
        source = ip_packed(record.source_ip) if record.source_ip else _UNKNOWN
        destination = ip_packed(record.destination_ip) if record.destination_ip else _UNKNOWN
    except ValueError:
        raise EncodeError("address") from None
    if len(source) != len(destination):  # HEP allows such a pair (spec 2.7), IP does not
        source, destination = _as_ip6(source), _as_ip6(destination)
    tos = _number(record.tos)
    if not (0 <= record.source_port < 65_536 and 0 <= record.destination_port < 65_536 and 0 <= tos < 256):
        raise EncodeError("field")
    return Way(
        source, record.source_port, destination, record.destination_port, _text(record.source_mac),
        _text(record.destination_mac), _number(record.vlan), tos,
    )  # fmt: skip


def _as_ip6(packed: bytes) -> bytes:
    return packed if len(packed) == 16 else _MAPPED + packed


def _number(value: Any) -> int:
    return 0 if value is UNSET else int(value)


def _text(value: Any) -> str:
    return "" if value is UNSET else str(value)


class PcapExporter:
    """A pcap file with microseconds; see Exporter.

    Such a file has one link type: Ethernet if the first record has MACs, Linux cooked if it has the sender's alone
    or a VLAN, else raw IP. ``reduced`` counts records whose MACs or VLAN it has no room for.
    """

    def __init__(self, maker: PacketMaker) -> None:
        self._maker = maker
        self._link = -1
        self.reduced = 0

    def begin(self) -> bytes:
        """Nothing yet: the first record says which link type it is."""
        return b""

    def end(self) -> bytes:
        """The header, if no record came."""
        return pcap_header(ETHERNET) if self._link < 0 else b""

    def add(self, record: Record) -> bytes:
        """The packets of one record, before the first the file's header."""
        natural = natural_link(self._maker.check(record))
        link = natural if self._link < 0 else self._link
        packets = self._maker.packets(record)
        data = b"".join(pcap_record(record.micro_ts, frame(packet, way, link)) for way, packet in packets)
        if natural not in (RAW, link) and link != ETHERNET:
            self.reduced += 1
        if self._link < 0:
            self._link = link
            return pcap_header(link) + data
        return data


class PcapngExporter:
    """A pcapng file with an interface for each link type, so that no record loses or gains anything; see Exporter."""

    def __init__(self, maker: PacketMaker) -> None:
        self._maker = maker
        self._interfaces: dict[int, int] = {}
        self.reduced = 0

    def begin(self) -> bytes:
        """The section header."""
        return pcapng_header()

    def end(self) -> bytes:
        """Nothing."""
        return b""

    def add(self, record: Record) -> bytes:
        """The packets of one record, before the first of a link type the description of its interface."""
        link = natural_link(self._maker.check(record))
        packets = self._maker.packets(record)
        parts = []
        if link not in self._interfaces:
            self._interfaces[link] = len(self._interfaces)
            parts.append(pcapng_interface(link))
        interface = self._interfaces[link]
        parts += [pcapng_packet(interface, record.micro_ts, frame(packet, way, link)) for way, packet in packets]
        return b"".join(parts)
