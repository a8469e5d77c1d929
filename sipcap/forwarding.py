"""Sends captured packets on to other collectors, byte for byte, as the module's sip_capture_forward does (spec 6.4)."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections import deque
from typing import Final, Self

from sipcap.counters import Counters
from sipcap.endpoint import Endpoint
from sipcap.limits import FORWARD_CONNECT_S, FORWARD_DRAIN_S, FORWARD_QUEUE_BYTES, FORWARD_RETRY_S
from sipcap.record import Record
from sipcap.routes import Routes
from sipcap.throttle import Throttle
from sipcap.wire.hep import whole_frames
from sipcap.wire.message import Message

_POLL_S: Final = 0.1
_ANSWER_S: Final = 1.0  # how long after a datagram the network may say that nobody takes it
_NOBODY: Final = "nobody listens there"


class Forwarder:
    """Follows the routes that forward, within ``with``.

    Each destination has a queue and a thread of its own: a name that nobody resolves, or a collector that reads
    slowly, costs packets on their way to it, and nothing else.

    Args:
        routes: those of them that forward.
        counters: ``forwarded`` and ``forward_dropped``, in packets.
    """

    def __init__(self, routes: Routes, counters: Counters) -> None:
        self._routes = routes
        self._counters = counters
        endpoints = {route.forward for route in routes.routes if route.forward is not None}
        self._destinations = {endpoint: Destination(endpoint) for endpoint in endpoints}

    def __enter__(self) -> Self:
        for destination in self._destinations.values():
            destination.start()
        return self

    def __exit__(self, *_: object) -> None:
        until_s = time.monotonic() + FORWARD_DRAIN_S
        for destination in self._destinations.values():
            destination.close(max(until_s - time.monotonic(), 0.0))
        self.count()

    def forward(self, message: Message, record: Record) -> None:
        """Send the packet of a message on, if its record's route says so; a packet with many messages once."""
        route = self._routes.match(record)
        if route is not None and route.forward is not None:
            self._destinations[route.forward].put(message.frame or message.payload)

    def count(self) -> None:
        """Publish what the threads have counted."""
        destinations = self._destinations.values()
        self._counters.forwarded = sum(destination.sent for destination in destinations)
        self._counters.forward_dropped = sum(destination.dropped for destination in destinations)


