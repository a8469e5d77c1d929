"""Packets of one interface, from a ring of memory that the kernel fills.

libpcap keeps its place in the ring in the process that reads: a worker that is started anew behind a fork would not
know where to go on. So the ring is read here; libpcap says what an interface's frames are and compiles the filters.

Source: Linux, Documentation/networking/packet_mmap.rst (TPACKET_V3) and linux/if_packet.h.
"""

from __future__ import annotations

import errno
import mmap
import select
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

from sipcap.compiled import twins
from sipcap.errors import CannotStart
from sipcap.limits import RING_BLOCK_BYTES, RING_BLOCK_MS
from sipcap.sources.interfaces import Interface, no_permission
from sipcap.sources.kernel_filter import NOTHING, Instruction, attach
from sipcap.sources.packet_decoder import Packet
from sipcap.wire.layer2 import IP4, IP6
from sipcap.wire.link import LinkType

_SOL_PACKET: Final = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _FANOUT = 1, 5, 6, 10, 18
_PROMISCUOUS: Final = 1
_TPACKET_V3: Final = 2
_ETH_P_ALL: Final = 3
_FANOUT_HASH, _FANOUT_UNIQUE_ID, _FANOUT_DEFRAGMENT = 0, 0x2000, 0x8000

_MEMBERSHIP: Final = struct.Struct("=iHH8x")
_STATISTICS_FIELDS: Final = struct.Struct("=3I")
_NUMBER: Final = struct.Struct("=I")
_SEQUENCE: Final = struct.Struct("=Q")
_BLOCK_STATUS, _BLOCK_PACKETS, _BLOCK_SEQUENCE = 8, 12, 24
_COUNT_AND_FIRST: Final = struct.Struct("=II")
_OURS: Final = 1
_KERNELS: Final = _NUMBER.pack(0)

# tpacket3_hdr: next, seconds, nanoseconds, captured length, length, status, link offset, IP offset, hash, VLAN.
_HEADER: Final = struct.Struct("=6IHH4xIH")
_VLAN_VALID, _VLAN_TYPE_VALID = 0x10, 0x40
_TAG: Final = struct.Struct(">HH")
_VLAN: Final = 0x8100

# sockaddr_ll behind it: protocol, hardware type, packet type, length of the address, address.
_SENDER: Final = struct.Struct("=2x2s4xHBB8s")
_SENDER_OFFSET: Final = 48
_COOKED: Final = struct.Struct(">HHH8s2s")

_FRAME_BYTES: Final = 2_048
"""A unit of the ring's size only: packets of a block stand behind each other."""

_RING: Final = twins()
_LITTLE: Final = sys.byteorder == "little"

FEWEST_BLOCKS: Final = 16


