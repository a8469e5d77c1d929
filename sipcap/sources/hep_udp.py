"""One UDP socket that receives HEP."""

from __future__ import annotations

import contextlib
import socket
import struct
from array import array
from typing import Final

from sipcap.counters import Counters
from sipcap.limits import MAX_DATAGRAM_BYTES, SOCKET_BATCH
from sipcap.sources.addresses import PeerFilter
from sipcap.sources.senders import Senders

_SO_RCVBUFFORCE: Final = 33  # Linux; needs CAP_NET_ADMIN and ignores net.core.rmem_max
_SO_ATTACH_FILTER: Final = 26
_SO_MEMINFO: Final = 55  # Linux 4.12: nine 32-bit numbers, the last one counts drops
_MEMINFO: Final = struct.Struct("=9I")
_RETURN_NOTHING: Final = array("B", struct.pack("=HBBI", 6, 0, 0, 0))  # BPF: ret #0
_FEW: Final = 8
"""Fewer datagrams in a turn leave time to ask for their senders: that costs half a microsecond each (2026-11-26)."""
_LONGEST_QUEUE: Final = 1 << 20  # datagrams; a socket buffer of 2 GiB, the most that Linux allows, holds fewer


class UdpPort:
    """Takes datagrams from a bound, non-blocking socket.

    Args:
        bound: the socket; closed by ``close``.
        stats: where to count.
        peers: whom to hear; None = everybody.
        drops_seen: one number, what the kernel has dropped and was counted; None = nothing yet.
        senders: is told who sent what, where that costs little or is wanted; None = nobody wants to know.
    """

    def __init__(
        self,
        bound: socket.socket,
        stats: Counters,
        peers: PeerFilter | None,
        drops_seen: memoryview | None = None,
        senders: Senders | None = None,
    ) -> None:
        self.socket = bound
        self.empty = False
        """The last ``receive`` took everything that waited."""
        self._stats = stats
        self._peers = peers
        self._drops_seen = memoryview(bytearray(8)).cast("Q") if drops_seen is None else drops_seen
        self._refuses = False
        self._senders = senders
        self._is_calm = True

    def grant_buffer(self, size_bytes: int) -> int:
        """Ask for a receive buffer; returns what the system granted, in bytes as it counts them."""
        half = (size_bytes + 1) // 2  # Linux doubles what it is asked for
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, half)
        except OSError:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, half)
        return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def receive(self, limit: int = SOCKET_BATCH) -> list[bytes]:
        """Take the datagrams that wait, ``limit`` at most; those of peers not allowed are counted instead."""
        datagrams: list[bytes] = []
        senders = self._senders
        hosts: list[str] | None = [] if senders is not None and (self._is_calm or senders.are_wanted) else None
        self.empty = False
        try:
            if self._peers is not None:
                self._receive_filtered(self._peers, datagrams, hosts, limit)
            elif hosts is not None:
                self._receive_named(datagrams, hosts, limit)
            else:
                receive = self.socket.recv
                append = datagrams.append
                for _ in range(limit):
                    append(receive(MAX_DATAGRAM_BYTES))
        except BlockingIOError:
            self.empty = True
        except ConnectionError:
            pass  # an ICMP error that some earlier answer of somebody caused; the socket goes on
        self._is_calm = len(datagrams) < _FEW
        if senders is not None and hosts is not None:
            senders.note(datagrams, hosts)
        return datagrams

    def _receive_named(self, datagrams: list[bytes], hosts: list[str], limit: int) -> None:
        for _ in range(limit):
            data, sender = self.socket.recvfrom(MAX_DATAGRAM_BYTES)
            datagrams.append(data)
            hosts.append(sender[0])

    def _receive_filtered(self, peers: PeerFilter, datagrams: list[bytes], hosts: list[str] | None, limit: int) -> None:
        for _ in range(limit):
            data, peer = self.socket.recvfrom(MAX_DATAGRAM_BYTES)
            if peers.allows(peer[0]):
                datagrams.append(data)
                if hosts is not None:
                    hosts.append(peer[0])
            else:
                self._count_unread(data)
                self._stats.reject("not_allowed", peer[0])

    def _count_unread(self, data: bytes) -> None:
        self._stats.datagrams += 1
        self._stats.bytes += len(data)
        self._stats.received += 1

    def refuse_more(self) -> None:
        """Let the kernel refuse what arrives from now on; what waits already can still be taken.

        Without it a drain would not end while somebody sends as fast as it reads.
        """
        self.count_drops()
        self._refuses = True  # the kernel's count goes on with what it refuses: no loss, nobody listens any more
        address, size = _RETURN_NOTHING.buffer_info()
        program = struct.pack("@HP", size // 8, address)
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def discard(self) -> None:
        """Count what still waits as ``dropped{drain_timeout}``: there is no time left to look at it."""
        for _ in range(_LONGEST_QUEUE):
            try:
                data = self.socket.recv(MAX_DATAGRAM_BYTES)
            except OSError:
                return
            self._count_unread(data)
            self._stats.dropped["drain_timeout"] += 1

    def count_drops(self) -> None:
        """Add what the kernel dropped at this socket since the last call to ``kernel_dropped``."""
        if self._refuses:
            return
        try:
            info = self.socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return  # before Linux 4.12 there is no such number
        drops = _MEMINFO.unpack(info)[8]
        self._stats.kernel_dropped += (drops - self._drops_seen[0]) % 2**32
        self._drops_seen[0] = drops

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
