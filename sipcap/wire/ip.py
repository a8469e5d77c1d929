"""IPv4 and IPv6 headers to the payload that they carry.

Source: RFC 791, RFC 8200. Checksums are not checked: captures taken on the sending host hold packets
whose checksums the network card fills in later.
"""

from __future__ import annotations

import struct
from typing import Final

from msgspec import Struct

from sipcap.errors import DecodeError

UDP: Final = 17
TCP: Final = 6
SCTP: Final = 132
UDP_LITE: Final = 136

MAX_EXTENSION_HEADERS: Final = 8
"""RFC 8200 section 4.1 knows seven, each once, but for destination options."""

PROTOCOL_REASONS: Final = {
    1: "icmp", 2: "igmp", 6: "tcp", 47: "gre", 50: "esp", 58: "icmp", 59: "no_payload", 89: "ospf",
    103: "pim", 112: "vrrp", 132: "sctp",
}  # fmt: skip
"""IANA protocol numbers as reasons; any other is ``protocol``."""

_IP4 = struct.Struct(">BBHHHBBH4s4s").unpack_from
_IP6 = struct.Struct(">IHBB16s16s").unpack_from
_FRAGMENT = struct.Struct(">BxHI").unpack_from
_FRAGMENT_HEADER: Final = 44
_AUTHENTICATION: Final = 51
_EXTENSIONS: Final = frozenset((0, 43, _FRAGMENT_HEADER, _AUTHENTICATION, 60, 135, 139, 140))


class IpPacket(Struct, gc=False):
    """One IP packet: ``data[begin:end]`` is what is there of its payload.

    ``missing`` is the number of payload bytes that the capture has cut off. Addresses are packed.
    ``fragment_offset`` counts bytes; a whole packet has 0 and no ``more``. Of a fragment, ``protocol`` is the first
    header in the payload, which may be an extension header.
    """

    protocol: int
    source: bytes
    destination: bytes
    tos: int
    begin: int
    end: int
    missing: int
    identification: int
    fragment_offset: int
    more: bool


def decode_ip(data: bytes, offset: int) -> IpPacket:
    """Decode the IP packet at ``offset``.

    Args:
        data: a captured frame, perhaps cut short; padding behind the packet is left out.
        offset: where the IP header begins.

    Raises:
        DecodeError: ``short`` (no whole header), ``ip_version``, ``ip_length`` (a length that cannot
            be), ``extension`` (too many extension headers).
    """
    if offset >= len(data):
        raise DecodeError("short")
    version = data[offset] >> 4
    if version == 4:
        return _decode_ip4(data, offset)
    if version == 6:
        return _decode_ip6(data, offset)
    raise DecodeError("ip_version")


def _decode_ip4(data: bytes, offset: int) -> IpPacket:
    end = len(data)
    if end - offset < 20:
        raise DecodeError("short")
    first, tos, total, identification, flags, _, protocol, _, source, destination = _IP4(data, offset)
    header = (first & 15) * 4
    if header < 20 or (total and total < header):
        raise DecodeError("ip_length")
    begin = offset + header
    if begin > end:
        raise DecodeError("short")
    # Length 0: the card was to cut this packet into pieces (segmentation offload) and fill it in.
    wanted = offset + total if total else end
    missing, end = max(wanted - end, 0), min(wanted, end)
    is_fragment = bool(flags & 0x3FFF)
    if protocol == _AUTHENTICATION and not is_fragment:
        protocol, begin = behind_extensions(data, begin, end, protocol)
    return IpPacket(
        protocol, source, destination, tos, begin, end, missing,
        identification, (flags & 0x1FFF) * 8, bool(flags & 0x2000),
    )  # fmt: skip


def _decode_ip6(data: bytes, offset: int) -> IpPacket:
    end = len(data)
    if end - offset < 40:
        raise DecodeError("short")
    first, length, protocol, _, source, destination = _IP6(data, offset)
    begin = offset + 40
    wanted = begin + length if length else end  # 0: a jumbogram or segmentation offload
    missing, end = max(wanted - end, 0), min(wanted, end)
    protocol, begin = behind_extensions(data, begin, end, protocol)
    identification, field = 0, 0
    if protocol == _FRAGMENT_HEADER:
        protocol, field, identification = _FRAGMENT(data, begin)
        begin += 8
    return IpPacket(
        protocol, source, destination, first >> 20 & 0xFF, begin, end, missing,
        identification, field & 0xFFF8, bool(field & 1),
    )  # fmt: skip


def behind_extensions(data: bytes, begin: int, end: int, protocol: int) -> tuple[int, int]:
    """Step over extension headers, up to the header of a fragment.

    Args:
        data: holds the payload of an IP packet in ``data[begin:end]``.
        begin: where the first header begins.
        end: where the payload ends.
        protocol: the number of the first header.

    Returns:
        The protocol of what follows, and where that begins. A fragment header that says "whole" is stepped over
        (RFC 6946); of any other, its own number and place.

    Raises:
        DecodeError: ``short``, ``extension`` (too many of them).
    """
    for _ in range(MAX_EXTENSION_HEADERS):
        if protocol not in _EXTENSIONS:
            return protocol, begin
        if end - begin < 8:
            raise DecodeError("short")
        size = 8 * (data[begin + 1] + 1)
        if protocol == _FRAGMENT_HEADER:
            if _FRAGMENT(data, begin)[1] & 0xFFF9:
                return protocol, begin
            size = 8
        elif protocol == _AUTHENTICATION:
            size = 4 * (data[begin + 1] + 2)  # RFC 4302 section 2.2: in units of 4 bytes, less 2
        protocol = data[begin]
        begin += size
        if begin > end:
            raise DecodeError("short")
    if protocol in _EXTENSIONS:
        raise DecodeError("extension")
    return protocol, begin
