"""Live HEP on any number of UDP, TCP and TLS endpoints."""

from __future__ import annotations

import contextlib
import logging
import mmap
import resource
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from sipcap.counters import Counters
from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
from sipcap.limits import (
    DRAIN_TIMEOUT_S,
    FLUSH_INTERVAL_S,
    MAX_STREAM_CONNECTIONS,
    RCVBUF_BYTES,
    SOCKET_BATCH,
    STREAM_IDLE_S,
)
from sipcap.sources.addresses import Network, PeerFilter, bind_all
from sipcap.sources.hep_gate import HepGate
from sipcap.sources.hep_stream import Room, StreamPort
from sipcap.sources.hep_udp import UdpPort
from sipcap.sources.senders import Senders
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")
_HOUSEKEEPING_S: Final = 1.0
_FEW: Final = 32
_GATHER_S: Final = 0.002
"""After a turn that brought few frames: to wake up for each one costs three times the processor time of batches."""
_BACKLOG: Final = 4_096  # connections that may wait to be accepted; Linux takes less if net.core.somaxconn says so


@dataclass(frozen=True)
class HepOptions:
    """How HEP is received. ``drain_s`` bounds how long what waits in the kernel is read after a stop."""

    endpoints: Sequence[Endpoint]
    rcvbuf_bytes: int = RCVBUF_BYTES
    auth_key: bytes | None = None
    allow: Sequence[Network] = field(default=())
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    drain_s: float = DRAIN_TIMEOUT_S / 2
    idle_s: float = STREAM_IDLE_S
    max_connections: int = MAX_STREAM_CONNECTIONS
    bind: Callable[[Endpoint, socket.SocketKind], Iterable[socket.socket]] = bind_all
    """Gives the sockets of an endpoint: new ones, or those that somebody else has bound already."""


class _Bound(NamedTuple):
    """A socket, what its endpoint was called, and how it speaks TLS."""

    socket: socket.socket
    protocol: str
    tls: ssl.SSLContext | None

    def __str__(self) -> str:
        host, port = self.socket.getsockname()[:2]
        return f"{self.protocol}:[{host}]:{port}" if ":" in host else f"{self.protocol}:{host}:{port}"


