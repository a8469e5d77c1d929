"""Live HEP on any number of UDP, TCP and TLS endpoints."""

from __future__ import annotations

import contextlib
import logging
import resource
import selectors
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sipcap.counters import Counters
from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
from sipcap.limits import FLUSH_INTERVAL_S, RCVBUF_BYTES, UDP_DRAIN_S
from sipcap.sources.addresses import Network, PeerFilter, bind_all
from sipcap.sources.hep_gate import HepGate
from sipcap.sources.hep_stream import StreamPort
from sipcap.sources.hep_udp import UdpPort
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")
_DROPS_INTERVAL_S = 1.0


@dataclass(frozen=True)
class HepOptions:
    """How HEP is received."""

    endpoints: Sequence[Endpoint]
    rcvbuf_bytes: int = RCVBUF_BYTES
    auth_key: bytes | None = None
    allow: Sequence[Network] = field(default=())
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None


class HepSource:
    """A Source (see ``base.py``) over HEP sockets.

    ``open`` binds, so that processes forked afterwards share the sockets: a datagram goes to whoever takes
    it first, and one sender reaches all of them.
    """

    def __init__(self, options: HepOptions) -> None:
        self.stats = Counters()
        self._options = options
        self._udp_sockets: list[socket.socket] = []
        self._stream_sockets: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._udp: list[UdpPort] = []
        self._streams: list[StreamPort] = []
        self._selector: selectors.BaseSelector | None = None
        self._stopping = False
        self.counts_kernel_drops = True
        """False in all but one of the processes that share the sockets: the kernel counts per socket."""

    def open(self) -> None:
        """Bind all endpoints; see Source."""
        _allow_many_connections()
        for endpoint in self._options.endpoints:
            if endpoint.protocol == "udp":
                self._udp_sockets.extend(bind_all(endpoint, socket.SOCK_DGRAM))
                continue
            tls = self._tls_context() if endpoint.protocol == "tls" else None
            for bound in bind_all(endpoint, socket.SOCK_STREAM):
                bound.listen(512)
                self._stream_sockets.append((bound, tls))
        self._set_buffers()
        for bound in [*self._udp_sockets, *(each for each, _ in self._stream_sockets)]:
            _LOGGER.info("listening on %s", _socket_text(bound))

    def _tls_context(self) -> ssl.SSLContext:
        options = self._options
        if options.tls_cert is None:
            raise CannotStart("tls: endpoints need --tls-cert (and --tls-key if the key is in another file)")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(options.tls_cert, options.tls_key)
            if options.tls_client_ca is not None:
                context.load_verify_locations(options.tls_client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise CannotStart(f"TLS certificate, key or client CA cannot be used: {error}") from None
        return context

    def _set_buffers(self) -> None:
        wanted = self._options.rcvbuf_bytes
        grants = {UdpPort(each, self.stats, None).grant_buffer(wanted) for each in self._udp_sockets}
        if grants:
            granted = min(grants)
            hint = "" if granted >= wanted else "; net.core.rmem_max or CAP_NET_ADMIN allow more"
            _LOGGER.info("receive buffer: %d bytes granted of %d asked for%s", granted, wanted, hint)

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield batches until ``stop``; see Source."""
        gate = HepGate(self.stats, self._options.auth_key)
        with selectors.DefaultSelector() as selector:
            self._register(selector)
            next_drops_s = 0.0
            while not self._stopping:
                events = selector.select(FLUSH_INTERVAL_S)
                if not events:
                    yield []
                for key, _ in events:
                    frames: list[bytes] = key.data()
                    if frames:
                        yield gate.decode(frames)
                now_s = time.monotonic()
                if now_s >= next_drops_s:
                    next_drops_s = now_s + _DROPS_INTERVAL_S
                    self._housekeeping()
            for frames in self._drain():
                yield gate.decode(frames)
            self._housekeeping()

    def _register(self, selector: selectors.BaseSelector) -> None:
        peers = PeerFilter(self._options.allow) if self._options.allow else None
        self._selector = selector
        self._udp = [UdpPort(each, self.stats, peers) for each in self._udp_sockets]
        self._streams = [StreamPort(each, self.stats, peers, tls, selector) for each, tls in self._stream_sockets]
        for port in self._udp:
            selector.register(port.socket, selectors.EVENT_READ, port.receive)
        for stream in self._streams:
            selector.register(stream.socket, selectors.EVENT_READ, stream.accept)

    def _housekeeping(self) -> None:
        for stream in self._streams:
            stream.drop_stalled()
        if self.counts_kernel_drops:
            for port in self._udp:
                port.count_drops()

    def _drain(self) -> Iterator[list[bytes]]:
        """What the kernel had taken in before the stop is still ours to deliver."""
        until_s = time.monotonic() + UDP_DRAIN_S
        for port in self._udp:
            while time.monotonic() < until_s and (datagrams := port.receive()):
                yield datagrams
        for stream in self._streams:
            stream.accept()
            while time.monotonic() < until_s and (frames := stream.drain()):
                yield frames

    def stop(self) -> None:
        """Take in nothing new."""
        self._stopping = True

    def close(self) -> None:
        """Close all sockets."""
        for stream in self._streams:
            stream.close()
        for bound in [*self._udp_sockets, *(each for each, _ in self._stream_sockets)]:
            bound.close()


def _allow_many_connections() -> None:
    """Raise the limit of open files as far as it goes without privilege: every connection needs one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _socket_text(bound: socket.socket) -> str:
    protocol = "udp" if bound.type == socket.SOCK_DGRAM else "tcp"
    host, port = bound.getsockname()[:2]
    return f"{protocol}:[{host}]:{port}" if ":" in host else f"{protocol}:{host}:{port}"
