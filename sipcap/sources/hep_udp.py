"""One UDP socket that receives HEP."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import Final

from sipcap.counters import Counters
from sipcap.limits import MAX_DATAGRAM_BYTES, SOCKET_BATCH
from sipcap.sources.addresses import PeerFilter

_SO_RCVBUFFORCE: Final = 33  # Linux; needs CAP_NET_ADMIN and ignores net.core.rmem_max
_SO_MEMINFO: Final = 55  # Linux 4.12: nine 32-bit numbers, the last one counts drops
_MEMINFO: Final = struct.Struct("=9I")


class UdpPort:
    """Takes datagrams from a bound, non-blocking socket.

    Args:
        bound: the socket; closed by ``close``.
        stats: where to count.
        peers: whom to hear; None = everybody.
    """

    def __init__(self, bound: socket.socket, stats: Counters, peers: PeerFilter | None) -> None:
        self.socket = bound
        self._stats = stats
        self._peers = peers
        self._drops_seen = 0

    def grant_buffer(self, size_bytes: int) -> int:
        """Ask for a receive buffer; returns what the system granted, in bytes as it counts them."""
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size_bytes // 2)
        except OSError:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size_bytes // 2)
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def receive(self, limit: int = SOCKET_BATCH) -> list[bytes]:
        """Take the datagrams that wait, ``limit`` at most."""
        datagrams: list[bytes] = []
        try:
            if self._peers is None:
                receive = self.socket.recv
                for _ in range(limit):
                    datagrams.append(receive(MAX_DATAGRAM_BYTES))
            else:
                self._receive_filtered(self._peers, datagrams, limit)
        except BlockingIOError:
            pass
        except ConnectionError:
            pass  # an ICMP error that some earlier answer of somebody caused; the socket goes on
        return datagrams

    def _receive_filtered(self, peers: PeerFilter, datagrams: list[bytes], limit: int) -> None:
        for _ in range(limit):
            data, peer = self.socket.recvfrom(MAX_DATAGRAM_BYTES)
            if peers.allows(peer[0]):
                datagrams.append(data)
            else:
                self._stats.datagrams += 1
                self._stats.bytes += len(data)
                self._stats.received += 1
                self._stats.rejected["not_allowed"] += 1

    def count_drops(self) -> None:
        """Add what the kernel dropped at this socket since the last call to ``kernel_dropped``."""
        try:
            info = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return  # before Linux 4.12 there is no such number
        drops = _MEMINFO.unpack(info)[8]
        self._stats.kernel_dropped += (drops - self._drops_seen) % 2**32
        self._drops_seen = drops

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
