"""One raw socket that receives IP in IP."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from typing import Final

from sipcap.counters import Counters
from sipcap.limits import MAX_DATAGRAM_BYTES, SOCKET_BATCH
from sipcap.sources.hep_udp import UdpPort
from sipcap.sources.kernel_filter import NOTHING, attach, share_of_flows
from sipcap.sources.packet_decoder import Packet
from sipcap.wire.link import LINK_TYPES

_SO_TIMESTAMPNS: Final = 35
_TIMESPEC: Final = struct.Struct("@ll")
_ROOM: Final = socket.CMSG_SPACE(_TIMESPEC.size)
_RAW_IP: Final = LINK_TYPES[101]
_LONGEST_QUEUE: Final = 1 << 20  # packets; see UdpPort


class IpipPort:
    """Takes packets from a raw socket, with the time at which the kernel took them in.

    Args:
        raw: the socket; closed by ``close``.
        stats: where to count what the kernel drops.
    """

    def __init__(self, raw: socket.socket, stats: Counters) -> None:
        self.socket = raw
        self._stats = stats
        self._udp = UdpPort(raw, stats, None)  # buffer and drops are the same with every kind of datagram
        self._refuses = False
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def share(self, index: int, number: int, *, outer_header: bool, inner_version: int) -> None:
        """Take one of ``number`` shares only; see ``share_of_flows``."""
        if number > 1:
            program = share_of_flows(index, number, outer_header=outer_header, inner_version=inner_version)
            attach(self.socket, program)

    def grant_buffer(self, size_bytes: int) -> int:
        """Ask for a receive buffer; returns what the system granted, in bytes as it counts them."""
        return self._udp.grant_buffer(size_bytes)

    def receive(self, limit: int = SOCKET_BATCH) -> list[Packet]:
        """Take the packets that wait, ``limit`` at most."""
        packets: list[Packet] = []
        receive = self.socket.recvmsg
        try:
            for _ in range(limit):
                data, ancillary, _, _ = receive(MAX_DATAGRAM_BYTES, _ROOM)
                packets.append((_time_of(ancillary), data, _RAW_IP))
        except (BlockingIOError, ConnectionError):
            pass  # nothing more; or an ICMP error that some earlier packet of somebody caused
        return packets

    def refuse_more(self) -> None:
        """Let the kernel refuse what arrives from now on; what waits already can still be taken."""
        self.count_drops()
        self._refuses = True
        attach(self.socket, NOTHING)

    def discard(self) -> None:
        """Count what still waits as dropped: there is no time left to look at it."""
        for _ in range(_LONGEST_QUEUE):
            try:
                self.socket.recv(1)
            except OSError:
                return
            self._stats.kernel_dropped += 1

    def count_drops(self) -> None:
        """Add what the kernel dropped at this socket since the last call to ``kernel_dropped``."""
        if not self._refuses:
            self._udp.count_drops()

    def close(self) -> None:
        """Close the socket."""
        with contextlib.suppress(OSError):
            self.socket.close()


def _time_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """When the kernel took a packet in, microseconds since 1970; now, if it does not say."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(data) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return int(seconds) * 1_000_000 + int(nanoseconds) // 1_000
    return time.time_ns() // 1_000
