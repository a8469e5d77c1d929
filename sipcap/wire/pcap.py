"""pcap files: the header and the records behind it.

Source: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html (byte orders, nanoseconds, the upper bits of
the link type); Kuznetzov's records, which tcpdump of some old Linux distributions wrote, have 8 bytes more.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from sipcap.compiled import twins
from sipcap.errors import DecodeError
from sipcap.limits import MAX_CAPTURED_BYTES
from sipcap.wire.capture_frames import Frame, Interface, Pieces

HEADER_BYTES: Final = 24

_FORMS: Final = {0xA1B2C3D4: (1, 16), 0xA1B23C4D: (1_000, 16), 0xA1B2CD34: (1, 24)}
"""Magic number → units of its time in a microsecond, bytes of a record's header."""

MAGICS: Final = frozenset(magic.to_bytes(4, order) for magic in _FORMS for order in ("big", "little"))

_LINK_TYPE_BITS: Final = 0x03FF_FFFF
"""The rest of the field tells of a checksum behind each frame, which IP's length leaves out."""

_VERSION: Final = (2, 4)
"""Since 1998. Older files have the two lengths of a record the other way round, sometimes."""


_HEAD: Final = {little: struct.Struct(f"{order}IIII").unpack_from for little, order in ((True, "<"), (False, ">"))}


def cut_records(
    data: bytes,
    at: int,
    room: int,
    frames: list[Frame],
    interface: Interface,
    little: bool,  # the twin takes them by position
    header_bytes: int,
    units: int,
    bound: int,
) -> tuple[int, int]:
    """Append the frames of all whole records to ``frames``, ``room`` at most: the hot loop.

    Args:
        data: holds records from ``at`` on.
        at: where the first one begins.
        room: how many to take.
        frames: where they go.
        interface: whose they are.
        little: the byte order.
        header_bytes: of a record's header, 16 at least.
        units: of the time in a microsecond.
        bound: bytes of a frame at most.

    Returns:
        Where the first record begins that was not taken, and how many bytes its frame has; 0 if its header is not
        there, or was not looked at.
    """
    unpack, end, captured = _HEAD[little], len(data), 0
    while room > 0 and at + header_bytes <= end:
        seconds, fraction, captured, length = unpack(data, at)
        begin = at + header_bytes
        if begin + captured > end or captured > bound:
            break
        frames.append((seconds * 1_000_000 + fraction // units, data[begin : begin + captured], length, interface))
        at, captured = begin + captured, 0
        room -= 1
    return at, captured


_module = twins()
_cut: Final[Callable[..., tuple[int, int]]] = cut_records if _module is None else _module.cut_records


class PcapRecords:
    """Cuts a pcap file into its frames.

    Args:
        pieces: the file from its first byte on; whoever has it puts what comes later in there.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._interface: Interface | None = None
        self._units = 1
        self._header_bytes = 16
        self._bound = MAX_CAPTURED_BYTES
        self._little = True

    @property
    def interfaces(self) -> list[Interface]:
        """The one interface, once the header is there."""
        return [] if self._interface is None else [self._interface]

    @property
    def pending(self) -> int:
        """Bytes of a header or record that is not whole yet."""
        return len(self._pieces)

    def frames(self, limit: int) -> list[Frame]:
        """The next frames, ``limit`` at most; [] if more data is needed.

        Raises:
            DecodeError: ``version``, or ``length``: the record here cannot be one; those before it were returned.
        """
        if self._interface is None and not self._read_header():
            return []
        frames: list[Frame] = []
        pieces, size = self._pieces, self._header_bytes
        interface = self._interface
        assert interface is not None
        while pieces.have(size):
            pieces.at, captured = _cut(
                pieces.data,
                pieces.at,
                limit - len(frames),
                frames,
                interface,
                self._little,
                size,
                self._units,
                self._bound,
            )
            if len(frames) >= limit:
                break
            if captured > self._bound and not frames:
                raise DecodeError("length")
            if captured > self._bound or not pieces.have(size + captured):
                break
        return frames

    def _read_header(self) -> bool:
        pieces = self._pieces
        if not pieces.have(HEADER_BYTES):
            return False
        data, at = pieces.data, pieces.at
        order = "<" if int.from_bytes(data[at : at + 4], "little") in _FORMS else ">"
        magic, major, minor, _, _, snaplen, network = struct.unpack_from(f"{order}IHHiIII", data, at)
        if (major, minor) != _VERSION:
            raise DecodeError("version")
        self._units, self._header_bytes = _FORMS[magic]
        self._little = order == "<"
        self._interface = Interface.of(network & _LINK_TYPE_BITS, snaplen)
        pieces.at += HEADER_BYTES
        return True
