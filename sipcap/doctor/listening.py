"""Ports, interfaces, permissions and receive buffers: whether each listener can be opened."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sipcap.config.keys import HEP, MIRROR
from sipcap.config.listeners import ports_of
from sipcap.config.settings import Listener
from sipcap.counters import Counters
from sipcap.doctor.finding import Finding, fine, wrong
from sipcap.doctor.machine import has_capability
from sipcap.doctor.owners import Owner, owners_of
from sipcap.endpoint import Endpoint
from sipcap.errors import CannotStart
from sipcap.sources.addresses import bind_all
from sipcap.sources.hep_udp import UdpPort
from sipcap.sources.interfaces import ANY, compile_filter, find_interface

_NET_ADMIN: Final = 12
_NET_RAW: Final = 13
_KINDS: Final = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM, "tls": socket.SOCK_STREAM}
_INIT: Final = "systemd"


def grant(*capabilities: str) -> str:
    """The command that gives this Python capabilities."""
    program = shlex.quote(os.path.realpath(sys.executable))
    return f"sudo setcap {','.join(capabilities)}+eip {program}"


def check_listener(listener: Listener, service_pid: int) -> Iterator[Finding]:
    """Look whether a listener can have its sockets.

    Args:
        listener: of the configuration.
        service_pid: the running service, whose ports are rightly taken; 0 = none.
    """
    if listener.mode == HEP:
        for endpoint in listener.endpoints:
            for port in range(endpoint.port, endpoint.last_port + 1):
                yield check_port(replace(endpoint, port=port, last_port=port), service_pid)
        yield from _check_tls(listener)
    elif not has_capability(_NET_RAW):
        yield wrong(
            f"listener {listener.name}: no permission to capture packets (CAP_NET_RAW)",
            grant("cap_net_raw", "cap_net_admin"),
        )
        return
    elif listener.mode == MIRROR or listener.iface:
        yield _check_interface(listener)
    else:
        yield fine(f"listener {listener.name}: packets may be captured")
    if listener.mode != MIRROR:  # the rings of a mirror port are no socket buffers
        yield _check_buffer(listener)


def check_port(endpoint: Endpoint, service_pid: int = 0) -> Finding:
    """Look whether a port can be bound; it is bound for a moment."""
    kind = _KINDS[endpoint.protocol]
    try:
        for bound in bind_all(endpoint, kind):
            bound.close()
    except CannotStart as error:
        cause = error.__context__
        code = cause.errno if isinstance(cause, OSError) else 0
        return _refused(endpoint, str(error), code or 0, service_pid)
    return fine(f"{endpoint}: free")


def _refused(endpoint: Endpoint, text: str, code: int, service_pid: int) -> Finding:
    if code == errno.EACCES:
        mend = f"sudo sysctl -w net.ipv4.ip_unprivileged_port_start={endpoint.port}"
        return wrong(f"{text}; ports this low are root's", mend)
    if code == errno.EADDRNOTAVAIL:
        return wrong(f"{text}; this machine has no such address", _add_address(endpoint.host))
    if code != errno.EADDRINUSE:
        return wrong(text)
    owners = owners_of("udp" if endpoint.protocol == "udp" else "tcp", endpoint.port)
    if service_pid and any(owner.pid == service_pid for owner in owners):
        return fine(f"{endpoint}: taken by the running service (pid {service_pid})")
    if any(owner.name == _INIT for owner in owners):
        return fine(f"{endpoint}: kept by {_INIT} for what it starts (socket activation)")
    if not owners:
        return wrong(f"{text}; who has it is only shown to root", "sudo ss -lntup")
    return wrong(f"{text}; {_listed(owners)} has it", owners[0].end)


def _listed(owners: Sequence[Owner]) -> str:
    return ", ".join(map(str, owners))


def _add_address(host: str) -> str:
    try:
        family = socket.getaddrinfo(host, 0)[0][0]
    except OSError:
        return ""
    return f"sudo ip address add {host}/{128 if family == socket.AF_INET6 else 32} dev lo"


def _check_interface(listener: Listener) -> Finding:
    name = listener.iface or ANY
    try:
        interface = find_interface(name)
        compile_filter(interface, listener.bpf or None, ports_of(listener.endpoints))
    except CannotStart as error:
        text = str(error)
        mend = f"sudo ip link set {shlex.quote(name)} up" if " is down" in text else ""
        return wrong(f"listener {listener.name}: {text}", mend)
    return fine(f"listener {listener.name}: interface {name} can be captured from")


def _check_buffer(listener: Listener) -> Finding:
    """Ask for the buffer at a socket that hears nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        granted = UdpPort(probe, Counters(), None).grant_buffer(listener.rcvbuf)
    shown = f"listener {listener.name}: receive buffer: {granted} bytes granted of {listener.rcvbuf}"
    if granted >= listener.rcvbuf:
        return fine(shown)
    why = "beyond what the system allows" if has_capability(_NET_ADMIN) else "net.core.rmem_max allows no more"
    return wrong(f"{shown}: {why}", f"sudo sysctl -w net.core.rmem_max={(listener.rcvbuf + 1) // 2}")


def _check_tls(listener: Listener) -> Iterator[Finding]:
    for path in (listener.tls_cert, listener.tls_key, listener.tls_client_ca):
        if path is not None and not os.access(path, os.R_OK):
            yield wrong(f"listener {listener.name}: {path} cannot be read", _readable(path))


def _readable(path: Path) -> str:
    return f"sudo chmod u+r {shlex.quote(str(path))}" if path.exists() else ""
