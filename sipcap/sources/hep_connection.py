"""One HEP peer on TCP or TLS: bytes in, whole frames out."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time
from collections.abc import Iterator

from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.limits import STREAM_BUFFER_BYTES
from sipcap.wire.hep_stream import HepFramer


class Connection:
    """One peer; hands out whole frames."""

    def __init__(self, connected: socket.socket, stats: Counters, peer: str = "") -> None:
        self.socket = connected
        self.peer = peer
        self._stats = stats
        self._framer = HepFramer()
        self.shaking_hands = isinstance(connected, ssl.SSLSocket)
        """TLS is not there yet."""
        self.since_s = time.monotonic()
        self.has_spoken = False
        """At least one whole frame came."""
        self.waiting_since: float | None = self.since_s if self.shaking_hands else None
        """When the frame (or handshake) began that is not whole yet; None between frames."""
        self.wants_write = False
        """TLS cannot go on before the socket takes bytes."""
        self.failure: OSError | None = None
        """Why the connection ended, if not with an end of stream."""
        self.empty = False
        """The last turn found nothing to read."""

    def receive(self) -> tuple[list[bytes], bool]:
        """Take what waits, one buffer at most; returns whole frames and whether the peer is still there."""
        self.wants_write = self.empty = False
        try:
            if self.shaking_hands:
                self._shake_hands()
            data = self.socket.recv(STREAM_BUFFER_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            self.empty = True
            return [], True
        except ssl.SSLWantWriteError:
            self.wants_write = self.empty = True
            return [], True
        except OSError as error:  # reset, TLS alert, a client that speaks no TLS
            self.failure = error
            return [], False
        if not data:
            return [], False
        return list(self._frames(data)), not self._framer.dead

    def _shake_hands(self) -> None:
        assert isinstance(self.socket, ssl.SSLSocket)
        self.socket.do_handshake()
        self.shaking_hands = False
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
                self._stats.reject(error.reason, self.peer)
                continue
            if frame is None:
                break
            whole = self.has_spoken = True
            yield frame
        if not framer.pending:
            self.waiting_since = None
        elif whole or self.waiting_since is None:
            self.waiting_since = time.monotonic()

    def is_silent(self) -> bool:
        """Whether no whole frame ever came, and nothing waits to be read."""
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        return not self.has_spoken and not poller.poll(0)

    def close(self) -> None:
        """Close it; a frame that is not whole counts as cut."""
        if self._framer.pending:
            self._stats.received += 1
            self._stats.reject("stream_cut", self.peer)
        if isinstance(self.socket, ssl.SSLSocket) and not self.shaking_hands and self.failure is None:
            with contextlib.suppress(OSError, ValueError):
                self.socket.unwrap()  # says goodbye; does not wait for an answer
        self.socket.close()
