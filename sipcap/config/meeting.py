"""Which endpoints meet: two that cannot both be listened on, and what is sent to where one listens.

Only what this machine knows by itself counts: no name is looked up but ``localhost``, which stands in a file.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from sipcap.endpoint import Endpoint

_Address = IPv4Address | IPv6Address

_ANY: Final = (IPv4Address(0), IPv6Address(0))
_ANY_PORT: Final = 9  # nothing is sent there


def share_a_port(one: Endpoint, other: Endpoint) -> bool:
    """Whether the kernel refuses to let both be listened on: a port of an address is both's, or of any address."""
    is_any_port = not one.port or not other.port  # each gets one of its own
    are_apart = (one.protocol == "udp") is not (other.protocol == "udp")
    if is_any_port or are_apart or one.port > other.last_port or other.port > one.last_port:
        return False
    return one.host.lower() == other.host.lower() or any(
        first == second or (first.version == second.version and (first.is_unspecified or second.is_unspecified))
        for first in _addresses(one.host)
        for second in _addresses(other.host)
    )


def comes_back(sent: Endpoint, heard: Endpoint) -> bool:
    """Whether what is sent to one place is heard at an endpoint of this machine."""
    if sent.protocol != heard.protocol or not heard.port <= sent.port <= heard.last_port:
        return False
    return sent.host.lower() == heard.host.lower() or any(
        first == second or (first.version == second.version and second.is_unspecified and _is_local(first))
        for first in map(_destination, _addresses(sent.host))
        for second in _addresses(heard.host)
    )


def _addresses(host: str) -> tuple[_Address, ...]:
    """The addresses that a host stands for, as far as they are known; unspecified ones stand for all of their kind."""
    if host == "*":
        return _ANY
    if host.lower() == "localhost":
        return _of_localhost()
    try:
        address = ip_address(host)
    except ValueError:
        return ()
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address,)


def _of_localhost() -> tuple[_Address, ...]:
    """Not every machine has it for IPv6."""
    try:
        found = socket.getaddrinfo("localhost", _ANY_PORT, type=socket.SOCK_DGRAM)
    except OSError:
        return ()
    return tuple(ip_address(place[0]) for *_, place in found)


def _destination(address: _Address) -> _Address:
    """Where the kernel sends what is for an address: for none in particular, to this machine."""
    if not address.is_unspecified:
        return address
    return IPv4Address("127.0.0.1") if address.version == 4 else IPv6Address("::1")


def _is_local(address: _Address) -> bool:
    """Whether an address is this machine's: to reach those, the kernel takes the address itself as the sender's.

    To bind it would say less: net.ipv4.ip_nonlocal_bind allows that for any.
    """
    if address.is_loopback:
        return True
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            str(address), _ANY_PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)
            return bool(probe.getsockname()[0] == place[0])
    except OSError:  # no way leads there
        return False
