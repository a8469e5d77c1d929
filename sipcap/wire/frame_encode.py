"""Captured frames made again: link header, IP, UDP, TCP and SCTP around a payload.

Source: RFC 791, RFC 8200, RFC 768, RFC 9293, RFC 9260; https://www.tcpdump.org/linktypes.html. What
``wire/packet.py`` reads comes out as it went in.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Final, NamedTuple

from sipcap.wire.address import mac_packed
from sipcap.wire.hep_encode import EncodeError
from sipcap.wire.layer2 import IP4, IP6

RAW: Final = 101
ETHERNET: Final = 1
COOKED: Final = 113
"""Link types: without any header, with two MACs, and with the sender's alone (Linux cooked v1)."""

UDP: Final = 17
TCP: Final = 6
SCTP: Final = 132
_MAX_IP_BYTES: Final = 65_535
_TTL: Final = 64
_NO_MAC: Final = bytes(6)
_VLAN: Final = b"\x81\x00"


class Way(NamedTuple):
    """Where a payload came from and went to.

    Addresses are packed and of one family; MACs are text, "" if they are not known; ``vlan`` 0 is none.
    """

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    source_mac: str = ""
    destination_mac: str = ""
    vlan: int = 0
    tos: int = 0

    def back(self) -> Way:
        """The way of an answer."""
        return Way(
            self.destination, self.destination_port, self.source, self.source_port, self.destination_mac,
            self.source_mac, self.vlan, self.tos,
        )  # fmt: skip


def natural_link(way: Way) -> int:
    """The link type that has room for what is known of the link, and for no more."""
    if way.destination_mac:
        return ETHERNET
    return COOKED if way.source_mac or way.vlan else RAW


def frame(packet: bytes, way: Way, link: int) -> bytes:
    """Put the link header before an IP packet.

    Raises:
        EncodeError: ``mac`` (no MAC address), ``vlan`` (no VLAN id).
    """
    return _link_header(link, way.source_mac, way.destination_mac, way.vlan, len(way.source)) + packet


@lru_cache(maxsize=8_192)
def _link_header(link: int, source_mac: str, destination_mac: str, vlan: int, address_bytes: int) -> bytes:
    if link == RAW:
        return b""
    if not 0 <= vlan < 4_096:
        raise EncodeError("vlan")
    try:
        source = mac_packed(source_mac) if source_mac else _NO_MAC
        destination = mac_packed(destination_mac) if destination_mac else _NO_MAC
    except ValueError:
        raise EncodeError("mac") from None
    kind = IP4 if address_bytes == 4 else IP6
    tags = _VLAN + vlan.to_bytes(2, "big") + kind if vlan else kind
    if link == ETHERNET:
        return destination + source + tags
    # Packet type 0 (to us), ARPHRD_ETHER, length of the address, 8 bytes of address.
    return struct.pack(">HHH6sxx", 0, 1, 6 if source_mac else 0, source) + tags


def ip_packet(payload: bytes, protocol: int, way: Way) -> bytes:
    """One IP packet around what a transport protocol made.

    Raises:
        EncodeError: ``too_big``: the lengths of IP have 16 bits.
    """
    if len(way.source) == 4:
        total = 20 + len(payload)
        if total > _MAX_IP_BYTES:
            raise EncodeError("too_big")
        head = struct.pack(">BBHHHBBH4s4s", 0x45, way.tos, total, 0, 0x4000, _TTL, protocol, 0, way.source,
                           way.destination)  # fmt: skip
        return b"".join((head[:10], _checksum(head).to_bytes(2, "big"), head[12:], payload))
    if len(payload) > _MAX_IP_BYTES:
        raise EncodeError("too_big")
    return struct.pack(">IHBB16s16s", 6 << 28 | way.tos << 20, len(payload), protocol, _TTL, way.source,
                       way.destination) + payload  # fmt: skip


def udp_packet(payload: bytes, way: Way) -> bytes:
    """A payload in UDP in IP; raises EncodeError as ``ip_packet``."""
    length = 8 + len(payload)
    if length > _MAX_IP_BYTES:
        raise EncodeError("too_big")
    head = struct.pack(">HHH", way.source_port, way.destination_port, length)
    # 0 would say "no checksum" (RFC 768).
    checksum = _transport_checksum(head + b"\0\0" + payload, UDP, way) or 0xFFFF
    return ip_packet(b"".join((head, checksum.to_bytes(2, "big"), payload)), UDP, way)


def tcp_packet(payload: bytes, way: Way, sequence: int, acknowledgement: int, flags: int) -> bytes:
    """A TCP segment in IP, without options; raises EncodeError as ``ip_packet``."""
    head = struct.pack(">HHIIBBHHH", way.source_port, way.destination_port, sequence, acknowledgement, 0x50, flags,
                       0xFFFF, 0, 0)  # fmt: skip
    checksum = _transport_checksum(head + payload, TCP, way)
    return ip_packet(b"".join((head[:16], checksum.to_bytes(2, "big"), head[18:], payload)), TCP, way)


def sctp_packet(payload: bytes, way: Way, number: int) -> bytes:
    """A whole message as one DATA chunk on stream 0; ``number`` is its TSN, and its stream sequence number."""
    padding = -len(payload) % 4
    if 16 + len(payload) > _MAX_IP_BYTES:
        raise EncodeError("too_big")
    chunk = struct.pack(">BBHIHHI", 0, 3, 16 + len(payload), number & 0xFFFF_FFFF, 0, number & 0xFFFF, 0)
    body = b"".join((chunk, payload, bytes(padding)))
    head = struct.pack(">HHI", way.source_port, way.destination_port, 1)
    checksum = _crc32c(head + bytes(4) + body)
    return ip_packet(b"".join((head, checksum.to_bytes(4, "little"), body)), SCTP, way)


def _transport_checksum(data: bytes, protocol: int, way: Way) -> int:
    return _checksum(way.source + way.destination + struct.pack(">II", len(data), protocol) + data)


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071): as one large number modulo 65535, which C does faster than a loop."""
    total = int.from_bytes(data + bytes(len(data) % 2), "big") % 0xFFFF
    # Ones' complement has two zeros; a sum of nothing but zeros does not occur here.
    return ~(total or 0xFFFF) & 0xFFFF


@lru_cache(maxsize=1)
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # noqa: PLW2901  # the usual way to write it
        table.append(value)
    return tuple(table)


def _crc32c(data: bytes) -> int:
    table = _crc32c_table()
    crc = 0xFFFF_FFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFF_FFFF
