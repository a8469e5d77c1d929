"""Endpoints to sockets, and whom they hear."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator

import pytest

from sipcap.endpoint import Endpoint, parse_endpoint
from sipcap.errors import CannotStart
from sipcap.sources.addresses import PeerFilter, bind_all, parse_networks

KINDS = [socket.SOCK_DGRAM, socket.SOCK_STREAM]
KIND = pytest.mark.parametrize("kind", KINDS, ids=["udp", "tcp"])


@contextlib.contextmanager
def bound(endpoint: str | Endpoint, kind: socket.SocketKind = socket.SOCK_DGRAM) -> Iterator[list[socket.socket]]:
    """The endpoint's sockets, closed behind the test."""
    with contextlib.ExitStack() as stack:
        wanted = parse_endpoint(endpoint) if isinstance(endpoint, str) else endpoint
        yield [stack.enter_context(each) for each in bind_all(wanted, kind)]


def answer_with(monkeypatch: pytest.MonkeyPatch, *hosts: str) -> None:
    """Let every name have these addresses."""
    ask = socket.getaddrinfo

    def look_up(_host: str, port: int, **options: int) -> list[object]:
        return [found for host in hosts for found in ask(host, port, type=options["type"])]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@KIND
@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("[::1]", socket.AF_INET6), ("localhost", socket.AF_INET)]
)
def test_bind_host_gives_a_socket_that_does_not_block(
    kind: socket.SocketKind, host: str, family: socket.AddressFamily
) -> None:
    """Addresses of both families and names can be bound, and no read of them waits."""
    with bound(f"{host}:0", kind) as found:
        first = found[0]
        assert (first.family, first.type, first.getblocking()) == (family, kind, False)
        assert first.getsockname()[1] > 0


@KIND
def test_bind_range_gives_every_port(kind: socket.SocketKind, udp_port: int) -> None:
    """A range of ports is heard on each of them."""
    first = min(udp_port, 65_530)
    with contextlib.suppress(CannotStart), bound(f"127.0.0.1:{first}-{first + 3}", kind) as found:
        assert [each.getsockname()[1] for each in found] == [first, first + 1, first + 2, first + 3]


def test_bind_star_hears_both_families() -> None:
    """``*`` is one socket for IPv4 and IPv6."""
    with bound("*:0") as (heard,):
        heard.settimeout(10)
        port = heard.getsockname()[1]
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as sender:
                sender.sendto(host.encode(), (host, port))
            assert heard.recv(100) == host.encode()


def test_bind_any_ip6_leaves_ip4_to_another_socket() -> None:
    """``[::]`` and ``0.0.0.0`` can be heard on the same port, each by its own socket."""
    with bound("[::]:0") as (ip6,), bound(f"0.0.0.0:{ip6.getsockname()[1]}") as (ip4,):
        assert ip4.getsockname()[1] == ip6.getsockname()[1]


def test_bind_star_without_ip6_hears_ip4(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without IPv6 still has "any address"."""
    make = socket.socket

    def no_ip6(family: int, kind: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return make(family, kind)

    monkeypatch.setattr(socket, "socket", no_ip6)
    with bound("*:0") as (heard,):
        assert heard.family == socket.AF_INET


def test_bind_name_with_several_addresses_hears_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """``localhost`` is often ::1 first, while agents send to 127.0.0.1."""
    answer_with(monkeypatch, "::1", "127.0.0.1", "127.0.0.1")
    with bound("somewhere:0") as found:
        assert [each.getsockname()[0] for each in found] == ["::1", "127.0.0.1"]


def test_bind_name_with_an_address_of_another_machine_hears_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name's address that this machine does not have does not keep it from the others."""
    answer_with(monkeypatch, "192.0.2.77", "127.0.0.1")
    with bound("somewhere:0") as found:
        assert [each.getsockname()[0] for each in found] == ["127.0.0.1"]


def test_bind_name_with_one_taken_address_fails_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, udp_port: int
) -> None:
    """Half a name is no success; what was bound before is given back (a leak would be a warning, so an error)."""
    answer_with(monkeypatch, "::1", "127.0.0.1")
    with (
        bound(f"127.0.0.1:{udp_port}"),
        pytest.raises(CannotStart, match="in use"),
        bound(f"somewhere:{udp_port}"),
    ):
        pass
    with bound(f"[::1]:{udp_port}"):
        pass


