"""HEP over TCP and TLS: connections that may stall, drip, lie or come by the thousand."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial

from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.limits import MAX_STREAM_CONNECTIONS, SOCKET_BATCH, STREAM_BUFFER_BYTES, STREAM_IDLE_S
from sipcap.sources.addresses import PeerFilter
from sipcap.sources.quiet import Throttle
from sipcap.wire.hep_stream import HepFramer


class Connection:
    """One peer; hands out whole frames."""

    def __init__(self, connected: socket.socket, stats: Counters) -> None:
        self.socket = connected
        self._stats = stats
        self._framer = HepFramer()
        self._shaking_hands = isinstance(connected, ssl.SSLSocket)
        self.waiting_since: float | None = time.monotonic() if self._shaking_hands else None
        """When the frame (or handshake) began that is not whole yet; None between frames."""
        self.wants_write = False
        """TLS cannot go on before the socket takes bytes."""

    def receive(self) -> tuple[list[bytes], bool]:
        """Take what waits, one buffer at most; returns whole frames and whether the peer is still there."""
        try:
            if self._shaking_hands:
                self._shake_hands()
            data = self.socket.recv(STREAM_BUFFER_BYTES)
            self.wants_write = False
        except (BlockingIOError, ssl.SSLWantReadError):
            self.wants_write = False
            return [], True
        except ssl.SSLWantWriteError:
            self.wants_write = True
            return [], True
        except OSError:  # reset, TLS alert, a client that speaks no TLS
            self._count_cut()
            return [], False
        if not data:
            self._count_cut()
            return [], False
        return list(self._frames(data)), not self._framer.dead

    def _shake_hands(self) -> None:
        assert isinstance(self.socket, ssl.SSLSocket)
        self.socket.do_handshake()
        self._shaking_hands = False
        self.waiting_since = None

    def _frames(self, data: bytes) -> Iterator[bytes]:
        framer = self._framer
        framer.receive_data(data)
        whole = False
        while True:
            try:
                frame = framer.next_frame()
            except DecodeError as error:
                self._stats.received += 1
                self._stats.rejected[error.reason] += 1
                continue
            if frame is None:
                break
            whole = True
            yield frame
        if not framer.pending:
            self.waiting_since = None
        elif whole or self.waiting_since is None:
            self.waiting_since = time.monotonic()

    def _count_cut(self) -> None:
        if self._framer.pending:
            self._stats.received += 1
            self._stats.rejected["stream_cut"] += 1

    def stalled(self, now_s: float) -> bool:
        """Whether a frame or handshake has been unfinished for too long; then it counts as cut."""
        if self.waiting_since is None or now_s - self.waiting_since < STREAM_IDLE_S:
            return False
        self._count_cut()
        return True


class StreamPort:
    """A listening socket and its connections.

    Args:
        listening: bound and non-blocking.
        stats: where to count.
        peers: whom to accept; None = everybody.
        tls: the context for TLS; None = plain TCP.
        selector: where connections are registered; the data is what to call for the frames.
    """

    def __init__(
        self,
        listening: socket.socket,
        stats: Counters,
        peers: PeerFilter | None,
        tls: ssl.SSLContext | None,
        selector: selectors.BaseSelector,
    ) -> None:
        self.socket = listening
        self._stats = stats
        self._peers = peers
        self._tls = tls
        self._selector = selector
        self._connections: set[Connection] = set()
        self._refusals = Throttle("refused a HEP connection from %s: %s")
        self._reserve: int | None = os.open(os.devnull, os.O_RDONLY)

    def accept(self) -> list[bytes]:
        """Accept the connections that wait; there are no frames yet."""
        for _ in range(SOCKET_BATCH):
            try:
                connected, peer = self.socket.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._refuse_with_reserve()
                return []  # else nobody waits, or somebody went away again
            reason = self._reason_to_refuse(peer[0])
            if reason:
                connected.close()
                self._refusals.warning(peer[0], reason)
            else:
                self._add(connected)

        return []

    def _refuse_with_reserve(self) -> None:
        """Without a free file descriptor, use the spare one to turn a peer away.

        A connection that stays in the queue would wake us at once, again and again.
        """
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        with contextlib.suppress(OSError):
            connected, peer = self.socket.accept()
            connected.close()
            self._refusals.warning(peer[0], "no file descriptors are left")
        with contextlib.suppress(OSError):
            self._reserve = os.open(os.devnull, os.O_RDONLY)

    def _reason_to_refuse(self, host: str) -> str:
        if self._peers is not None and not self._peers.allows(host):
            return "its address is not allowed"
        if len(self._connections) >= MAX_STREAM_CONNECTIONS:
            return f"{MAX_STREAM_CONNECTIONS} are open"
        return ""

    def _add(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._tls is not None:
            try:
                connected = self._tls.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)
            except OSError:  # it is gone already
                connected.close()
                return
        connection = Connection(connected, self._stats)
        self._connections.add(connection)
        self._selector.register(connected, selectors.EVENT_READ, partial(self.receive, connection))

    def receive(self, connection: Connection) -> list[bytes]:
        """Take one turn of a connection; it is closed if its peer is done."""
        frames, open_still = connection.receive()
        if not open_still:
            self._drop(connection)
            return frames
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_write else 0)
        key = self._selector.get_key(connection.socket)
        if key.events != events:
            self._selector.modify(connection.socket, events, key.data)
        if isinstance(connection.socket, ssl.SSLSocket) and connection.socket.pending():
            frames += self.receive(connection)  # bytes that TLS holds wake no selector; it holds 16 KB at most
        return frames

    def _drop(self, connection: Connection) -> None:
        """Close one connection."""
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()
        self._connections.discard(connection)

    def drop_stalled(self) -> None:
        """Close connections whose peer stopped in the middle of something."""
        now_s = time.monotonic()
        for connection in [each for each in self._connections if each.stalled(now_s)]:
            self._drop(connection)

    def drain(self) -> list[bytes]:
        """Take one more turn of every connection; empty if none had a whole frame."""
        return [frame for connection in list(self._connections) for frame in self.receive(connection)]

    def close(self) -> None:
        """Close everything; frames that are not whole are counted."""
        for connection in list(self._connections):
            connection.waiting_since = -STREAM_IDLE_S
            connection.stalled(time.monotonic())
            self._drop(connection)
        self.socket.close()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
