"""The metrics page and the health of a service over HTTP, for Prometheus and for whoever restarts services."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from sipcap.endpoint import parse_endpoint
from sipcap.errors import CannotStart
from sipcap.limits import METRICS_REQUEST_BYTES
from sipcap.service.control.clients import Clients, Job
from sipcap.service.control.loop import Loop
from sipcap.service.controller import Controller
from sipcap.service.health import ailments
from sipcap.service.metrics import ServiceCollector

_PAGES_PER_S: Final = 10.0
"""A page takes 20 ms on a busy machine (2026-11); Prometheus asks for one every few seconds."""

_BACKLOG: Final = 64
_TEXT: Final = "text/plain; charset=utf-8"


class MetricsServer:
    """Serves ``/metrics`` and ``/healthz`` in a thread of its own; it listens once it is made.

    Args:
        listen: ``HOST:PORT``.
        controller: whose state is shown.

    Raises:
        CannotStart: it cannot listen there.
    """

    def __init__(self, listen: str, controller: Controller) -> None:
        listener = _listen(listen)
        host, port = listener.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        registry = CollectorRegistry(auto_describe=False)
        registry.register(ServiceCollector(controller))
        self._loop = Loop("metrics")
        self._loop.add(Clients(self._loop, listener, partial(HttpSession, Pages(registry, controller)), _PAGES_PER_S))

    def start(self) -> None:
        """Begin to answer."""
        self._loop.start()

    def close(self) -> None:
        """Stop."""
        self._loop.close()

    def close_in_child(self) -> None:
        """Let go of everything in a forked child."""
        self._loop.close_in_child()


def _listen(listen: str) -> socket.socket:
    try:
        endpoint = parse_endpoint(f"tcp:{listen.removeprefix('tcp:')}")
        host = None if endpoint.host == "*" else endpoint.host
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, ValueError) as error:
        raise CannotStart(f"metrics on {listen}: {getattr(error, 'strerror', None) or error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise CannotStart(f"metrics on {listen}: {error.strerror}") from None
    return listener


class Pages:
    """What is shown under which path."""

    def __init__(self, registry: CollectorRegistry, controller: Controller) -> None:
        self._registry = registry
        self._controller = controller

    def get(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """One page: status, type and content."""
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return HTTPStatus.OK, content_type, encode(self._registry)
        if path == "/healthz":
            reasons = ailments(self._controller.stats())
            status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
            return status, _TEXT, "".join(f"{reason}\n" for reason in reasons or ["ok"]).encode()
        return HTTPStatus.NOT_FOUND, _TEXT, b"/metrics, /healthz\n"


class HttpSession:
    """HTTP/1 with one client, one request a connection: no body, no pipelining (RFC 9112)."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._head = bytearray()
        self.is_over = False

    @property
    def is_inside(self) -> bool:
        """Always: a client that sends nothing is one that stalls."""
        return not self.is_over

    def receive_data(self, data: bytes) -> Sequence[Job]:
        """Take bytes; once the head is whole, give the page that it asks for."""
        self._head += data
        head = bytes(self._head).replace(b"\r\n", b"\n")
        end = head.find(b"\n\n")
        if end >= 0:
            self.is_over = True
            return [partial(self._answer, head[:end].decode("latin-1"))]
        if len(head) > METRICS_REQUEST_BYTES:
            self.is_over = True
            return [partial(_response, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, _TEXT, b"too long\n")]
        return []

    def end(self) -> Sequence[Job]:
        """Half a request."""
        self.is_over = True
        return [partial(_response, HTTPStatus.REQUEST_TIMEOUT, _TEXT, b"no request\n")] if self._head else []

    def _answer(self, head: str) -> bytes:
        first, *lines = head.split("\n")
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST, _TEXT, b"no HTTP/1 request\n")
        method, target, _ = words
        if method not in {"GET", "HEAD"}:
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, _TEXT, b"GET or HEAD\n", "Allow: GET, HEAD\r\n")
        accept = ",".join(
            value.strip() for name, _, value in (line.partition(":") for line in lines) if name.lower() == "accept"
        )
        status, content_type, content = self._pages.get(target.partition("?")[0], accept)
        return _response(status, content_type, content, head_only=method == "HEAD")


def _response(
    status: HTTPStatus, content_type: str, content: bytes, more: str = "", *, head_only: bool = False
) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(content)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (b"" if head_only else content)
