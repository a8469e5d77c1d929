"""A TCP proxy that cuts connections when it is told to, or when it sees certain bytes go by."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from typing import Final, Self

_POLL_S: Final = 0.05


class Proxy:
    """Passes connections on to a server, in a thread of its own.

    ``cut_at`` are bytes of a client after which all connections are cut once: with ``passing`` these bytes
    still reach the server, and the cut comes with its answer, which does not reach the client.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.cut_at: bytes | None = None
        self.passing = False
        self.refusing = False
        self.silent = False
        """Whether nothing is passed on, or accepted: the server seems to be there, and says nothing."""
        self.cuts = 0
        self._armed = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(5)
        self._cut()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            if self.silent:
                time.sleep(_POLL_S)
                continue
            for key, _ in self._selector.select(_POLL_S):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._pass_on(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self.refusing:
            client.close()
            return
        server = socket.create_connection(self._target, 5)
        self._clients.add(client)
        for one, other in ((client, server), (server, client)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._close(source)
            return
        from_client = source in self._clients
        if from_client and self.cut_at is not None and self.cut_at in data:
            self.cut_at = None
            if not self.passing:
                self._cut()
                return
            self._armed = True
        elif self._armed and not from_client:
            self._armed = False
            self._cut()
            return
        try:
            self._peers[source].sendall(data)
        except OSError:
            self._close(source)

    def _cut(self) -> None:
        self.cuts += 1
        for each in list(self._peers):
            self._close(each)

    def _close(self, one: socket.socket) -> None:
        for each in (one, self._peers.get(one)):
            if each is not None and self._peers.pop(each, None) is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(each)
                self._clients.discard(each)
                each.close()
