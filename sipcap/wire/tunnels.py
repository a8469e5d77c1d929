"""Tunnels: where the IP packet begins inside what an IP packet or a UDP datagram carries.

Source: RFC 2003, RFC 4213 (IP in IP), RFC 2784, RFC 2890, RFC 2637 and, for routes, RFC 1701 (GRE), RFC 3378
(EtherIP), RFC 4023 (MPLS in IP), draft-foschiano-erspan-03, RFC 7348 (VXLAN), RFC 8926 (GENEVE),
https://en.wikipedia.org/wiki/TZSP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.wire.layer2 import BRIDGED, MPLS, PPP, find_ip


class Inside(NamedTuple):
    """Where the IP packet in a tunnel begins, and what tells this tunnel from others between the same hosts."""

    offset: int
    key: bytes


Tunnel = Callable[[bytes], Inside]
"""Takes all that a packet carries.

It raises DecodeError if no IP packet is found in it: ``short``, ``gre``, ``erspan``, ``etherip``, ``vxlan``,
``geneve``, ``tzsp`` (a header that cannot be, or something else inside), or a reason of ``find_ip``.
"""

_CHECKSUM, _ROUTING, _KEY, _SEQUENCE, _ACKNOWLEDGE = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080
_MAX_ROUTES: Final = 16
"""Source routes in one GRE header; nobody has been seen to send any."""

_ERSPAN_KINDS: Final = (b"\x88\xbe", b"\x22\xeb")
_MAX_TZSP_TAGS: Final = 64
"""A sensor sends about ten."""


def _ip_in_ip(_data: bytes) -> Inside:
    return Inside(0, b"")


def _mpls_in_ip(data: bytes) -> Inside:
    return Inside(find_ip(data, MPLS, 0), b"")


def _ether_ip(data: bytes) -> Inside:
    if len(data) < 2:
        raise DecodeError("short")
    if data[0] >> 4 != 3:
        raise DecodeError("etherip")
    return Inside(find_ip(data, BRIDGED, 2), b"")


def _gre(data: bytes) -> Inside:
    if len(data) < 4:
        raise DecodeError("short")
    flags, kind = int.from_bytes(data[:2], "big"), data[2:4]
    version = flags & 7
    if version > 1 or (version and kind != PPP):
        raise DecodeError("gre")
    offset = 4
    if flags & (_CHECKSUM | _ROUTING):
        offset += 4  # each of them brings both fields
    key = data[offset : offset + 4] if flags & _KEY else b""
    offset += len(key)
    if version:
        key = key[2:]  # the call's; before it stands the length of the payload (RFC 2637 4.1)
        if not flags & _SEQUENCE:
            raise DecodeError("gre")  # an acknowledgement alone
    if flags & _SEQUENCE:
        offset += 4
    if version and flags & _ACKNOWLEDGE:
        offset += 4
    if flags & _ROUTING:
        offset = _behind_routes(data, offset)
    if kind in _ERSPAN_KINDS:
        return _erspan(data, offset, has_header=bool(flags & _SEQUENCE) or kind != _ERSPAN_KINDS[0])
    if len(data) < offset:
        raise DecodeError("short")
    return Inside(find_ip(data, kind, offset), key)


def _behind_routes(data: bytes, offset: int) -> int:
    """Step over source routes: family, offset, length, addresses; an empty one is the last."""
    for _ in range(_MAX_ROUTES):
        if len(data) < offset + 4:
            raise DecodeError("short")
        is_last = data[offset : offset + 2] == b"\0\0" and not data[offset + 3]
        offset += 4 + data[offset + 3]
        if is_last:
            return offset
    raise DecodeError("gre")


def _erspan(data: bytes, offset: int, *, has_header: bool) -> Inside:
    """A mirrored frame: type I without a header of its own, II and III with a version in it."""
    if not has_header:
        return Inside(find_ip(data, BRIDGED, offset), b"")
    head = data[offset : offset + 12]
    if len(head) < 12:
        raise DecodeError("short")
    session = (int.from_bytes(head[2:4], "big") & 0x03FF).to_bytes(2, "big")
    if head[0] >> 4 == 1:
        return Inside(find_ip(data, BRIDGED, offset + 8), session)
    if head[0] >> 4 != 2:
        raise DecodeError("erspan")
    frame_type, has_more = head[10] >> 2 & 0x1F, head[11] & 1
    offset += 20 if has_more else 12
    if frame_type == 2:
        return Inside(offset, session)  # IP without Ethernet
    if frame_type:
        raise DecodeError("erspan")
    return Inside(find_ip(data, BRIDGED, offset), session)


def _vxlan(data: bytes) -> Inside:
    if len(data) < 8:
        raise DecodeError("short")
    if not data[0] & 0x08:  # "there is a network identifier", without which a packet is to be dropped
        raise DecodeError("vxlan")
    return Inside(find_ip(data, BRIDGED, 8), data[4:7])


def _geneve(data: bytes) -> Inside:
    if len(data) < 8:
        raise DecodeError("short")
    if data[0] >> 6 or data[1] & 0x80:  # another version, or between the ends of the tunnel only
        raise DecodeError("geneve")
    offset = 8 + 4 * (data[0] & 0x3F)
    return Inside(find_ip(data, data[2:4], offset), data[4:7])


def _tzsp(data: bytes) -> Inside:
    if len(data) < 5:
        raise DecodeError("short")
    # Version 1; type 0 is a packet received, 1 one to send; 1 behind them is Ethernet, others are radio.
    if data[0] != 1 or data[1] > 1 or data[2:4] != b"\0\1":
        raise DecodeError("tzsp")
    offset = 4
    for _ in range(_MAX_TZSP_TAGS):
        tag = data[offset : offset + 2]
        if tag[:1] == b"\1":
            return Inside(find_ip(data, BRIDGED, offset + 1), b"")
        if len(tag) < 2:
            raise DecodeError("short")
        offset += 2 + tag[1] if tag[0] else 1  # 0 is padding, one byte
    raise DecodeError("tzsp")


IP_TUNNELS: Final[dict[int, Tunnel]] = {4: _ip_in_ip, 41: _ip_in_ip, 47: _gre, 97: _ether_ip, 137: _mpls_in_ip}
"""By IP protocol."""

UDP_TUNNELS: Final[dict[int, Tunnel]] = {4_789: _vxlan, 8_472: _vxlan, 6_081: _geneve, 37_008: _tzsp}
"""By UDP port; 8472 is what Linux has used for VXLAN since before the RFC."""


def udp_tunnel(source_port: int, destination_port: int) -> Tunnel | None:
    """The tunnel that uses one of these ports."""
    return UDP_TUNNELS.get(destination_port) or UDP_TUNNELS.get(source_port)
