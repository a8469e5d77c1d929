"""The filter that follows from SIP's ports, in libpcap's language."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sipcap.wire.tunnels import IP_TUNNELS, UDP_TUNNELS

_OTHER_PROTOCOLS: Final = (51, 136)
"""An authentication header, behind which ``port`` does not look, and UDP-Lite, whose ports it does not know."""

_TUNNEL_TYPES: Final = (0x8847, 0x8848, 0x8864)
"""MPLS and PPPoE sessions: what is behind their headers stands where this filter does not look."""

_TAG_TYPES: Final = (0x8100, 0x88A8)

_EXTENSIONS: Final = (0, 43, 44, 51, 60)
"""IPv6 extension headers; 44 is a fragment. libpcap's ``port`` does not look behind them."""


def port_expression(ports: Sequence[range], *, ethernet: bool, tags: bool) -> str:
    """Write the filter for some ports.

    It lets through what has one of the ports, over UDP, TCP or SCTP, and what may hold a part of it: fragments, which
    have no ports, and tunnels, whose content is looked at later. RTP stays in the kernel, unless it is tunnelled.

    Args:
        ports: ranges of ports, at least one.
        ethernet: whether frames of this link say what they carry by an Ethernet type.
        tags: whether libpcap can step over VLAN tags on this link. The kernel takes the outer one off itself.
    """
    parts = [_port_terms(each) for each in ports]
    parts.append("ip[6:2] & 0x1fff != 0")
    parts += [f"ip6[6] == {number}" for number in _EXTENSIONS]
    parts += [f"ip proto {number} or ip6 proto {number}" for number in (*IP_TUNNELS, *_OTHER_PROTOCOLS)]
    parts += [f"udp port {port}" for port in UDP_TUNNELS]
    if not ethernet:
        return " or ".join(parts)
    parts += [f"ether proto {number:#x}" for number in _TUNNEL_TYPES + (() if tags else _TAG_TYPES)]
    plain = " or ".join(parts)
    # "vlan" moves what is behind it in the text by one tag.
    return f"{plain} or (vlan and ({plain} or (vlan and ({plain}))))" if tags else plain


def _port_terms(ports: range) -> str:
    first, last = ports[0], ports[-1]
    return f"port {first}" if first == last else f"portrange {first}-{last}"
