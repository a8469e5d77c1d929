"""HEP frames over TCP or TLS, through connections that break."""

from __future__ import annotations

import logging
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
from sipcap.limits import RECONNECT_S
from sipcap.sinks.tcp_link import GivenUpError, TcpLink
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")

RETRY_S: Final = 1.0
"""A lost connection is tried again this often."""

FINISH_S: Final = 10.0
"""How long the last frames may take to be confirmed."""

_PAUSE_S: Final = 0.05
_LOOK_EVERY: Final = 64
"""Frames between two looks at what has been confirmed."""

OnLost = Callable[[Message, str], None]


class _Sent(NamedTuple):
    """A frame, and how many bytes of its connection had been written when it was."""

    end: int
    data: bytes
    message: Message


class HepStream:
    """A way for frames over connections.

    Frames that the other side's system has not confirmed when a connection breaks are sent again on the next one, in
    their order. What it had confirmed and not read cannot be known to be lost; what came and could not be confirmed
    any more may come twice.

    Args:
        endpoint: where to.
        tls: the context for TLS; None = plain TCP.
        on_lost: told of frames that ``send`` took and that did not get there, and why.
    """

    def __init__(self, endpoint: Endpoint, tls: ssl.SSLContext | None, on_lost: OnLost) -> None:
        self._endpoint = endpoint
        self._tls = tls
        self._on_lost = on_lost
        self._link: TcpLink | None = None
        self._sent: deque[_Sent] = deque()
        self._since_look = 0
        self._gone_s = 0.0  # since when no frame has been confirmed, once a connection broke
        self._next_try_s = 0.0

    def open(self) -> None:
        """Connect; raises CannotStart."""
        try:
            self._link = TcpLink(self._endpoint, self._tls)
        except OSError as error:
            raise CannotStart(f"cannot send to {self._endpoint}: {_text(error)}") from None

    def send(self, data: bytes, message: Message, gives_up: Callable[[], bool]) -> str:
        """Send a frame; waits ``RECONNECT_S`` for a collector that has gone.

        Returns:
            Why it was not sent: ``disconnected``, ``stopped``; "" if it was.
        """
        while self._link is not None or self._reconnect(gives_up):
            assert self._link is not None
            try:
                self._write(self._link, data, message, gives_up)
                return ""
            except GivenUpError:
                self._give_up()
                return "stopped"
            except OSError as error:
                self._break(error)
        return "stopped" if gives_up() else "disconnected"

    def _write(self, link: TcpLink, data: bytes, message: Message, gives_up: Callable[[], bool]) -> None:
        link.write(data, gives_up)
        self._sent.append(_Sent(link.written_bytes, data, message))
        self._since_look += 1
        if self._since_look >= _LOOK_EVERY:
            self._forget_confirmed(link)

    def _forget_confirmed(self, link: TcpLink) -> None:
        self._since_look = 0
        confirmed = link.written_bytes - link.unacknowledged_bytes()
        while self._sent and self._sent[0].end <= confirmed:
            self._sent.popleft()
            self._gone_s = 0.0

    def _break(self, error: OSError) -> None:
        """Take leave of a broken connection; what it has not delivered stays in ``_sent``."""
        if self._link is not None:
            self._forget_confirmed(self._link)
            self._link.close()
            self._link = None
        # An end beyond all that is ever written: of another connection, and not confirmed.
        self._sent = deque(each._replace(end=1 << 62) for each in self._sent)
        if not self._gone_s:
            _LOGGER.warning("%s: %s; trying again every second", self._endpoint, _text(error))
            self._gone_s = time.monotonic()

    def _give_up(self) -> None:
        """The connection is full, and there is no time: the frames that it holds may still arrive."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._sent.clear()
        self._gone_s = self._gone_s or time.monotonic()

    def _reconnect(self, gives_up: Callable[[], bool]) -> bool:
        """Connect again and send what was not confirmed; False if that took too long, or shall not be waited for."""
        while True:
            if time.monotonic() >= self._next_try_s:
                try:
                    if self._try_again(gives_up):
                        return True
                except GivenUpError:
                    self._give_up()
                    return False
            if time.monotonic() - self._gone_s >= RECONNECT_S:
                self._lose("disconnected")
                return False
            if gives_up():
                self._lose("stopped")
                return False
            time.sleep(_PAUSE_S)

    def _try_again(self, gives_up: Callable[[], bool]) -> bool:
        self._next_try_s = time.monotonic() + RETRY_S
        try:
            self._link = TcpLink(self._endpoint, self._tls)
            self._send_again(self._link, gives_up)
        except OSError as error:
            self._break(error)
            return False
        _LOGGER.warning("%s: connected again", self._endpoint)
        if not self._sent:
            self._gone_s = 0.0  # else when the first of them is confirmed
        return True

    def _send_again(self, link: TcpLink, gives_up: Callable[[], bool]) -> None:
        """Send the frames of the connection before; those that this one breaks on stay for the next."""
        waiting, self._sent = self._sent, deque()
        try:
            while waiting:
                _, data, message = waiting[0]
                self._write(link, data, message, gives_up)
                waiting.popleft()
        finally:
            self._sent.extend(waiting)

    def _lose(self, reason: str) -> None:
        for _, _, message in self._sent:
            self._on_lost(message, reason)
        self._sent.clear()

    def close(self, gives_up: Callable[[], bool]) -> None:
        """See to it that all frames have arrived, if need be over another connection; may be called twice."""
        while self._sent or self._link is not None:
            if self._link is None:
                if not self._reconnect(gives_up):
                    break
                continue
            try:
                self._link.finish(FINISH_S)
                self._forget_confirmed(self._link)
                self._lose("unconfirmed")
                self._link.close()
                self._link = None
            except OSError as error:
                self._break(error)


def _text(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    return error.strerror or str(error)
