"""The control server of a service: its sockets, opened, served and removed."""

from __future__ import annotations

import logging
import os
import socket
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sipcap.limits import CONTROL_REQUESTS_PER_S
from sipcap.service.control.clients import Clients, Session
from sipcap.service.control.fifo import RpcFifo
from sipcap.service.control.loop import Loop
from sipcap.service.control.methods import Methods
from sipcap.service.control.sessions import BinrpcSession, JsonSession
from sipcap.service.control.sockets import bind_unix, make_fifo
from sipcap.service.controller import Controller
from sipcap.spool_files import remove_if_empty

if TYPE_CHECKING:
    from sipcap.service.metrics_server import MetricsServer

_LOGGER = logging.getLogger("sipcap")


@dataclass(frozen=True)
class ControlOptions:
    """Where a service can be asked (design 1.7, the keys of the same names); None = not there.

    ``control_group`` may use all of them beside their owner: their mode is then 0660, else 0600. A name or a number.
    """

    control_socket: str | None = None
    control_group: str | None = None
    binrpc_socket: str | None = None
    rpc_fifo: str | None = None
    metrics_listen: str | None = None


class ControlServer:
    """Answers on the control sockets, and to Prometheus, for as long as a service runs.

    ``open`` makes the sockets; it is to be called while the process may make them where they shall be, so in general
    before privileges are dropped, and changes to ``control_group`` need them too. ``start`` starts two threads (one for
    the control sockets, one for metrics), opening first if that has not been done; it may be called at either time.
    A process that drops privileges after ``open`` cannot remove the files in ``close`` where the folder does not
    belong to its new user; the next one finds that nobody answers there and replaces them.

    Fork before ``start``, or after it with the care that threads need; a forked child closes what it inherited by
    itself, so that the sockets end with this process.

    Args:
        options: where.
        controller: the service; its methods are called by these threads.
    """

    def __init__(self, options: ControlOptions, controller: Controller) -> None:
        self._options = options
        self._methods = Methods(controller)
        self._controller = controller
        self._loop = Loop("control")
        self._metrics: MetricsServer | None = None
        self.places: list[Path] = []
        """The sockets and FIFOs that ``open`` has made; whoever drops privileges gives them to the new user."""
        self.made_folder: Path | None = None
        """What was made for them; ``close`` removes it if it is empty, and this process may."""
        self._is_open = False
        self._is_closed = False

    def open(self) -> None:
        """Make all sockets; nothing remains if one cannot be made.

        Raises:
            CannotStart: one cannot be made, or another process answers there.
        """
        self._is_open = True
        _SERVERS.add(self)
        options = self._options
        try:
            if options.control_socket:
                self._add_stream(options.control_socket, partial(JsonSession, self._methods.call))
            if options.binrpc_socket:
                self._add_stream(options.binrpc_socket, partial(BinrpcSession, self._methods.call))
            if options.rpc_fifo:
                descriptor, place = make_fifo(options.rpc_fifo, options.control_group)
                self.places.append(place.path)
                self._loop.add(RpcFifo(self._loop, descriptor, self._methods.call, place))
                _LOGGER.info("control: reading %s", options.rpc_fifo)
            if options.metrics_listen:
                # Late: prometheus-client takes a tenth of a second to import.
                from sipcap.service.metrics_server import MetricsServer  # noqa: PLC0415

                self._metrics = MetricsServer(options.metrics_listen, self._controller)
                _LOGGER.info("metrics: listening on %s", self._metrics.address)
        except BaseException:
            self.close()
            raise

    def _add_stream(self, path: str, make_session: Callable[[], Session]) -> None:
        listener, place = bind_unix(path, socket.SOCK_STREAM, self._options.control_group)
        self.places.append(place.path)
        self._loop.add(Clients(self._loop, listener, make_session, CONTROL_REQUESTS_PER_S, place))
        _LOGGER.info("control: listening on %s", path)

    @property
    def metrics_address(self) -> str | None:
        """``HOST:PORT`` of the metrics page, with the real port where 0 was asked for."""
        return None if self._metrics is None else self._metrics.address

    def start(self) -> None:
        """Begin to answer; opens first if that has not been done.

        Raises:
            CannotStart: as ``open``.
        """
        if not self._is_open:
            self.open()
        self._loop.start()
        if self._metrics is not None:
            self._metrics.start()

    def close(self) -> None:
        """Stop answering, and remove the sockets."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.close()
        if self._metrics is not None:
            self._metrics.close()

        if self.made_folder is not None:
            remove_if_empty(self.made_folder)

    def close_in_child(self) -> None:
        """Let go of everything in a forked child; happens by itself."""
        if self._is_closed:
            return
        self._is_closed = True
        self._loop.close_in_child()
        if self._metrics is not None:
            self._metrics.close_in_child()


_SERVERS: weakref.WeakSet[ControlServer] = weakref.WeakSet()


def _close_in_child() -> None:
    for server in list(_SERVERS):
        server.close_in_child()


# A worker that kept a listening socket would let clients connect to a service that is gone.
os.register_at_fork(after_in_child=_close_in_child)
