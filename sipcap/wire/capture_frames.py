"""What the formats of capture files have in common: frames, interfaces, and bytes that come in pieces."""

from __future__ import annotations

from typing import Self

from msgspec import Struct

from sipcap.wire.link import LINK_TYPES, LinkType


class Interface(Struct, frozen=True, gc=False):
    """Where frames of a capture come from.

    ``link_type`` is a number of tcpdump.org's list, ``snaplen`` how much of a frame was kept at most (0 = no
    bound is known). A time in the interface's units is ``units * multiplier // divisor + offset_us`` in
    microseconds since 1970 UTC: whatever the resolution, no double rounds it.
    """

    link_type: int
    snaplen: int = 0
    multiplier: int = 1
    divisor: int = 1
    offset_us: int = 0
    link: LinkType | None = None

    @classmethod
    def of(cls, link_type: int, snaplen: int, **units: int) -> Self:
        """Make one; ``link`` is what decodes its frames, None if nobody can."""
        return cls(link_type, snaplen, **units, link=LINK_TYPES.get(link_type))


Frame = tuple[int, bytes, int, Interface]
"""Time in microseconds since 1970 UTC, the bytes that were captured, how many there were on the wire, interface."""


class Pieces:
    """Bytes that come in pieces and are read from the front.

    ``data`` is what can be looked at, from ``at`` on. Pieces are joined when enough has come, not before: a large
    block in small pieces costs no more than its bytes.
    """

    def __init__(self) -> None:
        self.data = b""
        self.at = 0
        self._later: list[bytes] = []
        self._later_bytes = 0

    def __len__(self) -> int:
        return len(self.data) - self.at + self._later_bytes

    def add(self, piece: bytes) -> None:
        """Put bytes behind all others."""
        self._later.append(piece)
        self._later_bytes += len(piece)

    def have(self, size: int) -> bool:
        """Whether ``size`` bytes are there; they are then in ``data``."""
        if len(self.data) - self.at >= size:
            return True
        if len(self) < size:
            return False
        self.data = b"".join((self.data[self.at :], *self._later))
        self.at = 0
        self._later.clear()
        self._later_bytes = 0
        return True

    def skip(self, size: int) -> int:
        """Drop so many bytes from the front, or as many as there are; returns how many are left to drop."""
        if self.have(size):
            self.at += size
            return 0
        left = size - len(self)
        self.data, self.at = b"", 0
        self._later.clear()
        self._later_bytes = 0
        return left
