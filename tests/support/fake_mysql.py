"""A MySQL server that answers statements as a test wants, also as no honest server does."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Final, Self

OK: Final = b"\x00\x00\x00\x02\x00\x00\x00"
_CAPABILITIES: Final = (
    0x0008_A280 | 0x0000_0200
)  # PLUGIN_AUTH, SECURE_CONNECTION, TRANSACTIONS, LOCAL_FILES, PROTOCOL_41
_QUERY: Final = 3


def file_request(name: str) -> bytes:
    """The answer that asks the client for a file."""
    return b"\xfb" + name.encode()


def result(*columns: str) -> list[bytes]:
    """The answer of one row."""
    names = [_text(b"def") + _text(b"") * 3 + _text(b"c") * 2 + b"\x0c\x21\x00\0\0\0\0\xfd\0\0\0\0\0" for _ in columns]
    end = b"\xfe\x00\x00\x02\x00"
    return [bytes((len(columns),)), *names, end, b"".join(_text(each.encode()) for each in columns), end]


def _text(data: bytes) -> bytes:
    return bytes((len(data),)) + data


class FakeMysql:
    """Serves connections one after the other.

    Args:
        answer: the packets that answer a statement; after a request for a file, what comes is read to its end
            and answered with ``OK``.
        plugin: how the client is to prove who it is, once it has greeted.
    """

    def __init__(self, answer: Callable[[bytes], list[bytes]], plugin: str = "") -> None:
        self._plugin = plugin
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = b""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.settimeout(1)
            with client, contextlib.suppress(OSError, EOFError):
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        low, high = _CAPABILITIES & 0xFFFF, _CAPABILITIES >> 16
        greeting = b"\x0a8.0.99-fake\0" + struct.pack("<I", 1) + b"saltsalt\0"
        greeting += struct.pack("<HBHHB", low, 33, 2, high, 21) + b"\0" * 10 + b"moresaltmore\0mysql_native_password\0"
        self._send(client, 0, greeting)
        number, _ = self._read(client)
        if self._plugin:
            self._send(client, number + 1, b"\xfe" + self._plugin.encode() + b"\0saltsaltsaltsaltsalt\0")
            number, _ = self._read(client)
        self._send(client, number + 1, OK)
        while True:
            number, packet = self._read(client)
            if packet[:1] != bytes((_QUERY,)):
                return
            for answer in self._answer(packet[1:]):
                number += 1
                self._send(client, number, answer)
                if answer[:1] == b"\xfb":
                    data = b"-"
                    while data:
                        number, data = self._read(client)
                    number += 1
                    self._send(client, number, OK)

    def _send(self, client: socket.socket, number: int, packet: bytes) -> None:
        client.sendall(struct.pack("<I", len(packet))[:3] + bytes((number % 256,)) + packet)

    def _read(self, client: socket.socket) -> tuple[int, bytes]:
        head = self._exactly(client, 4)
        return head[3], self._exactly(client, int.from_bytes(head[:3], "little"))

    def _exactly(self, client: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = client.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        self.received += data
        return data
