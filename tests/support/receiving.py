"""A HepSource in the test's own process: opened on free ports, read for a bounded time, always closed."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from sipcap.endpoint import parse_endpoint
from sipcap.sources.hep import HepOptions, HepSource
from sipcap.wire.message import Message

PATIENCE_S = 20.0


@contextlib.contextmanager
def opened(*endpoints: str, options: HepOptions | None = None) -> Iterator[HepSource]:
    """A source on these endpoints (port 0 is a free one), with a receive buffer that fits into any system."""
    base = options or HepOptions(())
    source = HepSource(replace(base, endpoints=[parse_endpoint(text) for text in endpoints]))
    source.open()
    try:
        yield source
    finally:
        source.close()


def port_of(source: HepSource, index: int = 0) -> int:
    """The port of the nth socket."""
    return int(source.addresses[index].rpartition(":")[2])


def take(source: HepSource, number: int, *, until: Callable[[], bool] = lambda: False) -> list[Message]:
    """Read until there are so many messages, or something has happened, and drain.

    More than asked for comes back if it was there. A source that never gets there fails the test.
    """
    messages: list[Message] = []
    end_s = time.monotonic() + PATIENCE_S
    for batch in source:
        messages += batch
        if until() or (number and len(messages) >= number):
            source.stop()
        assert time.monotonic() < end_s, f"{len(messages)} messages only: {source.stats.summary()}"
    assert source.stats.received - source.stats.rejected.total() - source.stats.dropped.total() == len(messages)
    return messages


def send_udp(port: int, *datagrams: bytes, host: str = "127.0.0.1") -> None:
    """Send datagrams; on loopback they are in the receiver's buffer when this returns."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for datagram in datagrams:
            sender.sendto(datagram, (host, port))


def connect(port: int, *, host: str = "127.0.0.1") -> socket.socket:
    """A TCP connection; the kernel accepts it before the source does."""
    return socket.create_connection((host, port), timeout=PATIENCE_S)
