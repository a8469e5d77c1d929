"""HEP over TCP and TLS: connections that may stall, drip, lie or come by the thousand."""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import ssl
import time
from dataclasses import dataclass
from functools import partial
from typing import Final

from sipcap.counters import Counters
from sipcap.limits import MAX_STREAM_CONNECTIONS, SOCKET_BATCH, STREAM_IDLE_S
from sipcap.sources.addresses import PeerFilter
from sipcap.sources.hep_connection import Connection
from sipcap.sources.senders import Senders
from sipcap.throttle import Throttle

_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 120),  # the usual two hours would let dead peers fill the room
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


@dataclass
class Room:
    """How many connections a process may still accept, on all its ports together."""

    left: int = MAX_STREAM_CONNECTIONS


class StreamPort:
    """A listening socket and its connections.

    Args:
        listening: bound and non-blocking.
        stats: where to count; a connection that is refused counts as one message.
        peers: whom to accept; None = everybody.
        tls: the context for TLS; None = plain TCP.
        selector: where connections are registered; the data is what to call for the frames.
        senders: is told whose the frames are; None = nobody wants to know.
        room: shared by all ports of the process.
        idle_s: how long a frame or a handshake may take.
    """

    def __init__(
        self,
        listening: socket.socket,
        stats: Counters,
        peers: PeerFilter | None,
        tls: ssl.SSLContext | None,
        selector: selectors.BaseSelector,
        *,
        senders: Senders | None = None,
        room: Room | None = None,
        idle_s: float = STREAM_IDLE_S,
    ) -> None:
        self.socket = listening
        self._stats = stats
        self._peers = peers
        self._tls = tls
        self._selector = selector
        self._senders = senders
        self._room = room or Room()
        self._most = self._room.left
        self._idle_s = idle_s
        self._connections: set[Connection] = set()
        self._refusals = Throttle("refused a HEP connection from %s: %s")
        self._failures = Throttle("TLS with %s failed: %s")
        self._reserve: int | None = os.open(os.devnull, os.O_RDONLY)
        self.resume()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def resume(self) -> None:
        """Accept connections (again)."""
        if self.socket not in self._selector.get_map():
            self._selector.register(self.socket, selectors.EVENT_READ, self.accept)

    def accept(self) -> list[bytes]:
        """Accept the connections that wait, some at a time; there are no frames yet."""
        for _ in range(SOCKET_BATCH):
            if not self._accept_one():
                break
        return []

    def accept_all(self) -> None:
        """Accept all connections that wait, as many as there is room for."""
        for _ in range(self._room.left + 1):
            if not self._accept_one():
                break

    def _accept_one(self) -> bool:
        """Accept or refuse one connection; false if none waits or none can be accepted."""
        try:
            connected, address = self.socket.accept()
        except OSError as error:
            # Else nobody waits, or somebody went away again.
            return error.errno in (errno.EMFILE, errno.ENFILE) and self._refuse_with_reserve()
        if self._peers is not None and not self._peers.allows(address[0]):
            self._refuse(connected, address[0], "not_allowed", "its address is not allowed")
        elif self._room.left <= 0 and not self._drop_silent():
            self._refuse(connected, address[0], "too_many_connections", f"{self._most} are open")
        else:
            self._add(connected, address[0])
        return True

    def _refuse(self, connected: socket.socket, peer: str, reason: str, text: str) -> None:
        connected.close()
        self._stats.received += 1
        self._stats.reject(reason, peer)
        self._refusals.warning(peer, text)

    def _refuse_with_reserve(self) -> bool:
        """Without a free file descriptor, use the spare one to turn a peer away.

        A connection that stays in the queue would wake us at once, again and again. Where even that does
        not help (the whole system is out of descriptors), accepting pauses until ``resume``.
        """
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        try:
            connected, address = self.socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._selector.unregister(self.socket)
            refused = False
        else:
            self._refuse(connected, address[0], "too_many_connections", "no file descriptors are left")
            refused = True
        with contextlib.suppress(OSError):
            self._reserve = os.open(os.devnull, os.O_RDONLY)
        return refused

    def _add(self, connected: socket.socket, peer: str) -> None:
        connected.setblocking(False)
        for level, option, value in _KEEPALIVE:
            with contextlib.suppress(OSError):
                connected.setsockopt(level, option, value)
        if self._tls is not None:
            try:
                connected = self._tls.wrap_socket(connected, server_side=True, do_handshake_on_connect=False)
            except (OSError, ValueError):  # it is gone already
                connected.close()
                return
        connection = Connection(connected, self._stats, peer)
        self._connections.add(connection)
        self._room.left -= 1
        self._selector.register(connected, selectors.EVENT_READ, partial(self.receive, connection))

    def receive(self, connection: Connection) -> list[bytes]:
        """Take one turn of a connection; it is closed if its peer is done."""
        if connection not in self._connections:
            return []  # dropped since the selector named it: it was counted then
        frames, open_still = connection.receive()
        if self._senders is not None:
            self._senders.note(frames, connection.peer)
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
        if connection.shaking_hands and connection.failure is not None:
            self._failures.warning(connection.peer, connection.failure.strerror or connection.failure)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.close()
        self._connections.discard(connection)
        self._room.left += 1

    def drop_stalled(self) -> None:
        """Close connections whose peer stopped in the middle of something."""
        begun_s = time.monotonic() - self._idle_s
        for connection in list(self._connections):
            if connection.waiting_since is not None and connection.waiting_since <= begun_s:
                self._drop(connection)

    def _drop_silent(self) -> bool:
        """Make room by closing connections that have been open for long without ever sending a frame.

        As long as there is room they may stay: an agent without calls is silent too, until it speaks.
        """
        begun_s = time.monotonic() - self._idle_s
        silent = [each for each in self._connections if each.since_s <= begun_s and each.is_silent()]
        for connection in silent:
            self._drop(connection)
        return bool(silent)

    def forgive(self, pause_s: float) -> None:
        """Nobody read for so long: that is not the peers' fault."""
        for connection in self._connections:
            if connection.waiting_since is not None:
                connection.waiting_since += pause_s

    def drain(self) -> tuple[list[bytes], bool]:
        """Take one more turn of every connection; returns the frames and whether anything was read."""
        frames: list[bytes] = []
        read = False
        for connection in list(self._connections):
            frames += self.receive(connection)
            read = read or not connection.empty
        return frames, read

    def close(self) -> None:
        """Close everything; frames that are not whole are counted."""
        for connection in list(self._connections):
            self._drop(connection)
        self.socket.close()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
