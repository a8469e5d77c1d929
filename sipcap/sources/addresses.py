"""From an endpoint to bound sockets, and which peers may send to them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart

Network = IPv4Network | IPv6Network


def bind_all(endpoint: Endpoint, kind: socket.SocketKind) -> Iterator[socket.socket]:
    """Bind one socket for each port of the endpoint.

    Raises:
        CannotStart: a name cannot be resolved, a port is taken or not allowed.
    """
    for port in range(endpoint.port, endpoint.last_port + 1):
        yield _bind(endpoint, port, kind)


def _bind(endpoint: Endpoint, port: int, kind: socket.SocketKind) -> socket.socket:
    any_address = endpoint.host == "*"
    try:
        found = socket.getaddrinfo("::" if any_address else endpoint.host, port, type=kind, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotStart(f"cannot listen on {endpoint}: {error.strerror}") from None
    family, _, _, _, address = found[0]
    try:
        bound = socket.socket(family, kind)
    except OSError:
        if not any_address:
            raise CannotStart(f"cannot listen on {endpoint}: this system has no IPv6") from None
        family, address = socket.AF_INET, ("0.0.0.0", port)  # noqa: S104  # "*" asks for every address
        bound = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            # "*" hears IPv4 as well; [::] leaves it to a socket of its own, as Kamailio does.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if any_address else 1)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise CannotStart(f"cannot listen on {endpoint}: {error.strerror}") from None
    return bound


def parse_networks(texts: Sequence[str]) -> list[Network]:
    """Read ``--allow`` values: addresses or networks in CIDR notation; ValueError names a bad one."""
    return [ip_network(text, strict=False) for text in texts]


class PeerFilter:
    """Tells whether a peer's address is in one of the allowed networks; remembers its answers."""

    _MAX_REMEMBERED = 65_536

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks
        self._answers: dict[str, bool] = {}

    def allows(self, host: str) -> bool:
        """Answer for the text address that ``recvfrom`` or ``accept`` gave."""
        answer = self._answers.get(host)
        if answer is None:
            address = ip_address(host.partition("%")[0])
            if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
                address = address.ipv4_mapped  # IPv4 on a socket that hears both
            answer = any(address in network for network in self._networks)
            if len(self._answers) >= self._MAX_REMEMBERED:
                self._answers.clear()
            self._answers[host] = answer
        return answer
