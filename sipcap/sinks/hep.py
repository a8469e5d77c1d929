"""Messages as HEP to a collector, over UDP or TCP."""

from __future__ import annotations

import errno
import logging
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sipcap.counters import Counters
from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
from sipcap.wire.hep_encode import EncodeError, encode_hep
from sipcap.wire.message import SIP_PAYLOAD, Message

_LOGGER = logging.getLogger("sipcap")
CONNECT_TIMEOUT_S: Final = 10.0
RETRY_S: Final = 1.0
"""A lost connection is tried again this often; what comes meanwhile is dropped and counted."""

_POLL_S: Final = 0.1
_LAST_ERROR_S: Final = 0.05
"""How long the answer to the last datagram is waited for: the collector may be a network away."""

DEFAULT_CAPTURE_ID: Final = 1
"""What siptrace sends if it is not told otherwise (spec 2.9)."""


@dataclass(frozen=True)
class HepTarget:
    """Where messages go, and as what.

    Args:
        endpoint: udp or tcp; one port, one host.
        version: of HEP; tcp carries version 3 only.
        capture_id: for all messages; None = their own, 1 for those that came without HEP.
        auth_key: for all messages; None = their own, if any.
        now: the time of sending takes the place of the captured one.
    """

    endpoint: Endpoint
    version: int = 3
    capture_id: int | None = None
    auth_key: bytes | None = None
    now: bool = False


class HepSink:
    """Sends messages one by one and counts them.

    ``stored`` and ``reported`` are SIP and other messages that the network took. What HEP cannot carry is
    ``rejected{reason}``; ``dropped{refused}`` are datagrams that nobody listens for, ``dropped{unreachable}``
    those that the network refuses, ``dropped{disconnected}`` what came while there was no connection, and
    ``dropped{stopped}`` what a full connection did not take before the stop.
    """

    def __init__(self, target: HepTarget, counters: Counters) -> None:
        self._target = target
        self._counters = counters
        self._is_stream = target.endpoint.protocol == "tcp"
        self._socket: socket.socket | None = None
        self._retry_s = 0.0
        self._last: Message | None = None
        self._told: set[str] = set()

    def open(self) -> None:
        """Resolve the name and connect; raises CannotStart."""
        try:
            self._socket = self._connect()
        except OSError as error:
            raise CannotStart(f"cannot send to {self._target.endpoint}: {error.strerror or error}") from None

    def _connect(self) -> socket.socket:
        endpoint = self._target.endpoint
        kind = socket.SOCK_STREAM if self._is_stream else socket.SOCK_DGRAM
        family, _, _, _, address = socket.getaddrinfo(endpoint.host, endpoint.port, type=kind)[0]
        made = socket.socket(family, kind)
        try:
            made.settimeout(CONNECT_TIMEOUT_S)
            made.connect(address)
        except OSError:
            made.close()
            raise
        if self._is_stream:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.settimeout(_POLL_S if self._is_stream else None)
        return made

    def send(self, message: Message, gives_up: Callable[[], bool]) -> None:
        """Send one message and count what became of it.

        Args:
            message: its time and capture id may be replaced, as the target says.
            gives_up: asked while a full connection makes us wait.
        """
        target, counters = self._target, self._counters
        if target.now:
            message.ts_us = time.time_ns() // 1_000
        if target.capture_id is not None:
            message.capture_id = target.capture_id
        elif not message.hep_version:
            message.capture_id = DEFAULT_CAPTURE_ID
        try:
            data = encode_hep(message, target.version, auth_key=target.auth_key)
        except EncodeError as error:
            self._reject(error.reason, f"{len(message.payload)} bytes of type {message.payload_type}")
            return
        failure = self._send_stream(data, gives_up) if self._is_stream else self._send_datagram(data)
        if failure == "too_big":
            self._reject(failure, f"{len(data)} bytes do not fit one datagram")
        elif failure:
            counters.dropped[failure] += 1
        else:
            self._count(message, 1)
            self._last = message

    def _count(self, message: Message, by: int) -> None:
        if message.payload_type == SIP_PAYLOAD:
            self._counters.stored += by
        else:
            self._counters.reported += by

    def _reject(self, reason: str, text: str) -> None:
        self._counters.rejected[reason] += 1
        self._tell(reason, f"not sent ({reason}): {text}; HEP version {self._target.version} cannot carry it")

    def _tell(self, key: str, text: str) -> None:
        """Say a trouble once; the counters say how often."""
        if key not in self._told:
            self._told.add(key)
            _LOGGER.warning("%s", text)

    def _send_datagram(self, data: bytes) -> str:
        """Send a datagram; returns why it was not sent."""
        assert self._socket is not None
        # An answer to the datagram before this one shows here, and this one is not sent: once more.
        for _ in range(2):
            try:
                self._socket.send(data)
                return ""
            except ConnectionRefusedError:
                self._refused()
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    return "too_big"
                self._tell("unreachable", f"{self._target.endpoint}: {error.strerror}; going on")
                return "unreachable"
        return "refused"

    def _refused(self) -> None:
        self._tell("refused", f"nobody listens on {self._target.endpoint} (connection refused); going on")
        if self._last is not None:
            self._count(self._last, -1)
            self._counters.dropped["refused"] += 1
            self._last = None

    def _send_stream(self, data: bytes, gives_up: Callable[[], bool]) -> str:
        """Write a frame to the connection; returns why it was not written."""
        if self._socket is None and not self._reconnect():
            return "disconnected"
        assert self._socket is not None
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except TimeoutError:
                if gives_up():
                    self._disconnect()  # the rest of this frame will never come
                    return "stopped"
            except OSError as error:
                self._tell("disconnected", f"{self._target.endpoint}: {error.strerror}; trying again every second")
                self._disconnect()
                return "disconnected"
        return ""

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._retry_s = time.monotonic() + RETRY_S

    def _reconnect(self) -> bool:
        if time.monotonic() < self._retry_s:
            return False
        try:
            self._socket = self._connect()
        except OSError:
            self._retry_s = time.monotonic() + RETRY_S
            return False
        self._told.discard("disconnected")
        return True

    def close(self) -> None:
        """Wait a moment for the answer to the last datagram, then close; may be called twice."""
        if self._socket is None:
            return
        if not self._is_stream and self._last is not None:
            poller = select.poll()
            poller.register(self._socket, 0)
            if poller.poll(_LAST_ERROR_S * 1_000) and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._refused()
        self._socket.close()
        self._socket = None
