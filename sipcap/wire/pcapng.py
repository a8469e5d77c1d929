"""pcapng files: blocks with packets of any number of interfaces, in any number of sections.

libpcap refuses files whose interfaces differ in link type or snap length, and ``mergecap`` writes such.

Source: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-02.html (blocks: section 4, options: 3.5).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from sipcap.compiled import twins
from sipcap.errors import DecodeError
from sipcap.limits import MAX_BLOCK_BYTES, MAX_INTERFACES
from sipcap.wire.capture_frames import Frame, Interface, Pieces

MAGIC: Final = b"\x0a\x0d\x0d\x0a"
"""The type of a section header: the same in both byte orders."""

_SECTION: Final = 0x0A0D0D0A
_INTERFACE: Final = 1
_OLD_PACKET: Final = 2
_SIMPLE_PACKET: Final = 3
_PACKET: Final = 6
_READ: Final = frozenset({_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET})

_ORDERS: Final = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_MAJOR_VERSION: Final = 1
_HEAD_BYTES: Final = 8
_FRAME_BYTES: Final = 12
"""Type, length, and the length once more at the end: what every block has."""
_SECTION_BYTES: Final = 28
_PACKET_BYTES: Final = 28
_OPTION_RESOLUTION: Final = 9
_OPTION_OFFSET: Final = 14
_DEFAULT_RESOLUTION: Final = 6


_PACKET_HEADS: Final = {True: struct.Struct("<7I").unpack_from, False: struct.Struct(">7I").unpack_from}
_NUMBERS: Final = {True: struct.Struct("<I").unpack_from, False: struct.Struct(">I").unpack_from}


def cut_blocks(
    data: bytes,
    at: int,
    room: int,
    frames: list[Frame],
    interfaces: list[Interface],
    little: bool,  # the twin takes them by position
) -> int:
    """Append the frames of whole packet blocks to ``frames``, up to any other block: the hot loop.

    Args:
        data: holds blocks from ``at`` on.
        at: where the first one begins.
        room: how many to take at most.
        frames: where they go.
        interfaces: by their number.
        little: the byte order.

    Returns:
        Where the first block begins that was not taken.
    """
    unpack, number_at, end, count = _PACKET_HEADS[little], _NUMBERS[little], len(data), len(interfaces)
    while room > 0 and at + _PACKET_BYTES <= end:
        kind, size, number, high, low, captured, length = unpack(data, at)
        behind = at + size
        if (
            kind != _PACKET
            or behind > end
            or captured + 32 > size
            or size & 3
            or number >= count
            or number_at(data, behind - 4)[0] != size
        ):
            break
        interface = interfaces[number]
        ts_us = (high << 32 | low) * interface.multiplier // interface.divisor + interface.offset_us
        begin = at + _PACKET_BYTES
        frames.append((ts_us, data[begin : begin + captured], length, interface))
        at = behind
        room -= 1
    return at


_module = twins()
_cut: Final[Callable[..., int]] = cut_blocks if _module is None else _module.cut_blocks


class PcapngBlocks:
    """Cuts a pcapng file into the frames in it.

    Blocks that hold none are skipped, whatever their length, without being kept. Simple packets have no time:
    theirs is 0.

    Args:
        pieces: the file from its first byte on; whoever has it puts what comes later in there.
    """

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self.interfaces: list[Interface] = []
        """Those of the section that is being read, by their number."""
        self._skipping = 0  # bytes to come of a block that is not read, without the length at its end
        self._skipped_size = 0
        self._use_order("<")

    def _use_order(self, order: str) -> None:
        self._order = order
        self._head = struct.Struct(f"{order}II").unpack_from
        self._number = struct.Struct(f"{order}I").unpack_from
        self._packet = struct.Struct(f"{order}7I").unpack_from
        self._old_packet = struct.Struct(f"{order}IIHH4I").unpack_from

    @property
    def pending(self) -> int:
        """Bytes of a block that is not whole yet, those that were skipped of it included."""
        return len(self._pieces) + self._skipped_size

    def frames(self, limit: int) -> list[Frame]:
        """The next frames, ``limit`` at most; [] if more data is needed.

        Raises:
            DecodeError: the block here is none, and those before it were returned: ``length``, ``order`` (no byte
                order that there is), ``version``, ``interface`` (a packet of none, or too many), ``options``.
        """
        frames: list[Frame] = []
        while len(frames) < limit:
            self._take_packets(frames, limit)
            if len(frames) >= limit:
                break
            try:
                if not self._take_block(frames):
                    break
            except DecodeError:
                if not frames:
                    raise
                break  # once more at the next call, which has nothing to return
        return frames

    def _take_packets(self, frames: list[Frame], limit: int) -> None:
        """Take all packets that are in memory, up to what is none or not as it should be."""
        if not self._skipped_size:
            pieces = self._pieces
            room = limit - len(frames)
            pieces.at = _cut(pieces.data, pieces.at, room, frames, self.interfaces, self._order == "<")

    def _take_block(self, frames: list[Frame]) -> bool:
        """Take one block of any kind; returns False if more data is needed."""
        pieces = self._pieces
        if self._skipped_size:
            return self._skip()
        if not pieces.have(_HEAD_BYTES):
            return False
        data, at = pieces.data, pieces.at
        kind, size = self._head(data, at)
        if kind == _SECTION:
            if not pieces.have(_HEAD_BYTES + 4):
                return False
            size = self._begin_order(pieces.data[pieces.at + 4 : pieces.at + 12])
        if size < _FRAME_BYTES or size & 3:
            raise DecodeError("length")
        if kind not in _READ:
            self._skipping, self._skipped_size = size - 4, size
            return self._skip()
        if size > MAX_BLOCK_BYTES:
            raise DecodeError("length")
        if not pieces.have(size):
            return False
        data, at = pieces.data, pieces.at
        if self._number(data, at + size - 4)[0] != size:
            raise DecodeError("length")
        self._read_block(kind, data[at : at + size - 4], frames)
        pieces.at += size
        return True

    def _skip(self) -> bool:
        """Go on skipping a block; only its last four bytes are looked at."""
        pieces = self._pieces
        self._skipping = pieces.skip(self._skipping)
        if self._skipping or not pieces.have(4):
            return False
        if self._number(pieces.data, pieces.at)[0] != self._skipped_size:
            raise DecodeError("length")
        pieces.at += 4
        self._skipped_size = 0
        return True

    def _begin_order(self, length_and_magic: bytes) -> int:
        """Take over the byte order of a new section; returns the length of its header."""
        order = _ORDERS.get(length_and_magic[4:])
        if order is None:
            raise DecodeError("order")
        self._use_order(order)
        return int(self._number(length_and_magic, 0)[0])

    def _read_block(self, kind: int, block: bytes, frames: list[Frame]) -> None:
        """Read a whole block, without the length at its end."""
        if kind == _SECTION:
            self._read_section(block)
        elif kind == _INTERFACE:
            self._read_interface(block)
        elif kind == _SIMPLE_PACKET:
            frames.append(self._read_simple_packet(block))
        else:
            frames.append(self._read_packet(kind, block))

    def _read_section(self, block: bytes) -> None:
        if len(block) + 4 < _SECTION_BYTES:
            raise DecodeError("length")
        if struct.unpack_from(f"{self._order}H", block, 12)[0] != _MAJOR_VERSION:
            raise DecodeError("version")
        self.interfaces = []

    def _read_interface(self, block: bytes) -> None:
        if len(block) < 16:
            raise DecodeError("length")
        if len(self.interfaces) >= MAX_INTERFACES:
            raise DecodeError("interface")
        link_type, _, snaplen = struct.unpack_from(f"{self._order}HHI", block, 8)
        resolution, offset_s = _DEFAULT_RESOLUTION, 0
        for code, value in self._options(block, 16):
            if code == _OPTION_RESOLUTION and len(value) == 1:
                resolution = value[0]
            elif code == _OPTION_OFFSET and len(value) == 8:
                (offset_s,) = struct.unpack(f"{self._order}q", value)
        # The highest bit tells powers of 2 from powers of 10 (4.2).
        units = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        multiplier, divisor = (1, units // 1_000_000) if units % 1_000_000 == 0 else (1_000_000, units)
        self.interfaces.append(
            Interface.of(link_type, snaplen, multiplier=multiplier, divisor=divisor, offset_us=offset_s * 1_000_000)
        )

    def _options(self, block: bytes, at: int) -> list[tuple[int, bytes]]:
        """The options from ``at`` to the block's end, or to the option that says that there are no more."""
        options = []
        while at < len(block):  # both are multiples of 4
            code, size = struct.unpack_from(f"{self._order}HH", block, at)
            if code == 0:
                break
            if at + 4 + size > len(block):
                raise DecodeError("options")
            options.append((code, block[at + 4 : at + 4 + size]))
            at += 4 + size + -size % 4
        return options

    def _read_packet(self, kind: int, block: bytes) -> Frame:
        if len(block) < _PACKET_BYTES:
            raise DecodeError("length")
        if kind == _PACKET:
            _, _, number, high, low, captured, length = self._packet(block, 0)
        else:
            _, _, number, _, high, low, captured, length = self._old_packet(block, 0)
        if number >= len(self.interfaces):
            raise DecodeError("interface")
        if captured > len(block) - _PACKET_BYTES:
            raise DecodeError("length")
        interface = self.interfaces[number]
        ts_us = (high << 32 | low) * interface.multiplier // interface.divisor + interface.offset_us
        return ts_us, block[_PACKET_BYTES : _PACKET_BYTES + captured], length, interface

    def _read_simple_packet(self, block: bytes) -> Frame:
        if not self.interfaces:
            raise DecodeError("interface")
        if len(block) < 12:
            raise DecodeError("length")
        (length,) = self._number(block, 8)
        interface = self.interfaces[0]
        captured = min(length, interface.snaplen or length)
        if captured > len(block) - 12:
            raise DecodeError("length")
        return 0, block[12 : 12 + captured], length, interface
