"""A TCP connection and its two directions, as the table of connections keeps them, and who gets their bytes."""

from __future__ import annotations

from typing import Any, Protocol

from sipcap.wire.address import ip_text
from sipcap.wire.hep3 import AF_INET, AF_INET6
from sipcap.wire.segments import Piece, Reassembly
from sipcap.wire.tcp import Segment

Key = tuple[bytes, int, bytes, int, bytes]
"""Source, its port, destination, its port, scope."""


class Flow:
    """One direction of a connection.

    Attributes:
        segments: its reassembly.
        peer: the other direction.
        connection: what both have in common.
        reader: whatever the table's user keeps for it.
        pending: bytes that the user holds of it; the user sets it.
        is_open: the user wants to hear when nothing comes for a while.
        is_closed: it has ended.
        is_gone: the table does not know it any more.
        looks: counts what the user has looked at.
        has_sip: the user has found SIP.
        has_tail: the user has seen the end of a message that began before the capture.
    """

    __slots__ = (
        "acknowledged", "connection", "cost", "destination_ip", "destination_port", "family", "has_sip", "has_tail",
        "is_closed",
        "is_gone", "is_open", "key", "looks", "peer", "pending", "reader", "segments", "source_ip", "source_port",
        "stray",
    )  # fmt: skip

    def __init__(self, key: Key, connection: Connection) -> None:
        self.key = key
        self.connection = connection
        self.segments = Reassembly()
        self.peer: Flow = self
        self.reader: Any = None
        self.cost = 0  # what the table has counted of it
        self.pending = 0
        self.acknowledged = -1
        self.is_open = False
        self.is_closed = False
        self.is_gone = False
        self.looks = 0
        self.has_sip = False
        self.has_tail = False
        self.stray: Segment | None = None
        self.source_ip, self.source_port = ip_text(key[0]), key[1]
        self.destination_ip, self.destination_port = ip_text(key[2]), key[3]
        self.family = AF_INET if len(key[0]) == 4 else AF_INET6

    @property
    def is_from_start(self) -> bool:
        """Whether the SYN of this direction was seen."""
        return self.segments.has_begun


class Connection:
    """What both directions have in common.

    Attributes:
        flows: the direction seen first, and the other.
        last_us: when its last segment was captured.
        is_midstream: its beginning was not seen.
        kind: whatever the table's user keeps for it.
    """

    __slots__ = ("flows", "is_ended", "is_midstream", "kind", "last_us")

    def __init__(self, key: Key, ts_us: int, *, is_midstream: bool) -> None:
        self.last_us = ts_us
        self.is_midstream = is_midstream
        self.is_ended = False
        self.kind: Any = None
        source, source_port, destination, destination_port, scope = key
        one, other = Flow(key, self), Flow((destination, destination_port, source, source_port, scope), self)
        one.peer, other.peer = other, one
        self.flows = (one, other)


class User(Protocol):
    """Who wants the streams."""

    def take_whole(self, flow: Flow, segment: Segment) -> bool:
        """Take a segment that is next and needs no other; False to get it as pieces."""

    def take(self, flow: Flow, pieces: list[Piece]) -> None:
        """Take the next bytes of a stream."""

    def settle(self, flow: Flow) -> None:
        """Nothing has come for ``TCP_GAP_US`` on a flow that is ``is_open``."""

    def close(self, flow: Flow) -> None:
        """A stream has ended, or is given up; it holds nothing from now on."""
