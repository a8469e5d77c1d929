"""A capture file of either format, in any pieces, to the frames in it."""

from __future__ import annotations

from typing import Final

from sipcap.errors import DecodeError
from sipcap.wire import pcap, pcapng
from sipcap.wire.capture_frames import Frame, Interface, Pieces
from sipcap.wire.pcap import PcapRecords
from sipcap.wire.pcapng import PcapngBlocks

_MAGIC_BYTES: Final = 4


class CaptureFramer:
    """Cuts a pcap or pcapng file into frames; holds no file and knows no time.

    Feed it with ``receive_data``, then call ``frames`` until it returns []. It then holds less than one record or
    block (``MAX_BLOCK_BYTES``).
    """

    def __init__(self) -> None:
        self._pieces = Pieces()
        self._format: PcapRecords | PcapngBlocks | None = None

    @property
    def interfaces(self) -> list[Interface]:
        """The interfaces that are known so far; of pcapng, those of the section that is being read."""
        return [] if self._format is None else self._format.interfaces

    @property
    def is_pcap(self) -> bool:
        """Whether it is a pcap file, which has one interface."""
        return isinstance(self._format, PcapRecords)

    @property
    def buffered(self) -> int:
        """Bytes held."""
        return len(self._pieces)

    @property
    def pending(self) -> bool:
        """Whether something is not whole: at the end of the file, it was cut short."""
        if self._format is None:
            return len(self._pieces) > 0
        return self._format.pending > 0 or (isinstance(self._format, PcapRecords) and not self._format.interfaces)

    def receive_data(self, data: bytes) -> None:
        """Take what one read gave."""
        self._pieces.add(data)

    def frames(self, limit: int) -> list[Frame]:
        """The next frames, ``limit`` at most; [] if more data is needed.

        Raises:
            DecodeError: ``magic`` (neither format), ``length``, ``version``, and of pcapng ``order``,
                ``interface``, ``options``: here is no record or block, and no other can be found behind it. All
                frames before it were returned.
        """
        if self._format is None:
            if not self._pieces.have(_MAGIC_BYTES):
                return []
            magic = self._pieces.data[:_MAGIC_BYTES]
            if magic in pcap.MAGICS:
                self._format = PcapRecords(self._pieces)
            elif magic == pcapng.MAGIC:
                self._format = PcapngBlocks(self._pieces)
            else:
                raise DecodeError("magic")
        return self._format.frames(limit)
