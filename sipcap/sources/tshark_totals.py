"""How many packets of a capture tshark saw, and of which kind: what ``tshark -z io,phs`` says behind all packets."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

TOTALS: Final = "io,phs"
"""The statistics that are asked for: a tree of protocols, each with its frames and bytes."""

_LINE: Final = re.compile(rb"( *)(\S+) +frames:(\d+) bytes:(\d+)\s*")
_SECURE: Final = (b"tls", b"dtls")


class Totals:
    """Frames of one capture, read line by line.

    Attributes:
        frames, bytes: of all packets, as they were on the wire.
        kinds: frames by what they are, each under one: ``tls`` (also DTLS), ``tcp`` (the rest of it).
    """

    def __init__(self) -> None:
        self.frames = 0
        self.bytes = 0
        self.kinds: Counter[str] = Counter()
        self._above: list[tuple[int, bytes]] = []

    def read(self, line: bytes) -> bool:
        """Read a line; false if it is none of the tree."""
        found = _LINE.fullmatch(line)
        if found is None:
            return False
        depth, name, frames = len(found[1]), found[2], int(found[3])
        while self._above and self._above[-1][0] >= depth:
            self._above.pop()
        above = {each for _, each in self._above}
        self._above.append((depth, name))
        if not depth:
            self.frames += frames
            self.bytes += int(found[4])
        if name in _SECURE and not above.intersection(_SECURE):
            self.kinds["tls"] += frames
            if b"tcp" in above:
                self.kinds["tcp"] -= frames
        if name == b"tcp" and b"tcp" not in above:
            self.kinds["tcp"] += frames
        return True
