"""What every source of messages can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from sipcap.counters import Counters
from sipcap.wire.message import Message


class Source(Protocol):
    """Yields messages in batches and counts what it could not make a message of.

    A source adds to ``stats``: ``datagrams`` or ``packets``, ``bytes``, ``received`` (every message,
    also a broken one), ``rejected`` for what it could not decode, ``kernel_dropped``.
    """

    stats: Counters

    def open(self) -> None:
        """Bind or open everything; raises CannotStart or InputError."""

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield batches; an empty one is a tick, so that the caller can flush and look at the clock."""

    def stop(self) -> None:
        """Take in nothing new; the iterator yields what it already has and ends."""

    def close(self) -> None:
        """Give everything back; may be called twice."""


class LiveSource(Source, Protocol):
    """A source that never ends by itself and may be shared by forked worker processes.

    ``open`` is called once, before any fork, by who may have the privileges for it; it opens what all workers will
    need. A worker calls ``enter_worker`` behind its fork, and only then iterates; one that dies is forked again from
    the same open source. The worker with ``counts_kernel_drops`` counts for all, where the kernel counts per socket.
    """

    counts_kernel_drops: bool

    @property
    def addresses(self) -> list[str]:
        """What is open, for people: ``udp:127.0.0.1:9060``, ``mirror:eth1``."""

    def enter_worker(self, index: int) -> None:
        """Take the part of worker ``index``, from 0."""

    def hand_over(self) -> None:
        """Stop as ``stop`` does, but leave what waits in the shared sockets to other processes that go on with them."""
