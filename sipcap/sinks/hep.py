"""Messages as HEP to a collector, over UDP, TCP or TLS."""

from __future__ import annotations

import errno
import logging
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sipcap.counters import Counters
from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
from sipcap.wire.hep_encode import EncodeError, encode_hep
from sipcap.wire.message import SIP_PAYLOAD, Message

if TYPE_CHECKING:
    import ssl

    from sipcap.sinks.hep_stream import HepStream

_LOGGER = logging.getLogger("sipcap")

_LAST_ERROR_S: Final = 0.05
"""How long the answer to the last datagram is waited for: the collector may be a network away."""

_DROPS: Final = frozenset({"refused", "unreachable", "disconnected", "stopped"})
"""Why messages that HEP can carry are not sent; what it cannot carry is rejected."""

DEFAULT_CAPTURE_ID: Final = 1
"""What siptrace sends if it is not told otherwise (spec 2.9)."""


@dataclass(frozen=True)
class HepTarget:
    """Where messages go, and as what.

    Args:
        endpoint: one port, one host; tcp and tls carry version 3 only.
        version: of HEP.
        capture_id: for all messages; None = their own, 1 for those that came without HEP.
        auth_key: for all messages; None = their own, if any.
        now: the time of sending takes the place of the captured one.
        compress: what does not fit goes out with its payload compressed (version 3).
        tls: the context for tls endpoints.
    """

    endpoint: Endpoint
    version: int = 3
    capture_id: int | None = None
    auth_key: bytes | None = None
    now: bool = False
    compress: bool = False
    tls: ssl.SSLContext | None = None


class HepSink:
    """Sends messages one by one and counts them.

    ``stored`` and ``reported`` are SIP and other messages that the network took. What HEP cannot carry is
    ``rejected{reason}``; ``dropped{refused}`` are datagrams that nobody listens for, ``dropped{unreachable}``
    those that the network refuses; ``dropped{disconnected}`` what could not be sent because there was no connection
    for ``RECONNECT_S``, ``dropped{unconfirmed}`` what the other side had not confirmed at the end, and
    ``dropped{stopped}`` what a full or lost connection did not take before the stop.
    """

    def __init__(self, target: HepTarget, counters: Counters) -> None:
        self._target = target
        self._counters = counters
        self._stream: HepStream | None = None
        if target.endpoint.protocol != "udp":
            from sipcap.sinks.hep_stream import HepStream  # noqa: PLC0415  # it needs ssl, which takes its time

            self._stream = HepStream(target.endpoint, target.tls, self._lose)
        self._socket: socket.socket | None = None
        self._last: Message | None = None
        self._told: set[str] = set()

    def open(self) -> None:
        """Resolve the name and connect; raises CannotStart."""
        if self._stream is not None:
            self._stream.open()
            return
        endpoint = self._target.endpoint
        try:
            family, _, _, _, address = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.connect(address)
        except OSError as error:
            raise CannotStart(f"cannot send to {endpoint}: {error.strerror or error}") from None

    def send(self, message: Message, gives_up: Callable[[], bool]) -> None:
        """Send one message and count what became of it.

        Args:
            message: its time and capture id may be replaced, as the target says.
            gives_up: asked while a full or lost connection makes us wait.
        """
        target = self._target
        if target.now:
            message.ts_us = time.time_ns() // 1_000
        if target.capture_id is not None:
            message.capture_id = target.capture_id
        elif not message.hep_version:
            message.capture_id = DEFAULT_CAPTURE_ID
        failure = self._send_as(message, gives_up, compress=False)
        if failure == "too_big" and target.compress and target.version == 3:
            failure = self._send_as(message, gives_up, compress=True)
        if not failure:
            self._count(message, 1)
            self._last = message
        elif failure in _DROPS:
            self._counters.dropped[failure] += 1
        else:
            self._reject(failure, message)

    def _send_as(self, message: Message, gives_up: Callable[[], bool], *, compress: bool) -> str:
        """Encode and send; returns why it was not sent."""
        target = self._target
        try:
            data = encode_hep(message, target.version, auth_key=target.auth_key, compress=compress)
        except EncodeError as error:
            return error.reason
        if self._stream is not None:
            return self._stream.send(data, message, gives_up)
        return self._send_datagram(data)

    def _lose(self, message: Message, reason: str) -> None:
        """Take back what was counted as sent."""
        self._count(message, -1)
        self._counters.dropped[reason] += 1

    def _count(self, message: Message, by: int) -> None:
        if message.payload_type == SIP_PAYLOAD:
            self._counters.stored += by
        else:
            self._counters.reported += by

    def _reject(self, reason: str, message: Message) -> None:
        self._counters.rejected[reason] += 1
        target = self._target
        text = f"{len(message.payload)} bytes of type {message.payload_type}"
        hint = "; --compress may help" if reason == "too_big" and target.version == 3 and not target.compress else ""
        self._tell(
            reason, f"not sent ({reason}): {text}; HEP {target.version} over {target.endpoint} cannot carry it{hint}"
        )

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

    def close(self, gives_up: Callable[[], bool] = lambda: False) -> None:
        """Wait for what the other side still says of the last messages, then close; may be called twice.

        Args:
            gives_up: asked while a connection makes us wait.
        """
        if self._stream is not None:
            self._stream.close(gives_up)
        if self._socket is None:
            return
        if self._last is not None:
            poller = select.poll()
            poller.register(self._socket, 0)
            if poller.poll(_LAST_ERROR_S * 1_000) and self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._refused()
        self._socket.close()
        self._socket = None
