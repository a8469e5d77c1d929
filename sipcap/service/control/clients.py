"""Clients of a stream socket, bounded in number, in what they ask and in what is kept for them."""

from __future__ import annotations

import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from sipcap.limits import CONTROL_CONNECTIONS, CONTROL_IDLE_S, CONTROL_READS_PER_S, CONTROL_STALLED_S
from sipcap.service.control.loop import READ, WRITE, Loop
from sipcap.service.control.sockets import Place
from sipcap.throttle import Throttle

_READ_BYTES: Final = 4096
_WRITE_BYTES: Final = 64 << 10
_ACCEPTS: Final = 8
_WAIT_S: Final = 0.02
_EVICTED = Throttle("control: more than %s clients at %s, closed the one that was silent longest")
_LOGGER = logging.getLogger("sipcap")

Job = Callable[[], bytes | None]
"""Carries out one request and gives the answer, if there is one."""


class Session(Protocol):
    """The protocol with one client; without any socket."""

    @property
    def is_inside(self) -> bool:
        """Whether a request has begun that has not ended."""

    @property
    def is_over(self) -> bool:
        """Whether the connection ends behind the jobs that were given."""

    def receive_data(self, data: bytes) -> Sequence[Job]:
        """Take bytes, give what is to be done; nothing from the network raises."""

    def end(self) -> Sequence[Job]:
        """The client sends nothing more, or too slowly: what there is to say to half a request."""


