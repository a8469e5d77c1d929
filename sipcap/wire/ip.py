"""IPv4 and IPv6 headers to the payload that they carry.

Source: RFC 791, RFC 8200. Checksums are not checked: captures taken on the sending host hold packets
whose checksums the network card fills in later.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from sipcap.errors import DecodeError

UDP: Final = 17
TCP: Final = 6
_TUNNELS: Final = frozenset((4, 41))  # IPv4 and IPv6 inside IP (RFC 2003, RFC 4213)

MAX_NESTED: Final = 4
"""IP packets inside each other; two are usual (IPIP mirror)."""

MAX_EXTENSION_HEADERS: Final = 8
"""RFC 8200 section 4.1 knows seven, each once, but for destination options."""

PROTOCOL_REASONS: Final = {
    1: "icmp", 2: "igmp", 6: "tcp", 47: "gre", 50: "esp", 58: "icmp", 59: "no_payload", 89: "ospf",
    103: "pim", 112: "vrrp", 132: "sctp",
}  # fmt: skip
"""IANA protocol numbers as reasons; any other is ``protocol``."""

_IP4 = struct.Struct(">BBHHHBBH4s4s").unpack_from
_IP6 = struct.Struct(">IHBB16s16s").unpack_from
_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51
_EXTENSIONS: Final = frozenset((0, 43, _FRAGMENT, _AUTHENTICATION, 60, 135, 139, 140))


class IpPacket(NamedTuple):
    """One IP packet: ``data[begin:end]`` is what is there of its payload.

    ``missing`` is the number of payload bytes that the capture has cut off. Addresses are packed.
    ``fragment_offset`` counts bytes; a whole packet has 0 and no ``more``.
    """

    protocol: int
    source: bytes
    destination: bytes
    tos: int
    begin: int
    end: int
    missing: int
    fragment_offset: int
    more: bool


def decode_ip(data: bytes, offset: int) -> IpPacket:
    """Decode the IP packet at ``offset``, and the one inside it if it is IP in IP.

    Args:
        data: a captured frame, perhaps cut short; padding behind the packet is left out.
        offset: where the IP header begins.

    Raises:
        DecodeError: ``short`` (no whole header), ``ip_version``, ``ip_length`` (a length that cannot
            be), ``extension`` (too many IPv6 extension headers), ``nested`` (too many IP in IP).
    """
    end = len(data)
    for _ in range(MAX_NESTED):
        packet = _decode_one(data, offset, end)
        if packet.protocol not in _TUNNELS or packet.more or packet.fragment_offset:
            return packet
        offset, end = packet.begin, packet.end
    raise DecodeError("nested")


def _decode_one(data: bytes, offset: int, end: int) -> IpPacket:
    if offset >= end:
        raise DecodeError("short")
    version = data[offset] >> 4
    if version == 4:
        return _decode_ip4(data, offset, end)
    if version == 6:
        return _decode_ip6(data, offset, end)
    raise DecodeError("ip_version")


def _decode_ip4(data: bytes, offset: int, end: int) -> IpPacket:
    if end - offset < 20:
        raise DecodeError("short")
    first, tos, total, _, flags, _, protocol, _, source, destination = _IP4(data, offset)
    header = (first & 15) * 4
    if header < 20 or (total and total < header):
        raise DecodeError("ip_length")
    begin = offset + header
    if begin > end:
        raise DecodeError("short")
    # Length 0: the card was to cut this packet into pieces (segmentation offload) and fill it in.
    wanted = offset + total if total else end
    return IpPacket(
        protocol, source, destination, tos, begin, min(wanted, end), max(wanted - end, 0),
        (flags & 0x1FFF) * 8, bool(flags & 0x2000),
    )  # fmt: skip


def _decode_ip6(data: bytes, offset: int, end: int) -> IpPacket:
    if end - offset < 40:
        raise DecodeError("short")
    first, length, protocol, _, source, destination = _IP6(data, offset)
    begin = offset + 40
    wanted = begin + length if length else end  # 0: a jumbogram or segmentation offload
    end = min(wanted, end)
    missing = wanted - end
    fragment_offset = 0
    more = False
    for _ in range(MAX_EXTENSION_HEADERS):
        if protocol not in _EXTENSIONS or fragment_offset:
            break
        if end - begin < 8:
            raise DecodeError("short")
        size = 8 * (data[begin + 1] + 1)
        if protocol == _FRAGMENT:
            size = 8
            field = int.from_bytes(data[begin + 2 : begin + 4], "big")
            fragment_offset, more = field & 0xFFF8, bool(field & 1)
        elif protocol == _AUTHENTICATION:
            size = 4 * (data[begin + 1] + 2)  # RFC 4302 section 2.2: in units of 4 bytes, less 2
        protocol = data[begin]
        begin += size
        if begin > end:
            raise DecodeError("short")
    else:
        if protocol in _EXTENSIONS:
            raise DecodeError("extension")
    tos = first >> 20 & 0xFF
    return IpPacket(protocol, source, destination, tos, begin, end, missing, fragment_offset, more)