class HepSource:
    """A Source (see ``base.py``) over HEP sockets.

    ``open`` binds, so that processes forked afterwards share the sockets: a datagram goes to whoever takes
    it first, and one sender reaches all of them.
    """

    def __init__(self, options: HepOptions) -> None:
        self.stats = Counters()
        self._options = options
        self._bound: list[_Bound] = []
        self._udp: list[UdpPort] = []
        self._streams: list[StreamPort] = []
        self._stopping = False
        self._hands_over = False
        self._kept_by_others: bytearray | mmap.mmap = bytearray()
        self._drops_seen = memoryview(bytearray(8)).cast("Q")
        self.counts_kernel_drops = True
        """False in all but one of the processes that share the sockets: the kernel counts per socket."""

    @property
    def addresses(self) -> list[str]:
        """What is bound, as ``protocol:host:port``; in the order of the endpoints."""
        return [str(bound) for bound in self._bound]

    def open(self) -> None:
        """Bind all endpoints; see Source."""
        _allow_many_connections()
        try:
            for endpoint in self._options.endpoints:
                self._bind(endpoint)
        except CannotStart:
            self.close()
            raise
        self._set_buffers()
        # Shared by the processes: what one has counted, its successor does not count again.
        self._drops_seen = memoryview(mmap.mmap(-1, 8 * len(self._bound) + 8)).cast("Q")
        self._kept_by_others = mmap.mmap(-1, len(self._bound) + 1)
        for place, bound in enumerate(self._bound):
            if bound.protocol == "udp":
                UdpPort(bound.socket, Counters(), None, self._drops_seen[place : place + 1]).count_drops()
        for address in self.addresses:
            _LOGGER.info("listening on %s", address)

    def _bind(self, endpoint: Endpoint) -> None:
        tls = self._tls_context() if endpoint.protocol == "tls" else None
        is_udp = endpoint.protocol == "udp"
        for bound in self._options.bind(endpoint, socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM):
            self._bound.append(_Bound(bound, endpoint.protocol, tls))
            if not is_udp:
                try:
                    bound.listen(_BACKLOG)
                except OSError as error:  # another process was faster
                    raise CannotStart(f"cannot listen on {endpoint}: {error.strerror}") from None

    def _tls_context(self) -> ssl.SSLContext:
        options = self._options
        if options.tls_cert is None:
            raise CannotStart("tls: endpoints need --tls-cert (and --tls-key if the key is in another file)")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.num_tickets = 0  # agents do not read, and closing with something unread is a reset
        try:
            # The empty password: OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(options.tls_cert, options.tls_key, password="")
            if options.tls_client_ca is not None:
                context.load_verify_locations(options.tls_client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError as error:  # ssl.SSLError is one
            raise CannotStart(f"TLS certificate, key or client CA cannot be used: {error}") from None
        return context

    def _set_buffers(self) -> None:
        wanted = self._options.rcvbuf_bytes
        ports = [UdpPort(each.socket, self.stats, None) for each in self._bound if each.protocol == "udp"]
        if ports:
            granted = min(port.grant_buffer(wanted) for port in ports)
            hint = "" if granted >= wanted else "; net.core.rmem_max or CAP_NET_ADMIN allow more"
            _LOGGER.info("receive buffer: %d bytes granted of %d asked for%s", granted, wanted, hint)

    def enter_worker(self, index: int) -> None:
        """Share the sockets with other processes; see LiveSource."""
        self.counts_kernel_drops = index == 0

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield batches until ``stop``; see Source."""
        senders = Senders(self.stats)
        gate = HepGate(self.stats, self._options.auth_key, senders)
        with selectors.DefaultSelector() as selector:
            self._register(selector, senders)
            housekeeping_s = 0.0
            while not self._stopping:
                for messages in self._turn(selector, gate):
                    before_s = time.monotonic()
                    yield messages
                    now_s = time.monotonic()
                    if now_s - before_s > _HOUSEKEEPING_S:  # the reader of our output was busy
                        self._forgive(now_s - before_s)
                    if now_s >= housekeeping_s:
                        housekeeping_s = now_s + _HOUSEKEEPING_S
                        self._keep_house()
            for frames in self._drain():
                yield gate.decode(frames)

    def _register(self, selector: selectors.BaseSelector, senders: Senders) -> None:
        options = self._options
        peers = PeerFilter(options.allow) if options.allow else None
        room = Room(options.max_connections)
        for place, (bound, protocol, tls) in enumerate(self._bound):
            if protocol == "udp":
                port = UdpPort(bound, self.stats, peers, self._drops_seen[place : place + 1], senders)
                self._udp.append(port)
                selector.register(bound, selectors.EVENT_READ, port.receive)
            else:
                stream = StreamPort(
                    bound, self.stats, peers, tls, selector, senders=senders, room=room, idle_s=options.idle_s
                )
                self._streams.append(stream)

    def _turn(self, selector: selectors.BaseSelector, gate: HepGate) -> Iterator[list[Message]]:
        """Give every socket one turn; yields at least once, so that the caller can look at the clock."""
        frames: list[bytes] = []
        taken = 0
        for key, _ in selector.select(FLUSH_INTERVAL_S):
            frames += key.data()
            if len(frames) >= SOCKET_BATCH:
                taken += len(frames)
                yield gate.decode(frames)
                frames = []
        taken += len(frames)
        yield gate.decode(frames) if frames else []
        if 0 < taken < _FEW:
            time.sleep(_GATHER_S)

    def _keep_house(self) -> None:
        for stream in self._streams:
            stream.drop_stalled()
            stream.resume()
        if self.counts_kernel_drops:
            for port in self._udp:
                port.count_drops()

    def _forgive(self, pause_s: float) -> None:
        for stream in self._streams:
            stream.forgive(pause_s)

    def _drain(self) -> Iterator[list[bytes]]:
        """What the kernel had taken in before the stop is still ours to deliver, or that of who shares our sockets."""
        until_s = time.monotonic() + self._options.drain_s
        udp = [port for port in self._udp if not self._is_kept(port.socket)]
        if self.counts_kernel_drops:
            for port in udp:
                port.refuse_more()
        for port in udp:
            port.empty = False
            while not port.empty and time.monotonic() < until_s:
                yield port.receive()
        for stream in self._streams:
            if not self._is_kept(stream.socket):
                stream.accept_all()
        yield from self._drain_connections(until_s)
        for port in udp:
            if not port.empty:
                port.discard()

    def _drain_connections(self, until_s: float) -> Iterator[list[bytes]]:
        for stream in self._streams:
            read = True
            while read and time.monotonic() < until_s:
                frames, read = stream.drain()
                yield frames

    def stop(self) -> None:
        """Take in nothing new."""
        self._stopping = True

    def hand_over(self) -> None:
        """Stop for others that go on with the sockets; see LiveSource."""
        self._hands_over = True
        self._stopping = True

    def note_kept(self, kept: Container[tuple[int, object]]) -> None:
        """Before a ``hand_over`` in any process: which sockets others go on with, by kind and name."""
        for place, bound in enumerate(self._bound):
            self._kept_by_others[place] = (bound.socket.type, bound.socket.getsockname()) in kept

    def _is_kept(self, used: socket.socket) -> bool:
        places = (place for place, bound in enumerate(self._bound) if bound.socket is used)
        return self._hands_over and bool(self._kept_by_others[next(places)])

    def close(self) -> None:
        """Close all sockets."""
        if self.counts_kernel_drops:
            for port in self._udp:
                port.count_drops()
        for stream in self._streams:
            stream.close()
        for bound in self._bound:
            bound.socket.close()
        self._udp, self._streams, self._bound = [], [], []


def _allow_many_connections() -> None:
    """Raise the limit of open files as far as it goes without privilege: every connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
