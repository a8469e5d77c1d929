"""A StreamPort in the test's own process, with the selector that calls it."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

from sipcap.counters import Counters
from sipcap.sources.addresses import PeerFilter, parse_networks
from sipcap.sources.hep_stream import Room, StreamPort
from tests.support.receiving import PATIENCE_S, connect


class Host:
    """A StreamPort with the selector that calls it."""

    def __init__(self, *, allow: list[str] | None = None, room: Room | None = None, idle_s: float = 60.0) -> None:
        self.stats = Counters()
        self.selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._listening.setblocking(False)
        self.number = int(self._listening.getsockname()[1])
        peers = PeerFilter(parse_networks(allow)) if allow else None
        self.port = StreamPort(self._listening, self.stats, peers, None, self.selector, room=room, idle_s=idle_s)

    def turn(self, timeout_s: float = 0.0) -> list[bytes]:
        """Give everybody who has something one turn."""
        return [frame for key, _ in self.selector.select(timeout_s) for frame in key.data()]

    def run(self, until: Callable[[list[bytes]], bool]) -> list[bytes]:
        """Take turns until something is so; what came in."""
        frames: list[bytes] = []
        end_s = time.monotonic() + PATIENCE_S
        while not until(frames):
            frames += self.turn(0.01)
            assert time.monotonic() < end_s, f"{len(frames)} frames, {self.stats.as_dict()}"
        return frames

    def frames(self, number: int) -> list[bytes]:
        """So many frames."""
        return self.run(lambda frames: len(frames) >= number)

    def close(self) -> None:
        """Close everything."""
        self.port.close()
        self.selector.close()


Make = Callable[..., Host]
"""Makes hosts; they are closed behind the test."""


def connected(host: Host) -> socket.socket:
    """A client that has been accepted."""
    client = connect(host.number)
    before = host.port.connections
    host.run(lambda _: host.port.connections > before)
    return client
