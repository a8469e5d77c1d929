"""``sipcap listen --mode ipip``: IP in IP that is sent to this machine, in network namespaces."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.support.background import background, imbalance, wait_for
from tests.support.live import JSON, listening, texts, wait_for_lines
from tests.support.messages import sip, sip_message
from tests.support.namespaces import Cable, cable
from tests.support.packets import ip4, ip6, udp

CHILDREN = pytest.mark.parametrize("children", ["1", "3"])
NOOP_OPTIONS = b"\1" * 8


@pytest.fixture(scope="module")
def network() -> Iterator[Cable]:
    """A cable for the tests that leave it as it is."""
    with cable() as laid:
        yield laid


def tunnel(network: Cable, packets: Iterable[bytes], *, outer: int = 4, options: bytes = b"") -> int:
    """Send packets from the left side to the right one, each in an IPv4 or IPv6 packet; how many."""
    family = socket.AF_INET if outer == 4 else socket.AF_INET6
    end = network.right.ip4 if outer == 4 else network.right.ip6
    number = 0
    with (
        network.left.open_socket(family, socket.SOCK_RAW, 4) as sender4,
        network.left.open_socket(family, socket.SOCK_RAW, 41) as sender6,
    ):
        if options:
            sender4.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, options)
        for packet in packets:
            (sender4 if packet[0] >> 4 == 4 else sender6).sendto(packet, (end, 0))
            number += 1
    return number


def inner(count: int, *, first: int = 0, flows: int = 1, port: int = 5060) -> Iterator[bytes]:
    """IPv4 packets with distinct messages; ``flows`` different source addresses."""
    for number in range(first, first + count):
        yield ip4(udp(sip_message(number), port), source=f"192.0.2.{1 + number % flows}")


@pytest.mark.parametrize("outer", [4, 6])
def test_ipip_takes_both_versions_in_both(network: Cable, tmp_path: Path, outer: int) -> None:
    """Protocols 4 and 41, over IPv4 and IPv6: the record has the inner addresses, the time is the kernel's."""
    with listening(network, tmp_path, "--mode", "ipip", iface="") as process:
        before_us = time.time_ns() // 1_000
        tunnel(network, [ip4(udp(sip(), 5061, 5062)), ip6(udp(sip(), 5063, 5064))], outer=outer)
        after_us = time.time_ns() // 1_000
        wait_for_lines(process, 2)
        assert process.stop() == 0
        lines = sorted(process.lines, key=lambda line: line["source_port"])
        assert [(line["source_ip"], line["source_port"]) for line in lines] == [
            ("192.0.2.1", 5061), ("2001:db8::1", 5063),
        ]  # fmt: skip
        assert all(before_us <= line["micro_ts"] <= after_us for line in lines)
        assert all(line["msg"] == sip().decode() for line in lines)
    assert (process.summary["packets"], process.summary["stored"], imbalance(process.summary)) == (2, 2, 0)


def test_ipip_steps_over_options_of_the_outer_header(network: Cable, tmp_path: Path) -> None:
    """The module drops such packets."""
    with listening(network, tmp_path, "--mode", "ipip", iface="") as process:
        tunnel(network, inner(1), options=NOOP_OPTIONS)
        wait_for_lines(process, 1)
        assert process.stop() == 0
        assert texts(process) == [sip_message(0)]


def test_ipip_outer_fragments_are_put_together(network: Cable, tmp_path: Path) -> None:
    """A message of more than the cable takes at once is whole."""
    big = sip(body=b"x" * 6_000)
    with listening(network, tmp_path, "--mode", "ipip", iface="") as process:
        tunnel(network, [ip4(udp(big))])
        wait_for_lines(process, 1)
        assert process.stop() == 0
        assert texts(process) == [big]


