"""Who sent what is refused, at next to no cost for those whose frames are good."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from sipcap.counters import Counters

_WATCHED_S: Final = 10.0
"""So long behind something refused, the address of every datagram is asked for."""


class Senders:
    """Knows who sent the frames of one turn, as far as that was asked for.

    Args:
        stats: ``last_senders`` is kept up to date.
    """

    def __init__(self, stats: Counters) -> None:
        self._stats = stats
        self._turn: list[tuple[list[bytes], Sequence[str] | str]] = []
        self._until_s = 0.0

    @property
    def are_wanted(self) -> bool:
        """Whether something was refused lately: then it is worth its price to know them, however much comes."""
        return time.monotonic() < self._until_s

    def note(self, frames: list[bytes], senders: Sequence[str] | str) -> None:
        """Remember, until ``settle``, who sent these frames: one address for all, or one each.

        Args:
            frames: those that are then decoded, the same objects.
            senders: as ``recvfrom`` or ``accept`` gives their addresses.
        """
        if frames:
            self._turn.append((frames, senders))

    def settle(self, refused: Mapping[str, bytes]) -> None:
        """End the turn.

        Args:
            refused: the last frame that was refused for each reason.
        """
        if refused:
            self._until_s = time.monotonic() + _WATCHED_S
            for reason, frame in refused.items():
                self._stats.note_sender(reason, self._sender_of(frame))
        self._turn.clear()

    def _sender_of(self, frame: bytes) -> str:
        for frames, senders in reversed(self._turn):
            for place in reversed(range(len(frames))):
                if frames[place] is frame:
                    return senders if isinstance(senders, str) else senders[place]
        return ""
