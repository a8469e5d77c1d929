"""HEPv3 on a byte stream (TCP, TLS): bytes in any pieces to whole frames.

Source: spec/sipcapture.md 2.4 and 2.6. HEPv1 and v2 cannot be framed. Kamailio loses its place for good
when a header is split over two reads, and spins on a zero length; neither happens here.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from sipcap.errors import DecodeError
from sipcap.limits import STREAM_RESYNC_BYTES
from sipcap.wire.hep3 import HEADER_BYTES
from sipcap.wire.hep_chunks import MAGICS

_MAGIC: Final = re.compile(b"|".join(MAGICS))
_MAGIC_BYTES: Final = 4
_FIRST_CHUNK_END: Final = 12
_TOTAL = struct.Struct(">4xH").unpack_from
_TOTAL_AND_CHUNK = struct.Struct(">4xH4xH").unpack_from


class HepFramer:
    """Cuts a stream into HEPv3 frames; holds no socket and knows no time.

    Feed it with ``receive_data``, then call ``next_frame`` until it returns None. It then holds less
    than one frame (65,535 bytes), and every byte was looked at a bounded number of times.

    Where no frame begins, ``next_frame`` raises once and looks for the next header from there on.
    A header found by looking must be followed by a chunk that fits into its frame, so that the word
    "HEP3" in a payload does not pass for one.

    Args:
        searching: the stream was picked up on its way: look for a header first, and say nothing of what is before it.

    Attributes:
        dead: more than ``STREAM_RESYNC_BYTES`` were skipped without finding a frame. The
            framer holds nothing then and takes nothing more: close the connection.
    """

    def __init__(self, *, searching: bool = False) -> None:
        self.dead = False
        self._buffer = bytearray()
        self._start = 0  # what lies before is used up; it goes once more data is needed
        self._searching = searching
        self._skipped = 0

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not whole yet; at the end of the stream, it was cut short."""
        return 0 if self._searching else len(self._buffer) - self._start

    def receive_data(self, data: bytes) -> None:
        """Take what one read gave."""
        if not self.dead:
            self._buffer += data

    def next_frame(self) -> bytes | None:
        """Return one whole frame with its header, or None if more data is needed.

        Raises:
            DecodeError: ``magic`` (no HEPv3 header where one must be) or ``length`` (below 6). It is
                raised once for each bad place; call again to go on behind it.
        """
        frame = self._take_frame()
        if frame is None:
            del self._buffer[: self._start]
            self._start = 0
        return frame

    def _take_frame(self) -> bytes | None:
        if self._searching and not self._search():
            return None
        start = self._start
        head = bytes(self._buffer[start : start + HEADER_BYTES])
        magic = head[:_MAGIC_BYTES]
        if magic not in MAGICS:
            if any(whole.startswith(magic) for whole in MAGICS):
                return None
            raise self._lost("magic")
        if len(head) < HEADER_BYTES:
            return None
        total = _TOTAL(head)[0]
        if total < HEADER_BYTES:
            raise self._lost("length")
        end = start + total
        if end > len(self._buffer):
            return None
        self._start = end
        self._skipped = 0
        return bytes(self._buffer[start:end])

    def _lost(self, reason: str) -> DecodeError:
        self._searching = True
        self._search()
        return DecodeError(reason)

    def _search(self) -> bool:
        """Go to the next header that can be one; False if more data is needed or the framer died."""
        while True:
            match = _MAGIC.search(self._buffer, self._start)
            if match is None:
                # The last bytes may be the beginning of a magic; all others are done with.
                self._skip_to(max(self._start, len(self._buffer) - _MAGIC_BYTES + 1))
                return False
            self._skip_to(match.start())
            if self.dead:
                return False
            verdict = _is_header(bytes(self._buffer[self._start : self._start + _FIRST_CHUNK_END]))
            if verdict is None:
                return False
            if verdict:
                self._searching = False
                return True
            self._skip_to(self._start + _MAGIC_BYTES)

    def _skip_to(self, position: int) -> None:
        self._skipped += position - self._start
        self._start = position
        if self._skipped > STREAM_RESYNC_BYTES:
            self.dead = True
            self._buffer.clear()
            self._start = 0


def _is_header(head: bytes) -> bool | None:
    """Tell whether a frame begins with these up to 12 bytes; None if there are too few to tell."""
    if len(head) < HEADER_BYTES:
        return None
    total = _TOTAL(head)[0]
    if total < _FIRST_CHUNK_END:
        return bool(total == HEADER_BYTES)
    if len(head) < _FIRST_CHUNK_END:
        return None
    total, chunk = _TOTAL_AND_CHUNK(head)
    return bool(HEADER_BYTES <= chunk <= total - HEADER_BYTES)