def test_ipip_listens_at_one_address_and_for_some_ports(network: Cable, tmp_path: Path) -> None:
    """--listen is the module's raw_socket_listen: where tunnels end, and which ports are SIP's."""
    network.right.ip("addr", "add", "10.77.0.3/24", "dev", "right")
    with listening(network, tmp_path, "--mode", "ipip", "--listen", "10.77.0.3:5060-5062", iface="") as process:
        assert "listening on ipip:10.77.0.3" in process.said
        tunnel(network, inner(1))  # to another address
        with network.left.open_socket(socket.AF_INET, socket.SOCK_RAW, 4) as sender:
            for packet in (*inner(1, first=1, port=5062), *(ip4(udp(sip_message(2), 5063, 5064)),)):
                sender.sendto(packet, ("10.77.0.3", 0))
        wait_for_lines(process, 1)
        assert process.stop() == 0
        assert texts(process) == [sip_message(1)]
    assert process.summary["packets"] == 2
    assert "packets without a message: 1 (ports 1)" in process.said
    network.right.ip("addr", "del", "10.77.0.3/24", "dev", "right")


@CHILDREN
@pytest.mark.parametrize("outer", [4, 6])
def test_ipip_children_get_every_message_once(network: Cable, tmp_path: Path, children: str, outer: int) -> None:
    """Each worker has sockets of its own; both directions between two inner addresses go to the same one."""
    with listening(network, tmp_path, "--mode", "ipip", "--children", children, iface="") as process:
        tunnel(network, inner(400, flows=40), outer=outer)
        six = (ip6(udp(sip_message(number)), source=f"2001:db8::{1 + number % 40:x}") for number in range(400, 600))
        tunnel(network, six, outer=outer)
        wait_for_lines(process, 600)
        assert process.stop() == 0
        assert sorted(texts(process)) == sorted(map(sip_message, range(600)))
    assert (process.summary["received"], process.summary["kernel_dropped"], imbalance(process.summary)) == (600, 0, 0)


@CHILDREN
def test_ipip_stop_delivers_what_had_arrived(network: Cable, tmp_path: Path, children: str) -> None:
    """SIGTERM behind a burst: all that the kernel had taken in comes out."""
    with listening(network, tmp_path, "--mode", "ipip", "--children", children, iface="") as process:
        tunnel(network, inner(1_000, flows=40))
        assert process.stop() == 0
        assert len(set(texts(process))) == 1_000


def test_ipip_counts_what_the_kernel_had_no_room_for(network: Cable, tmp_path: Path) -> None:
    """While nobody reads, the socket's buffer fills up; each packet more is counted, and said."""
    with listening(network, tmp_path, "--mode", "ipip", "--rcvbuf", "65536", iface="") as process:
        process.send_signal(signal.SIGSTOP)
        sent = tunnel(network, inner(1_000))
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: "dropped by the kernel" in process.said, "the warning")
        assert process.stop() == 0
        received, dropped = process.summary["received"], process.summary["kernel_dropped"]
    assert 0 < dropped < sent
    assert received + dropped == sent


def test_ipip_ends_with_an_error_when_its_interface_is_gone(tmp_path: Path) -> None:
    """A raw socket does not say it, but somebody looks: exit code 5."""
    with cable() as fragile, listening(fragile, tmp_path, "--mode", "ipip") as process:
        tunnel(fragile, inner(3))
        wait_for_lines(process, 3)
        fragile.right.ip("link", "del", "right")
        assert process.wait() == 5
        assert "interface right is gone" in process.said
        assert process.summary["stored"] == 3


def test_ipip_hears_its_interface_only(network: Cable, tmp_path: Path) -> None:
    """--iface, as the module's raw_interface."""
    with listening(network, tmp_path, "--mode", "ipip", iface="right") as process:
        with network.right.open_socket(socket.AF_INET, socket.SOCK_RAW, 4) as sender:
            sender.sendto(next(inner(1)), ("127.0.0.1", 0))
        tunnel(network, inner(1, first=1))
        wait_for_lines(process, 1)
        assert process.stop() == 0
        assert texts(process) == [sip_message(1)]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("10.99.99.99:0", "cannot receive IP in IP at 10.99.99.99: Cannot assign requested address"),
        ("localhost:5060", "'localhost' is no IP address"),
    ],
)
def test_ipip_at_an_address_that_is_not_here_says_so(network: Cable, tmp_path: Path, address: str, text: str) -> None:
    """Exit code 3, as with any endpoint that cannot be bound."""
    args = ("listen", *JSON, "--mode", "ipip", "--listen", address)
    with background(tmp_path, *args, before=network.right.before) as process:
        assert process.wait() == 3
        assert text in process.said
