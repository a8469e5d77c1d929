"""From an EtherType to the IP packet behind it: VLAN tags, MPLS, PPPoE, LLC, Ethernet inside something else.

Source: IEEE 802.1Q-2022 clause 9, IEEE 802.2 and RFC 1042 (LLC and SNAP), RFC 3032 and RFC 4448 (MPLS, Ethernet over
it), RFC 2516 and RFC 1661 (PPPoE, PPP).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sipcap.errors import DecodeError

IP4: Final = b"\x08\x00"
IP6: Final = b"\x86\xdd"
MPLS: Final = b"\x88\x47"
PPPOE: Final = b"\x88\x64"
PPP: Final = b"\x88\x0b"
BRIDGED: Final = b"\x65\x58"
"""Transparent Ethernet bridging: a whole Ethernet frame follows."""

VLAN_TAGS: Final = (b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00", b"\x93\x00")
"""802.1Q, 802.1ad, and what switches used for the outer tag before 802.1ad."""

MAX_VLAN_TAGS: Final = 4
"""Two are usual (QinQ); what has more than this is not a network but an attack on readers."""

MAX_LABELS: Final = 16
"""Of one MPLS stack; routers push three or four."""

_MAX_STEPS: Final = 12
"""Headers between a link's and the IP packet's; QinQ, MPLS, Ethernet over it, QinQ, PPPoE and PPP are 8."""

_MAX_802_3_LENGTH: Final = 1_500
"""Where an EtherType stands, a number up to this is a length, and LLC follows (IEEE 802.3 3.2.6)."""

_REASONS: Final = {b"\x88\x63": "pppoe", b"\x08\x06": "arp"}
_PPP_KINDS: Final = {0x21: IP4, 0x57: IP6, 0x281: MPLS}

_Step = Callable[[bytes, int], tuple[bytes, int]]


def find_ip(data: bytes, kind: bytes, offset: int) -> int:
    """Find the IP packet behind layer-2 headers.

    Args:
        data: a frame.
        kind: the EtherType of what begins at ``offset``.
        offset: where that begins.

    Returns:
        The offset of the IP packet.

    Raises:
        DecodeError: ``short``, ``vlan`` (too many tags), ``mpls``, ``pppoe``, ``ppp`` (something else in them),
            ``arp``, ``not_ip``, ``nested`` (too many headers).
    """
    tags = 0
    for _ in range(_MAX_STEPS):
        if kind in (IP4, IP6):
            return offset
        if len(kind) < 2:
            raise DecodeError("short")
        if kind in VLAN_TAGS:
            tags += 1
            if tags > MAX_VLAN_TAGS:
                raise DecodeError("vlan")
            kind, offset = data[offset + 2 : offset + 4], offset + 4
            continue
        step = _STEPS.get(kind)
        if step is None:
            if int.from_bytes(kind, "big") > _MAX_802_3_LENGTH:
                raise DecodeError(_REASONS.get(kind, "not_ip"))
            step = _logical_link
        kind, offset = step(data, offset)
    raise DecodeError("nested")


def _ethernet(data: bytes, offset: int) -> tuple[bytes, int]:
    return data[offset + 12 : offset + 14], offset + 14


def _logical_link(data: bytes, offset: int) -> tuple[bytes, int]:
    """802.2: SNAP with an EtherType, or IP's own service access point."""
    head = data[offset : offset + 8]
    if head[:3] == b"\xaa\xaa\x03":
        # Organization 0 (RFC 1042) or that of bridges (IEEE 802.1H): an EtherType follows.
        if head[3:6] in (b"\0\0\0", b"\0\0\xf8"):
            return head[6:8], offset + 8
    elif head[:3] == b"\x06\x06\x03":
        return IP4, offset + 3
    raise DecodeError("not_ip" if len(head) == 8 else "short")


def _mpls(data: bytes, offset: int) -> tuple[bytes, int]:
    """A stack of labels; nothing in it says what follows, so that the first nibble has to (RFC 4928)."""
    for _ in range(MAX_LABELS):
        if len(data) < offset + 5:
            raise DecodeError("short")
        is_last = data[offset + 2] & 1
        offset += 4
        if is_last:
            break
    else:
        raise DecodeError("mpls")
    first = data[offset]
    if 0x45 <= first <= 0x4F:
        return IP4, offset
    if first >> 4 == 6:
        return IP6, offset
    # Ethernet, with a control word before it (RFC 4448 4.6: its first nibble is 0) or without.
    if first >> 4 == 0 and _is_carried(data[offset + 16 : offset + 18]):
        offset += 4
    elif not _is_carried(data[offset + 12 : offset + 14]):
        raise DecodeError("mpls" if len(data) >= offset + 18 else "short")
    return BRIDGED, offset


def _is_carried(kind: bytes) -> bool:
    return kind in (IP4, IP6) or kind in VLAN_TAGS or kind in _STEPS


def _pppoe(data: bytes, offset: int) -> tuple[bytes, int]:
    """Version and type, code, session, length; then PPP."""
    if len(data) < offset + 6:
        raise DecodeError("short")
    if data[offset : offset + 2] != b"\x11\0":
        raise DecodeError("pppoe")
    return _ppp(data, offset + 6)


def _ppp(data: bytes, offset: int) -> tuple[bytes, int]:
    """Address and control, which PPPoE does not have, and the protocol in two bytes or (if it is odd) in one."""
    if data[offset : offset + 2] == b"\xff\x03":
        offset += 2
    head = data[offset : offset + 2]
    if len(head) < 2:
        raise DecodeError("short")
    size = 1 if head[0] & 1 else 2
    kind = _PPP_KINDS.get(int.from_bytes(head[:size], "big"))
    if kind is None:
        raise DecodeError("ppp")
    return kind, offset + size


_STEPS: Final[dict[bytes, _Step]] = {
    BRIDGED: _ethernet, MPLS: _mpls, b"\x88\x48": _mpls, PPPOE: _pppoe, PPP: _ppp,
}  # fmt: skip