class Budget:
    """Lets *rate* things a second happen; as many at once after a pause."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left = rate
        self._at_s = time.monotonic()

    def take(self) -> bool:
        """Whether one more may happen now."""
        now_s = time.monotonic()
        self._left = min(self._left + (now_s - self._at_s) * self._rate, self._rate)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class _Client:
    def __init__(self, connection: socket.socket, session: Session) -> None:
        self.connection = connection
        self.session = session
        self.jobs: deque[Job] = deque()
        self.output = bytearray()
        self.since_s = time.monotonic()
        """When it last did something."""
        self.has_ended = False

    @property
    def is_busy(self) -> bool:
        return bool(self.jobs or self.output)


class Clients:
    """Listens at one socket and serves those who come.

    A client is read only while there is nothing left to do or to send for it. One round gives each client one
    request, so that one with thousands of them keeps nobody waiting.

    Args:
        loop: what calls this.
        listener: a listening socket that does not block; it is closed with this.
        make_session: the protocol.
        rate: requests, and new connections, a second.
        place: where a Unix socket is in the file system.
    """

    def __init__(
        self, loop: Loop, listener: socket.socket, make_session: Callable[[], Session], rate: float,
        place: Place | None = None,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._listener = listener
        self._make_session = make_session
        self._requests = Budget(rate)
        self._arrivals = Budget(rate)
        self._reads = Budget(CONTROL_READS_PER_S)
        self._place = place
        self._clients: dict[int, _Client] = {}
        self._resting: set[_Client] = set()
        self._is_deaf = True
        self._rested_s = 0.0

    def tick(self, now_s: float) -> float:
        """Do what clients wait for, close those who stall, hear new ones again."""
        if now_s >= self._rested_s:
            self._wake()
        for client in list(self._clients.values()):
            self._look_at(client, now_s)
        has_more = self._work()
        return _WAIT_S if has_more or self._is_deaf or self._resting else 1.0

    def close(self, *, in_child: bool) -> None:
        """Close all connections and the socket."""
        for client in self._clients.values():
            client.connection.close()
        self._clients.clear()
        self._listener.close()
        if self._place is not None and not in_child:
            self._place.remove()

    def _wake(self) -> None:
        """Hear new clients again, and those that sent too much at once."""
        if self._is_deaf:
            self._is_deaf = False
            self._loop.watch(self._listener.fileno(), READ, self._on_arrival)
        resting, self._resting = self._resting, set()
        for client in resting:
            self._attend(client)

    def _rest(self) -> None:
        self._rested_s = time.monotonic() + _WAIT_S

    def _stop_hearing(self) -> None:
        self._is_deaf = True
        self._loop.watch(self._listener.fileno(), 0, self._on_arrival)
        self._rest()

    def _on_arrival(self, _events: int) -> None:
        for _ in range(_ACCEPTS):
            if not self._arrivals.take():
                self._stop_hearing()
                return
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:  # nobody is there any more
                return
            except OSError:  # no descriptor is left: it would be there again at once
                self._stop_hearing()
                return
            connection.setblocking(False)
            if len(self._clients) >= CONTROL_CONNECTIONS:
                self._evict()
            client = _Client(connection, self._make_session())
            self._clients[connection.fileno()] = client
            self._attend(client)

    def _evict(self) -> None:
        """Make room: close who was silent longest, rather one who says nothing more."""
        _EVICTED.warning(CONTROL_CONNECTIONS, self._listener.getsockname())
        self._drop(min(self._clients.values(), key=lambda client: (not client.has_ended, client.since_s)))

    def _drop(self, client: _Client) -> None:
        descriptor = client.connection.fileno()
        self._loop.watch(descriptor, 0, lambda _events: None)
        del self._clients[descriptor]
        self._resting.discard(client)
        client.connection.close()

    def _attend(self, client: _Client) -> None:
        """Wait for what the client has to do next."""
        events = WRITE if client.output else 0 if client.jobs or client.has_ended else READ
        self._loop.watch(client.connection.fileno(), events, lambda happened: self._on_client(client, happened))

    def _on_client(self, client: _Client, events: int) -> None:
        if client.connection.fileno() < 0:
            return  # closed since
        try:
            if events & WRITE:
                self._send(client)
            elif self._reads.take():
                self._receive(client)
            else:
                self._loop.watch(client.connection.fileno(), 0, lambda _events: None)
                self._resting.add(client)
                self._rest()
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)

    def _receive(self, client: _Client) -> None:
        data = client.connection.recv(_READ_BYTES)
        if not client.session.is_inside:  # a byte now and then does not make half a request younger
            client.since_s = time.monotonic()
        if data:
            client.jobs.extend(client.session.receive_data(data))
            client.has_ended = client.session.is_over
        else:
            client.jobs.extend(client.session.end())
            client.has_ended = True
        self._go_on(client)

    def _go_on(self, client: _Client) -> None:
        """Close it if all is done, else wait for what comes next."""
        if client.has_ended and not client.is_busy:
            self._drop(client)
        else:
            self._attend(client)

    def _work(self) -> bool:
        """One request of each client that waits, again and again; whether any is left for later."""
        while waiting := [client for client in self._clients.values() if client.jobs and not client.output]:
            # Who waits longest comes first: what a flood takes all of is left to nobody by the order of arrival.
            for client in sorted(waiting, key=lambda client: client.since_s):
                if not self._requests.take():
                    return True
                self._do(client)
        return False

    def _do(self, client: _Client) -> None:
        try:
            client.output += client.jobs.popleft()() or b""
        except Exception:  # a bug must cost one client its answer, and no one else anything
            _LOGGER.exception("control: bug in a request")
            self._drop(client)
            return
        client.since_s = time.monotonic()
        try:
            self._send(client)
        except BlockingIOError:
            self._attend(client)
        except OSError:
            self._drop(client)

    def _send(self, client: _Client) -> None:
        while client.output:
            sent = client.connection.send(client.output[:_WRITE_BYTES])
            del client.output[:sent]
            client.since_s = time.monotonic()
        self._go_on(client)

    def _look_at(self, client: _Client, now_s: float) -> None:
        """Close a client that has been silent too long."""
        silent_s = now_s - client.since_s
        if client.output and silent_s > CONTROL_STALLED_S:
            self._drop(client)
        elif not client.is_busy and client.session.is_inside and silent_s > CONTROL_STALLED_S:
            client.jobs.extend(client.session.end())
            client.has_ended = True
            self._go_on(client)
        elif not client.is_busy and silent_s > CONTROL_IDLE_S:
            self._drop(client)
