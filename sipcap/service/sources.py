"""From listeners to their sources."""

from __future__ import annotations

import os

from sipcap.config.keys import HEP
from sipcap.config.settings import Listener
from sipcap.errors import CannotStart
from sipcap.service.sockets import SocketPool
from sipcap.sources.base import LiveSource
from sipcap.sources.hep import HepOptions, HepSource


def source_of(listener: Listener, pool: SocketPool, drain_s: float) -> LiveSource:
    """Make the source of a listener; it is not opened yet.

    Args:
        listener: what is captured.
        pool: has the sockets that are there already.
        drain_s: how long a stopped service may go on; half of it is for what waits in the kernel.

    Raises:
        CannotStart: this version cannot capture in that mode.
    """
    if listener.mode != HEP:
        raise CannotStart(f"{listener.origin}: mode {listener.mode} is not in this version")
    return HepSource(
        HepOptions(
            listener.endpoints,
            listener.rcvbuf,
            None if listener.auth_key is None else os.fsencode(listener.auth_key),
            listener.allow,
            listener.tls_cert,
            listener.tls_key,
            listener.tls_client_ca,
            drain_s=drain_s / 2,
            bind=pool.bind,
        )
    )


def keeps_its_source(listener: Listener) -> bool:
    """Whether a source goes on over a reload as it is; else its sockets do, in a new one."""
    return listener.mode != HEP
