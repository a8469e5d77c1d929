"""Sockets that outlive a configuration."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sipcap.endpoint import parse_endpoint
from sipcap.errors import CannotStart
from sipcap.service.sockets import SocketPool

UDP = parse_endpoint("udp:127.0.0.1:0")
TCP = parse_endpoint("tcp:127.0.0.1:0")


@pytest.fixture
def pool() -> Iterator[SocketPool]:
    """An empty pool."""
    found = SocketPool()
    yield found
    found.close()


def name_of(pool: SocketPool, kind: socket.SocketKind = socket.SOCK_DGRAM) -> tuple[str, int]:
    """The address of the next socket of this kind; our copy of it is closed."""
    (copy,) = pool.bind(UDP if kind == socket.SOCK_DGRAM else TCP, kind)
    name: tuple[str, int] = copy.getsockname()
    copy.close()
    return name


def is_free(name: tuple[str, int]) -> bool:
    """Whether a UDP port can be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(name)
        except OSError:
            return False
        return True


def test_pool_gives_the_same_sockets_to_the_next_configuration(pool: SocketPool) -> None:
    """Twice the same endpoint in one configuration are two sockets, and stay these two."""
    first, second = name_of(pool), name_of(pool)
    assert first != second
    pool.begin()
    assert [name_of(pool), name_of(pool)] == [first, second]
    pool.commit()
    assert pool.names() == {(socket.SOCK_DGRAM, first), (socket.SOCK_DGRAM, second)}


def test_pool_closes_what_the_next_configuration_does_not_want(pool: SocketPool) -> None:
    """Not before it is in force."""
    first = name_of(pool)
    pool.begin()
    name_of(pool, socket.SOCK_STREAM)
    assert not is_free(first)
    pool.commit()
    assert is_free(first)


def test_pool_rolled_back_is_as_it_was(pool: SocketPool) -> None:
    """What the refused configuration had made is closed, what was there stays."""
    first = name_of(pool)
    pool.begin()
    assert name_of(pool) == first
    more = name_of(pool)
    pool.roll_back()
    assert is_free(more)
    assert not is_free(first)
    pool.begin()
    assert name_of(pool) == first


def test_pool_takes_no_port_of_somebody_else(pool: SocketPool) -> None:
    """That shows at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match="Address already in use"):
            pool.bind(parse_endpoint(f"udp:127.0.0.1:{port}"), socket.SOCK_DGRAM)


def test_pool_ignores_descriptors_that_are_for_another_process(pool: SocketPool) -> None:
    """LISTEN_PID says whom they are for; the variables are taken away in any case."""
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
    pool.adopt(environment)
    assert (environment, pool.names()) == ({}, set())
