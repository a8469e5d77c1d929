"""Sockets that outlive a configuration: those that systemd opened, and those that a reload keeps."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Final

from sipcap.endpoint import Endpoint
from sipcap.sources.addresses import bind_all

_FIRST_FD: Final = 3
_ANY: Final = ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
_LOGGER = logging.getLogger("sipcap")


@dataclass
class _Kept:
    """The sockets of an endpoint; for one that came from outside it is not known which that is."""

    sockets: list[socket.socket]
    endpoint: Endpoint | None
    is_used: bool = False
    is_new: bool = False


@dataclass
class SocketPool:
    """Gives sockets to sources, which get copies: to close those closes nothing here."""

    _kept: list[_Kept] = field(default_factory=list)

    def adopt(self, environment: MutableMapping[str, str]) -> None:
        """Take over the sockets that systemd has opened (sd_listen_fds(3)); the variables are taken away."""
        pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
        environment.pop("LISTEN_FDNAMES", None)
        if pid != str(os.getpid()) or not count.isdigit():
            return
        for fd in range(_FIRST_FD, _FIRST_FD + int(count)):
            os.set_inheritable(fd, False)
            try:
                found = socket.socket(fileno=fd)
            except OSError:
                _LOGGER.warning("descriptor %d is no socket; it is not used", fd)
                continue
            found.setblocking(False)
            self._kept.append(_Kept([found], None))

    def bind(self, endpoint: Endpoint, kind: socket.SocketKind) -> list[socket.socket]:
        """The sockets of an endpoint: those that are there already, or new ones; raises CannotStart."""
        for kept in self._kept:
            if not kept.is_used and _fits(kept, endpoint, kind):
                break
        else:
            kept = _Kept(list(bind_all(endpoint, kind)), None, is_new=True)
            self._kept.append(kept)
        kept.endpoint = endpoint
        kept.is_used = True
        return [each.dup() for each in kept.sockets]

    def begin(self) -> None:
        """A new configuration asks for its sockets from here on."""
        for kept in self._kept:
            kept.is_used = kept.is_new = False

    def commit(self) -> None:
        """It has them: what it did not ask for is closed."""
        for kept in [kept for kept in self._kept if not kept.is_used]:
            if kept.endpoint is None:
                _LOGGER.warning("no listener is for the socket %s that was handed in", kept.sockets[0].getsockname())
            self._drop(kept)

    def names(self) -> set[tuple[int, object]]:
        """Kind and name of every socket."""
        return {(each.type, each.getsockname()) for kept in self._kept for each in kept.sockets}

    def roll_back(self) -> None:
        """It is not used: what was made for it is closed."""
        for kept in [kept for kept in self._kept if kept.is_new]:
            self._drop(kept)
        for kept in self._kept:
            kept.is_used = True

    def _drop(self, kept: _Kept) -> None:
        self._kept.remove(kept)
        for each in kept.sockets:
            each.close()

    def close(self) -> None:
        """Close all; in a child, too."""
        while self._kept:
            self._drop(self._kept[0])


def _fits(kept: _Kept, endpoint: Endpoint, kind: socket.SocketKind) -> bool:
    """Whether sockets are those of an endpoint."""
    first = kept.sockets[0]
    if first.type != kind:
        return False
    if kept.endpoint is not None:
        return kept.endpoint == endpoint
    if first.family not in (socket.AF_INET, socket.AF_INET6) or endpoint.port != endpoint.last_port:
        return False
    host, port = first.getsockname()[:2]
    if port != endpoint.port:
        return False
    if endpoint.host == "*":
        return host in _ANY
    try:
        found = socket.getaddrinfo(endpoint.host, port, first.family, kind)
    except OSError:
        return False
    return any(host == address[0] for *_, address in found)
