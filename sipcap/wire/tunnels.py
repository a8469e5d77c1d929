"""Tunnels: where the IP packet begins inside what an IP packet or a UDP datagram carries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple


class Inside(NamedTuple):
    """Where the IP packet in a tunnel begins, and what tells this tunnel from others between the same hosts."""

    offset: int
    key: bytes


Tunnel = Callable[[bytes], Inside]
"""Takes all that a packet carries; raises DecodeError if no IP packet is found in it."""


def _ip_in_ip(_data: bytes) -> Inside:
    return Inside(0, b"")


IP_TUNNELS: Final[dict[int, Tunnel]] = {4: _ip_in_ip, 41: _ip_in_ip}
"""By IP protocol: IPv4 (RFC 2003) and IPv6 (RFC 4213) inside IP."""

UDP_TUNNELS: Final[dict[int, Tunnel]] = {}
"""By UDP port."""


def udp_tunnel(source_port: int, destination_port: int) -> Tunnel | None:
    """The tunnel that uses one of these ports."""
    return UDP_TUNNELS.get(destination_port) or UDP_TUNNELS.get(source_port)
