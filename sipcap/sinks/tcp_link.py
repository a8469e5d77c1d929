"""One TCP or TLS connection that is written to, and what of it has not arrived.

TLS is done in memory (``ssl.MemoryBIO``), so that the bytes on the wire are known: the kernel tells how many of them
the other side has not acknowledged, and that names the frames which a broken connection has lost.
"""

from __future__ import annotations

import errno
import fcntl
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable
from typing import Final

from sipcap.endpoint import Endpoint

CONNECT_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.1
_RECEIVE_BYTES: Final = 1 << 16

_SIOCOUTQ: Final = termios.TIOCOUTQ
"""Bytes that were written and not acknowledged (tcp(7)); it is still answered when the connection is broken."""


class GivenUpError(Exception):
    """Writing was given up: the rest of a frame will never come."""


class TcpLink:
    """One connection to a collector.

    Args:
        endpoint: where to.
        tls: the context for TLS; None = plain TCP.

    Raises:
        OSError: there is no such host, nobody answers, or the handshake failed (``ssl.SSLError`` is one).
    """

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None) -> None:
        self.written_bytes = 0
        """What was handed to the kernel so far."""
        self._is_finished = False
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._socket = socket.create_connection((endpoint.host, endpoint.port), CONNECT_TIMEOUT_S)
        self._room = select.poll()
        self._room.register(self._socket, select.POLLOUT)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname=endpoint.host)
                self._shake_hands(self._tls)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise

    def _shake_hands(self, tls: ssl.SSLObject) -> None:
        until_s = time.monotonic() + CONNECT_TIMEOUT_S
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush_handshake()
                if time.monotonic() > until_s:
                    raise TimeoutError("the TLS handshake takes too long") from None
                data = self._socket.recv(_RECEIVE_BYTES)
                if not data:
                    raise ConnectionResetError(errno.ECONNRESET, "Connection closed during the TLS handshake") from None
                self._incoming.write(data)
            except ssl.SSLError:
                self._flush_handshake()  # the alert that says why
                raise
            else:
                self._flush_handshake()
                return

    def _flush_handshake(self) -> None:
        data = self._outgoing.read()
        self._socket.sendall(data)
        self.written_bytes += len(data)

    def write(self, data: bytes, gives_up: Callable[[], bool]) -> None:
        """Write all of a frame.

        Args:
            data: the frame.
            gives_up: asked ten times a second while the connection is full.

        Raises:
            OSError: the connection is broken.
            GivenUpError: ``gives_up`` said so.
        """
        if self._tls is not None:
            self._listen(self._tls)
            written = 0
            while written < len(data):
                written += self._tls.write(data[written:])
            data = self._outgoing.read()
        view = memoryview(data)
        while view:
            try:
                sent = self._socket.send(view)
            except BlockingIOError:
                if not self._room.poll(_POLL_S * 1_000) and gives_up():
                    raise GivenUpError from None
            else:
                view = view[sent:]
                self.written_bytes += sent

    def _listen(self, tls: ssl.SSLObject) -> None:
        """Take in what TLS itself has to say: tickets, changes of keys, and why it ends."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "Connection closed by the other side")
        self._incoming.write(data)
        try:
            while tls.read(_RECEIVE_BYTES):
                pass
        except ssl.SSLWantReadError:
            return
        raise ConnectionResetError(errno.ECONNRESET, "Connection closed by the other side")

    def unacknowledged_bytes(self) -> int:
        """How many of the bytes written the other side's system has not confirmed."""
        answer = fcntl.ioctl(self._socket, _SIOCOUTQ, b"\0\0\0\0")
        unconfirmed = int(struct.unpack("i", answer)[0])
        return max(unconfirmed - self._is_finished, 0)  # the farewell counts as a byte

    def finish(self, timeout_s: float) -> None:
        """Say that nothing more comes, and wait until all has been confirmed.

        Raises:
            OSError: the connection broke.
        """
        if self._tls is not None:
            try:
                self._tls.unwrap()
            except ssl.SSLError:
                pass  # it wants the other side's farewell, too
            self._farewell(self._outgoing.read())
        self._socket.shutdown(socket.SHUT_WR)
        self._is_finished = True
        until_s = time.monotonic() + timeout_s
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        pause_s = 0.001
        while self.unacknowledged_bytes() and time.monotonic() < until_s:
            if poller.poll(pause_s * 1_000) and not self._socket.recv(_RECEIVE_BYTES):
                time.sleep(pause_s)  # it has closed its side; what we sent may still be confirmed
            pause_s = min(2 * pause_s, _POLL_S)

    def _farewell(self, data: bytes) -> None:
        try:
            self.written_bytes += self._socket.send(data)
        except BlockingIOError:
            pass  # a full connection: it ends without it

    def close(self) -> None:
        """Close it; may be called twice."""
        try:
            # With something unread, close() would break the connection off, and what is on its way with it.
            while self._socket.recv(_RECEIVE_BYTES):
                pass
        except OSError:
            pass
        self._socket.close()