@KIND
def test_bind_taken_port_says_which(kind: socket.SocketKind) -> None:
    """The message names the endpoint and the reason."""
    with bound("127.0.0.1:0", kind) as (taken,):
        taken.listen() if kind == socket.SOCK_STREAM else None
        port = taken.getsockname()[1]
        with (
            pytest.raises(CannotStart, match=rf"127\.0\.0\.1:{port}: Address already in use"),
            bound(f"127.0.0.1:{port}", kind),
        ):
            pass


def test_bind_range_with_a_taken_port_names_the_port() -> None:
    """Of a range, the message says which port it was."""
    with bound("127.0.0.1:0") as (taken,):
        port = taken.getsockname()[1]
        endpoint = Endpoint("udp", "127.0.0.1", port, min(port + 1, 65_535))
        with pytest.raises(CannotStart, match="in use"), bound(endpoint):
            pass


@pytest.mark.parametrize(
    "host", ["name.invalid", "a..b", "x" * 64, "192.0.2.77", "fe80::1%nothing", "-", "name with blanks", "\udcff"]
)
def test_bind_host_that_cannot_be_is_an_error_of_one_line(host: str) -> None:
    """Whatever is typed as host: one line, no traceback."""
    with pytest.raises(CannotStart) as caught, bound(Endpoint("udp", host, 9060, 9060)):
        pass
    assert str(caught.value).startswith("cannot listen on udp:")
    assert "\n" not in str(caught.value)
    assert "None" not in str(caught.value)


@pytest.mark.parametrize(
    ("networks", "host", "expected"),
    [
        (["10.0.0.0/8"], "10.255.255.255", True),
        (["10.0.0.0/8"], "11.0.0.1", False),
        (["10.1.2.3/8"], "10.9.9.9", True),
        (["192.0.2.1"], "192.0.2.1", True),
        (["192.0.2.1"], "192.0.2.2", False),
        (["192.0.2.1", "2001:db8::/32"], "2001:db8::5", True),
        (["2001:db8::/32"], "2001:db9::5", False),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", True),
        (["127.0.0.0/8"], "::ffff:128.0.0.1", False),
        (["::ffff:10.0.0.0/104"], "::ffff:10.1.1.1", True),
        (["::/0"], "10.0.0.1", False),
        (["::/0"], "::1", True),
        (["0.0.0.0/0"], "::ffff:10.0.0.1", True),
        (["0.0.0.0/0"], "::1", False),
        (["fe80::/10"], "fe80::1%lo", True),
        ([], "127.0.0.1", False),
    ],
)
def test_peer_filter_answers_for_every_form_of_an_address(networks: list[str], host: str, expected: bool) -> None:
    """IPv4 on a socket for both families, zones and host bits are understood; the answer stays the same."""
    peers = PeerFilter(parse_networks(networks))
    assert [peers.allows(host), peers.allows(host)] == [expected, expected]


def test_peer_filter_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders with forged addresses cannot fill the memory."""
    monkeypatch.setattr(PeerFilter, "_MAX_REMEMBERED", 100)
    peers = PeerFilter(parse_networks(["10.0.0.0/8"]))
    answers = [peers.allows(f"{first}.0.{second}.1") for first in (10, 11) for second in range(250)]
    assert answers == [True] * 250 + [False] * 250
    assert len(peers._answers) <= 100


@pytest.mark.parametrize("text", ["10.0.0.0/33", "host.example.com", "", "10.0.0.0/8/8"])
def test_parse_networks_names_what_is_wrong(text: str) -> None:
    """A network that is none is refused, with the text that was given."""
    with pytest.raises(ValueError, match=r".") as caught:
        parse_networks(["10.0.0.0/8", text])
    assert repr(text) in str(caught.value)