def framed(memory: mmap.mmap, begin: int, link: LinkType) -> list[Packet]:
    """Packets with their Ethernet headers: the hot loop. A tag that the kernel took off is put back.

    Args:
        memory: the ring.
        begin: where a block begins that is ours.
        link: of the packets.
    """
    header_of = _HEADER.unpack_from
    packets = []
    count, first = _COUNT_AND_FIRST.unpack_from(memory, begin + _BLOCK_PACKETS)
    at = begin + first
    for _ in range(count):
        step, seconds, nanoseconds, kept, _, status, offset, _, tag, tag_type = header_of(memory, at)
        data = memory[at + offset : at + offset + kept]
        if status & _VLAN_VALID:
            data = data[:12] + _TAG.pack(tag_type if status & _VLAN_TYPE_VALID else _VLAN, tag) + data[12:]
        packets.append((seconds * 1_000_000 + nanoseconds // 1_000, data, link))
        at += step
    return packets


def cooked(memory: mmap.mmap, begin: int, link: LinkType, with_header: bool) -> list[Packet]:
    """Packets without link header, or with the one of Linux cooked captures; see ``framed``."""
    packets = []
    count, first = _COUNT_AND_FIRST.unpack_from(memory, begin + _BLOCK_PACKETS)
    at = begin + first
    for _ in range(count):
        step, seconds, nanoseconds, kept, _, status, offset, _, tag, tag_type = _HEADER.unpack_from(memory, at)
        data = memory[at + offset : at + offset + kept]
        if with_header:
            protocol, hardware, kind, length, address = _SENDER.unpack_from(memory, at + _SENDER_OFFSET)
            if data[2:4] == protocol and _begins_with_tag(protocol, data):
                protocol = _VLAN.to_bytes(2, "big")
            if status & _VLAN_VALID:
                data = tag.to_bytes(2, "big") + protocol + data
                protocol = (tag_type if status & _VLAN_TYPE_VALID else _VLAN).to_bytes(2, "big")
            data = _COOKED.pack(kind, hardware, length, address, protocol) + data
        packets.append((seconds * 1_000_000 + nanoseconds // 1_000, data, link))
        at += step
    return packets


def _framed(memory: mmap.mmap, begin: int, link: LinkType) -> list[Packet]:
    found: list[Packet] | None = None if _RING is None else _RING.framed(memory, begin, link, _LITTLE)
    return framed(memory, begin, link) if found is None else found


def _cooked(memory: mmap.mmap, begin: int, link: LinkType, with_header: bool) -> list[Packet]:
    found: list[Packet] | None = None
    if _RING is not None:
        found = _RING.cooked(memory, begin, link, _LITTLE, with_header)
    return cooked(memory, begin, link, with_header) if found is None else found


class PacketRing:
    """A packet socket and its ring; it takes nothing before ``start``.

    Args:
        interface: where to capture.
        size_bytes: of the ring; less is taken if the system has not so much.
        promisc: ask the card for packets to others, too.

    Raises:
        CannotStart: we may not, or there is no memory.
    """

    def __init__(self, interface: Interface, size_bytes: int, *, promisc: bool = False) -> None:
        self._interface = interface
        self._link = interface.link
        self._next = -1
        """The block to read next; -1: look for it."""
        try:
            kind = socket.SOCK_DGRAM if interface.is_cooked else socket.SOCK_RAW
            # Python cannot bind to no interface: with a protocol from the start, the socket hears all of them.
            protocol = 0 if interface.index else socket.htons(_ETH_P_ALL)
            self.socket = socket.socket(socket.AF_PACKET, kind, protocol)
        except PermissionError:
            raise no_permission("packets") from None
        try:
            attach(self.socket, NOTHING)
            self._blocks = self._make_ring(max(size_bytes // RING_BLOCK_BYTES, FEWEST_BLOCKS))
            self._memory = mmap.mmap(self.socket.fileno(), self.size_bytes)
            if interface.index:
                self.socket.bind((interface.name, _ETH_P_ALL))
            if promisc:
                request = _MEMBERSHIP.pack(interface.index, _PROMISCUOUS, 0)
                self.socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
        except OSError as error:
            self.socket.close()
            raise CannotStart(f"cannot capture on {interface.name}: {error.strerror}") from None
        self._poller = select.poll()
        self._poller.register(self.socket, select.POLLIN)

    def _make_ring(self, blocks: int) -> int:
        self.socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        while True:
            frames = blocks * (RING_BLOCK_BYTES // _FRAME_BYTES)
            request = struct.pack("=7I", RING_BLOCK_BYTES, blocks, _FRAME_BYTES, frames, RING_BLOCK_MS, 0, 0)
            try:
                self.socket.setsockopt(_SOL_PACKET, _RX_RING, request)
                return blocks
            except OSError as error:
                if error.errno != errno.ENOMEM or blocks <= FEWEST_BLOCKS:
                    raise
            blocks = max(blocks // 2, FEWEST_BLOCKS)

    @property
    def size_bytes(self) -> int:
        """What the ring holds."""
        return self._blocks * RING_BLOCK_BYTES

    def join(self, group: int | None) -> int:
        """Share the interface's packets with other rings, each flow going to one; none of them may have started.

        Fragments of IPv4 are put together by the kernel before; those of IPv6 stay together.

        Args:
            group: what another ring's ``join`` returned; None makes a new group.
        """
        mode = _FANOUT_HASH | _FANOUT_DEFRAGMENT
        try:
            if group is not None:
                self.socket.setsockopt(_SOL_PACKET, _FANOUT, _NUMBER.pack(group | mode << 16))
                return group
            self.socket.setsockopt(_SOL_PACKET, _FANOUT, _NUMBER.pack((mode | _FANOUT_UNIQUE_ID) << 16))
            return self.socket.getsockopt(_SOL_PACKET, _FANOUT) & 0xFFFF
        except OSError as error:
            raise CannotStart(f"cannot share {self._interface.name} between processes: {error.strerror}") from None

    def start(self, program: Sequence[Instruction]) -> None:
        """Let packets in that pass a filter."""
        attach(self.socket, program)

    def refuse_more(self) -> None:
        """Let nothing more in; what waits can be read, the last block after ``RING_BLOCK_MS``."""
        attach(self.socket, NOTHING)

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to read.

        Raises:
            OSError: ENETDOWN, once: the interface is down or gone.
        """
        for _, event in self._poller.poll(timeout_s * 1_000):
            if event & select.POLLERR and (number := self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                raise OSError(number, "interface error")
            return True
        return False

    def read(self) -> list[Packet]:
        """Take the packets of one block, [] if none is full or old enough."""
        memory = self._memory
        if self._next < 0:
            self._next = self._oldest()
            if self._next < 0:
                return []
        begin = self._next * RING_BLOCK_BYTES
        if not _NUMBER.unpack_from(memory, begin + _BLOCK_STATUS)[0] & _OURS:
            return []
        if self._interface.is_cooked:
            packets = _cooked(memory, begin, self._link, self._interface.has_header)
        else:
            packets = _framed(memory, begin, self._link)
        memory[begin + _BLOCK_STATUS : begin + _BLOCK_STATUS + 4] = _KERNELS
        self._next = (self._next + 1) % self._blocks
        return packets

    def _oldest(self) -> int:
        """The block that was filled first of those that are ours, -1 if none is."""
        found, first = -1, 0
        for block in range(self._blocks):
            begin = block * RING_BLOCK_BYTES
            if _NUMBER.unpack_from(self._memory, begin + _BLOCK_STATUS)[0] & _OURS:
                (number,) = _SEQUENCE.unpack_from(self._memory, begin + _BLOCK_SEQUENCE)
                if found < 0 or number < first:
                    found, first = block, number
        return found

    def waiting(self) -> int:
        """Packets in the blocks that are ours."""
        begins = range(0, self.size_bytes, RING_BLOCK_BYTES)
        ours = [each for each in begins if _NUMBER.unpack_from(self._memory, each + _BLOCK_STATUS)[0] & _OURS]
        return sum(_NUMBER.unpack_from(self._memory, begin + _BLOCK_PACKETS)[0] for begin in ours)

    def drops(self) -> int:
        """Packets for which the ring had no room since the last call."""
        answer = self.socket.getsockopt(_SOL_PACKET, _STATISTICS, _STATISTICS_FIELDS.size)
        return int(_STATISTICS_FIELDS.unpack(answer)[1])

    def close(self) -> None:
        """Give socket and memory back; may be called twice."""
        self._memory.close()
        self.socket.close()


def _begins_with_tag(protocol: bytes, data: bytes) -> bool:
    """Whether a cooked packet begins with a VLAN id and the type of what follows.

    The kernel takes off the outer tag; since Linux 6.10 it says behind an inner one, too, what follows that.
    ``data[2:4]`` is the protocol already: in an IP packet these would be length or flow label.
    """
    if len(data) < 44:
        return False
    if protocol == IP4:
        return data[4] >> 4 == 4 and 20 <= int.from_bytes(data[6:8], "big") <= len(data) - 4
    return protocol == IP6 and data[4] >> 4 == 6 and int.from_bytes(data[8:10], "big") <= len(data) - 44
