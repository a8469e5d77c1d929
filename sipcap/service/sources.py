"""From listeners to their sources."""

from __future__ import annotations

import os

from sipcap.config.keys import HEP, IPIP, MIRROR
from sipcap.config.listeners import ports_of
from sipcap.config.settings import Listener
from sipcap.service.sockets import SocketPool
from sipcap.sources.base import LiveSource
from sipcap.sources.hep import HepOptions, HepSource
from sipcap.sources.interfaces import ANY
from sipcap.sources.ipip import IpipOptions, IpipSource
from sipcap.sources.mirror import MirrorOptions, MirrorSource


def source_of(listener: Listener, pool: SocketPool, drain_s: float) -> LiveSource:
    """Make the source of a listener; it is not opened yet.

    Args:
        listener: what is captured.
        pool: has the sockets that are there already.
        drain_s: how long a stopped service may go on; half of it is for what waits in the kernel.
    """
    if listener.mode == MIRROR:
        return MirrorSource(
            MirrorOptions(
                listener.iface or ANY, ports_of(listener.endpoints), listener.bpf or None, listener.promisc,
                listener.direction, listener.children, listener.rcvbuf, drain_s / 2,
            )
        )  # fmt: skip
    if listener.mode == IPIP:
        hosts = [endpoint.host for endpoint in listener.endpoints]
        iface = listener.iface if listener.iface != ANY else ""
        return IpipSource(
            IpipOptions(
                hosts, ports_of(listener.endpoints), iface or None, listener.children, listener.rcvbuf, drain_s / 2
            )
        )
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
