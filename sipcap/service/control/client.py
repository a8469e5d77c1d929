"""The client of a control socket: one request, one answer, bounded in time and size."""

from __future__ import annotations

import errno
import itertools
import socket
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

import msgspec

from sipcap.errors import ControlError
from sipcap.limits import CONTROL_ANSWER_BYTES

TIMEOUT_S: Final = 5.0
"""How long a service may take for an answer; it needs some milliseconds."""

_READ_BYTES: Final = 64 << 10
_PAUSE_S: Final = 0.02
_ATTEMPTS: Final = 3

T = TypeVar("T")


class Unreachable(ControlError):
    """Nobody answers at the socket; later somebody may."""


class ControlClient:
    """Asks a service at its control socket; connects when it is needed, and again after a failure.

    Args:
        path: the socket.
        timeout_s: for the connection and one answer together.
    """

    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._connection: socket.socket | None = None
        self._ids = itertools.count(1)

    def call(self, method: str, *params: str) -> Any:
        """Call a method and return its result.

        Raises:
            Unreachable: nobody answers there in time.
            ControlError: the service refused; the text is the service's own.
        """
        until_s = time.monotonic() + self._timeout_s
        request_id = next(self._ids)
        request = {"jsonrpc": "2.0", "method": method, "params": list(params), "id": request_id}
        line = self._in_time(lambda: self._exchange(msgspec.json.encode(request) + b"\n", until_s))
        try:
            answer = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._fail("what answers there speaks no JSON-RPC")
        if not isinstance(answer, dict) or answer.get("id") != request_id:
            self._fail("what answers there speaks no JSON-RPC")
        if "result" in answer:
            return answer["result"]
        refused = answer.get("error")
        raise ControlError(str(refused.get("message")) if isinstance(refused, dict) else "refused")

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _fail(self, reason: str) -> NoReturn:
        self.close()
        raise Unreachable(f"no service at {self._path}: {reason}; is sipcap run running, or elsewhere (--socket)?")

    def _in_time(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except TimeoutError:
            self._fail(f"no answer within {self._timeout_s:g} s")
        except PermissionError:
            self.close()
            raise Unreachable(
                f"{self._path}: permission denied: the socket belongs to others; ask with sudo, or let the service have"
                " a control_group that you are in"
            ) from None
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL
            self._fail(getattr(error, "strerror", None) or str(error))

    def _exchange(self, request: bytes, until_s: float) -> bytes:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._exchange_once(request, until_s)
            except (ConnectionResetError, BrokenPipeError):
                # Closed meanwhile, for another client's sake, or as the service is a new one. Every method may be
                # called twice.
                self.close()
        return self._exchange_once(request, until_s)

    def _exchange_once(self, request: bytes, until_s: float) -> bytes:
        if self._connection is None:
            self._connection = self._connect(until_s)
        self._connection.settimeout(_left(until_s))
        self._connection.sendall(request)
        return self._read_line(self._connection, until_s)

    def _connect(self, until_s: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            while True:
                connection.settimeout(_left(until_s))
                try:
                    connection.connect(self._path)
                except BlockingIOError:  # so many wait to be accepted that nobody else may wait
                    time.sleep(_PAUSE_S)
                else:
                    return connection
        except BaseException:
            connection.close()
            raise

    def _read_line(self, connection: socket.socket, until_s: float) -> bytes:
        answer = bytearray()
        while not answer.endswith(b"\n"):
            connection.settimeout(_left(until_s))
            piece = connection.recv(_READ_BYTES)
            if not piece:
                raise ConnectionResetError(errno.ECONNRESET, "the connection was closed")
            answer += piece
            if len(answer) > CONTROL_ANSWER_BYTES:
                raise OSError(errno.EMSGSIZE, "the answer is too long")
        return bytes(answer)


def _left(until_s: float) -> float:
    left_s = until_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
