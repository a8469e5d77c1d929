"""Link layers: where the IP packet begins in a captured frame, and what the frame says about its way.

Source: https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.wire.address import mac_text
from sipcap.wire.layer2 import IP4, PPP, PPPOE, VLAN_TAGS, find_ip

_NUMBER = struct.Struct(">H").unpack_from


class LinkType(NamedTuple):
    """One kind of frame.

    ``header_bytes`` gives the offset of the IP packet, or raises DecodeError. ``fields`` reads the header's
    bytes into envelope fields by their NDJSON names.
    """

    name: str
    header_bytes: Callable[[bytes], int]
    fields: Callable[[bytes], dict[str, Any]]


def _vlan(header: bytes, kind: bytes, offset: int) -> dict[str, Any]:
    """The VLAN id of the frame's last tag: of two the customer's, as other HEP agents send it.

    ``kind`` is the frame's first EtherType, ``offset`` is where what that names begins.
    """
    # A tag is its type, then priority and id; the id 0 says "no VLAN, only a priority" (802.1Q 9.6).
    number = 0
    while kind in VLAN_TAGS and len(header) >= offset + 4:
        number = _NUMBER(header, offset)[0] & 0x0FFF
        kind, offset = header[offset + 2 : offset + 4], offset + 4
    return {"vlan": number} if number else {}


def _ethernet(data: bytes) -> int:
    return 14 if data[12:14] == IP4 else find_ip(data, data[12:14], 14)


def _ethernet_fields(header: bytes) -> dict[str, Any]:
    macs = {"source_mac": mac_text(header[6:12]), "destination_mac": mac_text(header[:6])}
    return _vlan(header, header[12:14], 14) | macs


def _cooked1(data: bytes) -> int:
    return find_ip(data, data[14:16], 16)


def _cooked1_fields(header: bytes) -> dict[str, Any]:
    # Packet type, ARPHRD type, address length, address (8 bytes), protocol.
    macs = {"source_mac": mac_text(header[6:12])} if _NUMBER(header, 4)[0] == 6 else {}
    return _vlan(header, header[14:16], 16) | macs


def _cooked2(data: bytes) -> int:
    if len(data) < 20:
        raise DecodeError("short")
    return find_ip(data, data[:2], 20)


def _cooked2_fields(header: bytes) -> dict[str, Any]:
    # Protocol, reserved, interface index, ARPHRD type, packet type, address length, address (8 bytes).
    macs = {"source_mac": mac_text(header[12:18])} if header[11] == 6 else {}
    return _vlan(header, header[:2], 20) | macs


def _raw(_data: bytes) -> int:
    return 0


def _loopback(data: bytes) -> int:
    # The family is in the byte order and numbering of whoever captured; the IP version says it better.
    if len(data) < 4:
        raise DecodeError("short")
    return 4


def _ppp(data: bytes) -> int:
    return find_ip(data, PPP, 0)


def _serial(data: bytes) -> int:
    # PPP in HDLC framing, or what Cisco uses instead: address, control 0, EtherType (RFC 1547 4.3.1).
    return find_ip(data, data[2:4], 4) if data[:2] in (b"\x0f\0", b"\x8f\0") else _ppp(data)


def _pppoe(data: bytes) -> int:
    return find_ip(data, PPPOE, 0)


def _no_fields(_header: bytes) -> dict[str, Any]:
    return {}


_RAW: Final = LinkType("raw IP", _raw, _no_fields)
_LOOPBACK: Final = LinkType("BSD loopback", _loopback, _no_fields)

LINK_TYPES: Final[dict[int, LinkType]] = {
    0: _LOOPBACK,
    1: LinkType("Ethernet", _ethernet, _ethernet_fields),
    9: LinkType("PPP", _serial, _no_fields),
    12: _RAW,  # libpcap's number for it on Linux; 101 in files
    50: LinkType("PPP", _serial, _no_fields),
    51: LinkType("PPPoE", _pppoe, _no_fields),
    101: _RAW,
    104: LinkType("Cisco HDLC", _serial, _no_fields),
    108: _LOOPBACK,
    113: LinkType("Linux cooked v1", _cooked1, _cooked1_fields),
    228: _RAW,
    229: _RAW,
    276: LinkType("Linux cooked v2", _cooked2, _cooked2_fields),
}
"""Link types by their number in a capture file (and libpcap's own where that differs)."""

USUAL_FORMS: Final[dict[LinkType, tuple[int, int]]] = {
    LINK_TYPES[1]: (12, 14), LINK_TYPES[113]: (14, 16), LINK_TYPES[276]: (0, 20), _RAW: (-1, 0), _LOOPBACK: (-1, 4),
}  # fmt: skip
"""Where a frame's EtherType stands (-1: nowhere), and where what it names begins; for compiled/packets.pxi."""


@lru_cache(maxsize=8_192)
def link_fields(link: LinkType, header: bytes, tos: int) -> dict[str, Any]:
    """Envelope fields of a frame: ``vlan``, ``source_mac``, ``destination_mac``, ``tos``.

    The result is shared between calls; whoever keeps it makes a copy. A capture node sees few
    different headers, so that most look-ups hit the bounded cache.
    """
    return link.fields(header) | {"tos": tos}
