"""Endpoints that meet: said before the kernel says it, and only where it would."""

from __future__ import annotations

import contextlib
import socket

import pytest

from sipcap.config.meeting import comes_back, share_a_port
from sipcap.endpoint import Endpoint, parse_endpoint
from sipcap.errors import CannotStart
from sipcap.sources.addresses import bind_all

HOSTS = ("127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::]", "*", "localhost")
KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM, "tls": socket.SOCK_STREAM}


def can_listen(*endpoints: Endpoint) -> bool:
    """Whether the kernel lets all be listened on."""
    with contextlib.ExitStack() as bound:
        try:
            for endpoint in endpoints:
                for each in bind_all(endpoint, KINDS[endpoint.protocol]):
                    bound.enter_context(each)
                    if endpoint.protocol != "udp":
                        each.listen()
        except (CannotStart, OSError):
            return False
    return True


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("other", HOSTS)
def test_share_a_port_is_what_the_kernel_refuses(
    protocol: str, host: str, other: str, udp_port: int, tcp_port: int
) -> None:
    """Each pair of hosts, at one port that is free."""
    port = udp_port if protocol == "udp" else tcp_port
    first, second = (parse_endpoint(f"{protocol}:{each}:{port}") for each in (host, other))
    if not (can_listen(first) and can_listen(second)):
        pytest.skip("this machine has no IPv6")
    assert share_a_port(first, second) is not can_listen(first, second)


@pytest.mark.parametrize(
    ("sent", "heard", "wanted"),
    [
        ("udp:127.0.0.1:9060", "udp:127.0.0.1:9060", True),
        ("udp:127.0.0.1:9060", "udp:127.0.0.1:9050-9070", True),
        ("udp:127.0.0.1:9060", "udp:*:9060", True),
        ("udp:localhost:9060", "udp:*:9060", True),
        ("udp:0.0.0.0:9060", "udp:127.0.0.1:9060", True),
        ("tcp:[::1]:9060", "tcp:*:9060", True),
        ("udp:Collector.example:9060", "udp:collector.example:9060", True),
        ("udp:127.0.0.1:9060", "tcp:127.0.0.1:9060", False),
        ("tcp:127.0.0.1:9060", "tls:127.0.0.1:9060", False),
        ("udp:127.0.0.1:9061", "udp:127.0.0.1:9060", False),
        ("udp:127.0.0.2:9060", "udp:127.0.0.1:9060", False),
        ("udp:127.0.0.1:9060", "udp:[::]:9060", False),
        ("udp:203.0.113.9:9060", "udp:*:9060", False),
        ("udp:collector.example:9060", "udp:*:9060", False),
    ],
)
def test_comes_back_is_what_this_machine_hears(sent: str, heard: str, wanted: bool) -> None:
    """Also at any address; another machine's, and a name that only DNS knows, are let pass."""
    assert comes_back(parse_endpoint(sent), parse_endpoint(heard)) is wanted


def test_comes_back_from_an_address_of_an_interface() -> None:
    """The address with which this machine reaches others is its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.9", 9))
        except OSError:
            pytest.skip("no way leads out of this machine")
        own = probe.getsockname()[0]
    assert comes_back(Endpoint("udp", own, 9060, 9060), parse_endpoint("udp:0.0.0.0:9060"))
