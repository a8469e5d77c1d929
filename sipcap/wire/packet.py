"""What IP packets carry, to UDP datagrams and messages."""

from __future__ import annotations

import struct
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from sipcap.compiled import twins
from sipcap.errors import DecodeError
from sipcap.wire.address import ip_text
from sipcap.wire.hep3 import AF_INET, AF_INET6
from sipcap.wire.ip import UDP, UDP_LITE
from sipcap.wire.link import USUAL_FORMS, LinkType, link_fields
from sipcap.wire.message import Message

if TYPE_CHECKING:
    from sipcap.compiled.native import UsualPackets

_PORTS = struct.Struct(">HHH").unpack_from
_UDP_HEADER: Final = 8

# Nearly all SIP comes in whole IPv4 packets without options: version, TOS, total length, id, fragment field, TTL,
# protocol, checksum, addresses; ports, length, checksum. One unpack instead of three functions saves 2 µs of 3.
_USUAL = struct.Struct(">BBH2xHxB2x4s4sHHH2x")
_unpack_usual = _USUAL.unpack_from
_USUAL_BYTES: Final = _USUAL.size


class Carried(Struct, gc=False):
    """What the innermost IP packet of a frame carries; ``data`` is all of its payload that is there.

    Addresses are packed and the innermost packet's, as ``tos`` is. ``missing`` is the number of payload bytes that
    the capture has cut off behind ``data``. ``header`` is everything before the frame's first IP packet.
    ``scope`` tells apart networks that may use the same addresses: it differs between VLANs and between tunnels.
    ``depth`` counts the packets around this one.
    """

    protocol: int
    source: bytes
    destination: bytes
    tos: int
    data: bytes
    missing: int
    header: bytes
    scope: bytes
    depth: int


class Datagram(Struct, gc=False):
    """One UDP datagram, or one user message of SCTP, as it was captured.

    The fields are those of ``Carried``; an empty ``scope`` is one that nobody has looked up yet.
    """

    payload: bytes
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    header: bytes
    tos: int
    missing: int = 0
    protocol: int = UDP
    scope: bytes = b""
    depth: int = 0


def decode_usual(data: bytes, offset: int) -> Datagram | None:
    """Decode a whole UDP datagram in an IPv4 packet without options.

    Args:
        data: the bytes of a frame that were captured.
        offset: where its IP packet begins.

    Returns:
        The datagram, or None for all other packets.
    """
    if len(data) - offset >= _USUAL_BYTES:
        (first, tos, total, fragment, protocol, source, destination, source_port, destination_port,
         length) = _unpack_usual(data, offset)  # fmt: skip
        end = offset + total
        # 0x3FFF: more fragments, or not the first one. All bytes there, and none but UDP's in the packet.
        if first == 0x45 and protocol == UDP and not fragment & 0x3FFF and length == total - 20 and end <= len(data):
            payload = data[offset + 28 : end]
            return Datagram(payload, source, source_port, destination, destination_port, data[:offset], tos)
    return None


def usual_packets(ports: Container[int] | None, tunnels: Iterable[int]) -> UsualPackets | None:
    """Make the compiled twin of ``decode_usual`` and ``message_of``, with all that lies between them.

    Args:
        ports: those of SIP; None: SIP is told by its content.
        tunnels: ports of UDP behind which are tunnels, which it leaves to the reference.

    Returns:
        None if nobody has compiled it, or if the ports can only be asked for.
    """
    module = twins()
    if module is None or not (ports is None or isinstance(ports, (range, frozenset))):
        return None
    found: UsualPackets = module.UsualPackets(Message, USUAL_FORMS, ip_text, link_fields, ports, tunnels)
    return found


def decode_udp(carried: Carried) -> Datagram:
    """Decode UDP (RFC 768) and UDP-Lite (RFC 3828).

    Raises:
        DecodeError: ``short``, ``udp_length``.
    """
    data = carried.data
    if len(data) < _UDP_HEADER:
        raise DecodeError("short" if carried.missing else "udp_length")
    source_port, destination_port, length = _PORTS(data)
    whole = len(data) + carried.missing
    if carried.protocol == UDP_LITE:
        length = whole  # the field is how much the checksum covers
    # 0: longer than 65535 or left to the network card (RFC 2675); more than IP carries: IP is right.
    length = min(length or whole, whole)
    if length < _UDP_HEADER:
        raise DecodeError("udp_length")
    payload = data[_UDP_HEADER:length]
    return Datagram(
        payload, carried.source, source_port, carried.destination, destination_port, carried.header, carried.tos,
        length - _UDP_HEADER - len(payload), UDP, carried.scope, carried.depth,
    )  # fmt: skip


def message_of(datagram: Datagram, link: LinkType, ts_us: int) -> Message:
    """Make the message of a SIP datagram.

    Args:
        datagram: UDP or SCTP.
        link: the link type of its frame.
        ts_us: the packet's time, microseconds since 1970 UTC.
    """
    return Message(
        datagram.payload,
        ts_us,
        ip_text(datagram.source),
        datagram.source_port,
        ip_text(datagram.destination),
        datagram.destination_port,
        datagram.protocol,
        AF_INET if len(datagram.source) == 4 else AF_INET6,
        extra=link_fields(link, datagram.header, datagram.tos).copy(),
    )
