"""What sources of captured packets have in common, whoever reads the packets."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from sipcap.errors import InputError
from sipcap.sources.base import Source
from sipcap.sources.passed_over import TcpCounts
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")


class ReplaySource(Source, Protocol):
    """A source over captures that can be replayed.

    ``skipped`` counts, by reason, the packets that hold no message: they are in ``stats.packets`` only. Those of TCP
    are in ``tcp``.
    """

    skipped: Counter[str]
    tcp: TcpCounts

    @property
    def packet_times(self) -> list[int]:
        """When the packets of the last batch's messages were captured, microseconds since 1970, one each."""

    @property
    def is_live(self) -> bool:
        """Whether a pipe is being read: then a stop means reading on to its end (design 1.1)."""

    @property
    def used_bytes(self) -> int:
        """How much of the files is behind us, as they are on the disk; every loop counts."""


def in_turn(
    paths: Sequence[str], read: Callable[[str], Iterator[list[Message]]], stopping: Callable[[], bool]
) -> Iterator[list[Message]]:
    """Yield the messages of all captures, in their order.

    A capture that cannot be read to its end is said, and keeps no other from being read.

    Raises:
        InputError: at the end; the last capture that could not be read.
    """
    failure: InputError | None = None
    for path in paths:
        try:
            yield from read(path)
        except InputError as error:
            if failure is not None:
                _LOGGER.warning("%s", failure)
            failure = error
        if stopping():
            break
    if failure is not None:
        raise failure
