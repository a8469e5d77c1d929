"""Link layers: where the IP packet begins in a captured frame, and what the frame says about its way.

Source: https://www.tcpdump.org/linktypes.html; IEEE 802.1Q-2022 clause 9 for the tags.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.wire.address import mac_text

IP4: Final = b"\x08\x00"
IP6: Final = b"\x86\xdd"
VLAN_TAGS: Final = (b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00", b"\x93\x00")
"""802.1Q, 802.1ad, and what switches used for the outer tag before 802.1ad."""

MAX_VLAN_TAGS: Final = 4
"""Two are usual (QinQ); what has more than this is not a network but an attack on readers."""

_REASONS: Final = {
    b"\x88\x63": "pppoe",
    b"\x88\x64": "pppoe",
    b"\x88\x47": "mpls",
    b"\x88\x48": "mpls",
    b"\x08\x06": "arp",
}
_NUMBER = struct.Struct(">H").unpack_from


class LinkType(NamedTuple):
    """One kind of frame.

    ``header_bytes`` gives the offset of the IP packet, or raises DecodeError. ``fields`` reads the header's
    bytes into envelope fields by their NDJSON names.
    """

    name: str
    header_bytes: Callable[[bytes], int]
    fields: Callable[[bytes], dict[str, Any]]


def _behind_tags(data: bytes, ether_type: int) -> int:
    """Step over VLAN tags; ``ether_type`` is the offset of the first type field.

    Returns:
        The offset of the IP packet behind the tags and the last type field.

    Raises:
        DecodeError: ``short``, ``vlan`` (too many tags), ``arp``, ``pppoe``, ``mpls``, ``not_ip``.
    """
    for _ in range(MAX_VLAN_TAGS + 1):
        kind = data[ether_type : ether_type + 2]
        if kind in (IP4, IP6):
            return ether_type + 2
        if len(kind) < 2:
            raise DecodeError("short")
        if kind not in VLAN_TAGS:
            raise DecodeError(_REASONS.get(kind, "not_ip"))
        ether_type += 4
    raise DecodeError("vlan")


def _vlan(header: bytes, ether_type: int) -> dict[str, Any]:
    """The VLAN id next to the IP packet: of a stack of tags the customer's, as other HEP agents send it."""
    # A tag is its type, then priority and id; the id 0 says "no VLAN, only a priority" (802.1Q 9.6).
    if len(header) < ether_type + 6:
        return {}
    number = int.from_bytes(header[-4:-2], "big") & 0x0FFF
    return {"vlan": number} if number else {}


def _ethernet(data: bytes) -> int:
    return 14 if data[12:14] == IP4 else _behind_tags(data, 12)


def _ethernet_fields(header: bytes) -> dict[str, Any]:
    macs = {"source_mac": mac_text(header[6:12]), "destination_mac": mac_text(header[:6])}
    return _vlan(header, 12) | macs


def _cooked1(data: bytes) -> int:
    return _behind_tags(data, 14)


def _cooked1_fields(header: bytes) -> dict[str, Any]:
    # Packet type, ARPHRD type, address length, address (8 bytes), protocol.
    macs = {"source_mac": mac_text(header[6:12])} if _NUMBER(header, 4)[0] == 6 else {}
    return _vlan(header, 14) | macs


def _cooked2(data: bytes) -> int:
    if len(data) < 20:
        raise DecodeError("short")
    if data[:2] in (IP4, IP6):
        return 20
    # A tag's id and the next type stand behind the 20 bytes, so that the first type is not next to them.
    return _behind_tags(data, 22) if data[:2] in VLAN_TAGS else _behind_tags(data[:2], 0)


def _cooked2_fields(header: bytes) -> dict[str, Any]:
    # Protocol, reserved, interface index, ARPHRD type, packet type, address length, address (8 bytes).
    macs = {"source_mac": mac_text(header[12:18])} if header[11] == 6 else {}
    return _vlan(header, 18) | macs


def _raw(_data: bytes) -> int:
    return 0


def _loopback(data: bytes) -> int:
    # The family is in the byte order and numbering of whoever captured; the IP version says it better.
    if len(data) < 4:
        raise DecodeError("short")
    return 4


def _no_fields(_header: bytes) -> dict[str, Any]:
    return {}


_RAW: Final = LinkType("raw IP", _raw, _no_fields)
_LOOPBACK: Final = LinkType("BSD loopback", _loopback, _no_fields)

LINK_TYPES: Final[dict[int, LinkType]] = {
    0: _LOOPBACK,
    1: LinkType("Ethernet", _ethernet, _ethernet_fields),
    12: _RAW,  # libpcap's number for it on Linux; 101 in files
    101: _RAW,
    108: _LOOPBACK,
    113: LinkType("Linux cooked v1", _cooked1, _cooked1_fields),
    228: _RAW,
    229: _RAW,
    276: LinkType("Linux cooked v2", _cooked2, _cooked2_fields),
}
"""Link types by their number in a capture file (and libpcap's own where that differs)."""


@lru_cache(maxsize=8_192)
def link_fields(link: LinkType, header: bytes, tos: int) -> dict[str, Any]:
    """Envelope fields of a frame: ``vlan``, ``source_mac``, ``destination_mac``, ``tos``.

    The result is shared between calls; whoever keeps it makes a copy. A capture node sees few
    different headers, so that most look-ups hit the bounded cache.
    """
    return link.fields(header) | {"tos": tos}
