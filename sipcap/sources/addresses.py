"""From an endpoint to bound sockets, and which peers may send to them."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart

Network = IPv4Network | IPv6Network

_NOT_HERE: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def bind_all(endpoint: Endpoint, kind: socket.SocketKind) -> Iterator[socket.socket]:
    """Bind one socket for each port of the endpoint and each address of its host.

    ``*`` is one socket that hears IPv4 and IPv6. A name with several addresses (localhost) is heard on all
    that this machine has.

    Raises:
        CannotStart: a name cannot be resolved, a port is taken or not allowed.
    """
    for port in range(endpoint.port, endpoint.last_port + 1):
        try:
            yield from [_bind_any(port, kind)] if endpoint.host == "*" else _bind_host(endpoint.host, port, kind)
        except UnicodeError:  # an empty label, or one of more than 63 characters
            raise CannotStart(f"cannot listen on {endpoint}: no such host name") from None
        except OSError as error:
            raise CannotStart(f"cannot listen on {endpoint}{_which(endpoint, port)}: {error.strerror}") from None


def _which(endpoint: Endpoint, port: int) -> str:
    return f" (port {port})" if endpoint.port != endpoint.last_port else ""


def _bind_any(port: int, kind: socket.SocketKind) -> socket.socket:
    try:
        return _bind(socket.AF_INET6, ("::", port), kind, both_families=True)
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    return _bind(socket.AF_INET, ("0.0.0.0", port), kind)  # noqa: S104  # "*" asks for every address


def _bind_host(host: str, port: int, kind: socket.SocketKind) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_PASSIVE)
    bound: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            bound.append(_bind(family, address, kind))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                for each in bound:
                    each.close()
                raise
            missing = error
    if missing is not None and not bound:
        raise missing
    return bound


def _bind(
    family: int, address: tuple[Any, ...], kind: socket.SocketKind, *, both_families: bool = False
) -> socket.socket:
    with contextlib.ExitStack() as on_failure:
        bound = on_failure.enter_context(socket.socket(family, kind))
        if family == socket.AF_INET6:
            # [::] leaves IPv4 to a socket of its own, as Kamailio does.
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if both_families else 1)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.setblocking(False)
        on_failure.pop_all()
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
            forms: list[IPv4Address | IPv6Address] = [ip_address(host.partition("%")[0])]
            if isinstance(forms[0], IPv6Address) and forms[0].ipv4_mapped is not None:
                forms.append(forms[0].ipv4_mapped)  # IPv4 on a socket that hears both
            answer = any(address in network for network in self._networks for address in forms)
            if len(self._answers) >= self._MAX_REMEMBERED:
                self._answers.clear()
            self._answers[host] = answer
        return answer