class Destination:
    """One collector: a bounded queue, and a thread that sends."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._is_stream = endpoint.protocol == "tcp"
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._given_up = threading.Event()
        self._last: bytes | None = None
        self._socket: socket.socket | None = None
        self._overflows = 0
        self._refused = 0
        self._in_doubt = False
        self.sent = 0
        """Packets that the network took; the latest datagram counts when no answer to it is expected any more."""
        self._trouble = Throttle(f"forwarding to {endpoint}: %s; packets are dropped")
        self._thread = threading.Thread(target=self._run, name=f"forward {endpoint}", daemon=True)

    @property
    def dropped(self) -> int:
        """Packets that were not sent: no room in the queue, nobody there, too large."""
        return self._overflows + self._refused

    def start(self) -> None:
        """Start the thread; after any fork."""
        self._thread.start()

    def put(self, packet: bytes) -> None:
        """Queue a packet; the same object again is the same packet, which goes once."""
        if packet is self._last:
            return
        self._last = packet
        with self._changed:
            if self._queued_bytes + len(packet) > FORWARD_QUEUE_BYTES:
                self._overflows += 1
                self._trouble.warning(f"{self._queued_bytes} bytes wait already")
                return
            self._queue.append(packet)
            self._queued_bytes += len(packet)
            if len(self._queue) == 1:
                self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Send what is queued, for so long at most; what is left counts as dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)
        self._given_up.set()
        self._thread.join(2 * _POLL_S)
        with self._changed:
            self._overflows += len(self._queue)
            self._queue.clear()
        self._settle(refused=False)  # if the thread did not come to it
        if self._socket is not None and not self._thread.is_alive():
            self._disconnect()

    def _run(self) -> None:
        while not self._given_up.is_set():  # whoever closes counts what is left in the queue
            try:
                if not self._step():
                    return
            except MemoryError:  # a hook has it for a while; the packet is still the first of the queue
                self._given_up.wait(_POLL_S)

    def _step(self) -> bool:
        """Send one packet, or wait for one; false at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing, _ANSWER_S if self._in_doubt else None)
            packet = self._queue[0] if self._queue else None
        if packet is None:
            self._settle(refused=self._is_refused())
            return not self._closing
        failure = self._send_stream(packet) if self._is_stream else self._send_datagram(packet)
        if self._given_up.is_set():
            return False
        if failure:
            self._refused += 1
            self._trouble.warning(failure)
        elif self._is_stream:
            self.sent += 1
        else:
            self._in_doubt = True
        with self._changed:
            self._queue.popleft()
            self._queued_bytes -= len(packet)
        return True

    def _settle(self, *, refused: bool) -> None:
        """Count the datagram before this moment, once it is known what became of it: no counter may ever fall."""
        with self._changed:
            if self._in_doubt:
                self._in_doubt = False
                self.sent += not refused
                self._refused += refused

    def _is_refused(self) -> bool:
        """Whether the network has said that nobody takes the datagram in doubt."""
        if self._socket is None or not self._in_doubt:
            return False
        is_refused = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        if is_refused:
            self._trouble.warning(_NOBODY)
        return is_refused

    def _connected(self) -> socket.socket | None:
        """The connection, made again as long as it takes; None if the time to close is over."""
        while self._socket is None:
            try:
                self._socket = self._connect()
            except (OSError, UnicodeError) as error:  # an empty label in a name is no OSError
                self._trouble.warning(getattr(error, "strerror", None) or "there is no such name")
                if self._closing or self._given_up.wait(FORWARD_RETRY_S):
                    self._given_up.set()
                    return None
        return self._socket

    def _connect(self) -> socket.socket:
        endpoint = self._endpoint
        kind = socket.SOCK_STREAM if self._is_stream else socket.SOCK_DGRAM
        family, _, _, _, address = socket.getaddrinfo(endpoint.host, endpoint.port, type=kind)[0]
        made = socket.socket(family, kind)
        try:
            made.settimeout(FORWARD_CONNECT_S)
            made.connect(address)
            if self._is_stream:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.settimeout(_POLL_S)
        except OSError:
            made.close()
            raise
        return made

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_datagram(self, packet: bytes) -> str:
        """Send one datagram; returns why it was not sent."""
        failure = ""
        for _ in range(2):  # an answer to the datagram before this one shows here, and this one is not sent
            connected = self._connected()
            if connected is None:
                return "it is closed"
            try:
                connected.send(packet)
                self._settle(refused=False)
                return ""
            except ConnectionRefusedError:
                failure = _NOBODY
                self._trouble.warning(failure)
                self._settle(refused=True)
            except TimeoutError:
                failure = "the network takes nothing"
            except OSError as error:
                failure = error.strerror or str(error)
                if error.errno == errno.EMSGSIZE:
                    return f"{len(packet)} bytes do not fit one datagram"
                self._disconnect()  # perhaps its name has another address by now
        return failure

    def _send_stream(self, packet: bytes) -> str:
        """Write the frames of one packet to the connection; returns why that cannot be."""
        end = whole_frames(packet)
        if not end:
            return "only HEP version 3 can be sent over tcp"
        while (connected := self._connected()) is not None:
            try:
                if _is_there(connected):
                    self._write(connected, memoryview(packet)[:end])
                    return ""
            except OSError as error:
                self._trouble.warning(error.strerror or error)
            self._disconnect()  # the frame is sent again whole, on a new connection
        return "it is closed"

    def _write(self, connected: socket.socket, view: memoryview) -> None:
        while view and not self._given_up.is_set():
            try:
                view = view[connected.send(view) :]
            except TimeoutError:
                pass  # a collector that reads slowly: the queue fills meanwhile


def _is_there(connected: socket.socket) -> bool:
    """Whether the collector has not closed the connection; what it says is not looked at."""
    try:
        return connected.recv(65_536, socket.MSG_DONTWAIT) != b""
    except (BlockingIOError, TimeoutError):
        return True
