"""IP in IP that is sent to this machine: the SIP and HEP in what is tunnelled."""

from __future__ import annotations

import errno
import logging
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sipcap.counters import Counters
from sipcap.errors import CannotStart, SourceLost
from sipcap.limits import DRAIN_TIMEOUT_S, FLUSH_INTERVAL_S, RCVBUF_BYTES
from sipcap.sources.interfaces import interface_index, no_permission
from sipcap.sources.ipip_port import IpipPort
from sipcap.sources.packet_decoder import Packet, PacketDecoder
from sipcap.sources.passed_over import TcpCounts, log_passed_over
from sipcap.sources.sip_ports import port_set
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")
_HOUSEKEEPING_S: Final = 1.0
_INNER_VERSIONS: Final = {4: 4, 41: 6}
"""Protocol numbers of IP in IP, and the version of the inner packet."""

_NO_IP6: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_GATHER_S: Final = 0.002
"""After a turn that brought few packets: to wake up for each one costs more than to take some together."""
_FEW: Final = 32


@dataclass(frozen=True)
class IpipOptions:
    """What is captured.

    Args:
        addresses: of this machine, to which tunnels are sent: IPv4 or IPv6, ``*`` for all; none is the same.
        ports: SIP is what has one of these ports at either end of the inner packet; none: what looks like SIP.
        iface: hear this interface only.
        children: how many workers will share it; what goes between two inner addresses goes to one of them.
        rcvbuf_bytes: of each socket.
        drain_s: bounds how long what waits in the kernel is read after a stop.
    """

    addresses: Sequence[str] = ()
    ports: Sequence[range] = ()
    iface: str | None = None
    children: int = 1
    rcvbuf_bytes: int = RCVBUF_BYTES
    drain_s: float = DRAIN_TIMEOUT_S / 2


class IpipSource:
    """A LiveSource (see ``base.py``) over raw sockets.

    The kernel puts fragments of the outer packet together and steps over nothing else: outer options, the inner packet
    and its fragments are read here. It hands over what is sent to this machine only; for a tunnel that passes by there
    is ``MirrorSource``.
    """

    def __init__(self, options: IpipOptions) -> None:
        self.stats = Counters()
        self.skipped: Counter[str] = Counter()
        """Packets that hold no message, by reason; those of TCP apart."""
        self.tcp = TcpCounts()
        self.counts_kernel_drops = True
        """Each worker has sockets of its own, and counts for them."""
        self._options = options
        self._ports: list[list[IpipPort]] = [[] for _ in range(options.children)]
        self._names: list[str] = []
        self._index = 0
        self._device = 0
        self._stopping = False
        self._hands_over = False

    @property
    def addresses(self) -> list[str]:
        """What is bound: ``ipip:192.0.2.1``."""
        return self._names

    def open(self) -> None:
        """Bind the sockets of all workers; see LiveSource."""
        options = self._options
        if options.iface is not None:
            self._device = interface_index(options.iface)
        try:
            for address in dict.fromkeys(options.addresses or ("*",)):
                self._bind(address)
        except CannotStart:
            self.close()
            raise
        granted = min(port.grant_buffer(options.rcvbuf_bytes) for ports in self._ports for port in ports)
        hint = "" if granted >= options.rcvbuf_bytes else "; net.core.rmem_max or CAP_NET_ADMIN allow more"
        _LOGGER.info("receive buffer: %d bytes granted of %d asked for%s", granted, options.rcvbuf_bytes, hint)
        for name in self._names:
            _LOGGER.info("listening on %s", name)

    def _bind(self, address: str) -> None:
        for host in ("0.0.0.0", "::") if address == "*" else (address,):  # noqa: S104  # "*" asks for every address
            try:
                for index, ports in enumerate(self._ports):
                    ports += [self._bound(host, protocol, index) for protocol in _INNER_VERSIONS]
            except PermissionError:
                raise no_permission("IP in IP") from None
            except socket.gaierror:
                raise CannotStart(f"{host!r} is no IP address: tunnels end at one") from None
            except OSError as error:
                if address == "*" and host == "::" and error.errno in _NO_IP6:
                    continue
                raise CannotStart(f"cannot receive IP in IP at {host}: {error.strerror}") from None
            self._names.append(f"ipip:[{host}]" if ":" in host else f"ipip:{host}")

    def _bound(self, host: str, protocol: int, index: int) -> IpipPort:
        options = self._options
        ((family, _, _, _, where), *_) = socket.getaddrinfo(
            host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        is_ip4 = family == socket.AF_INET
        raw = socket.socket(family, socket.SOCK_RAW, protocol)
        port = IpipPort(raw, self.stats)
        try:
            port.share(index, options.children, outer_header=is_ip4, inner_version=_INNER_VERSIONS[protocol])
            if options.iface is not None and self._device:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options.iface.encode() + b"\0")
            raw.bind(where)
        except OSError:
            port.close()
            raise
        return port

    def enter_worker(self, index: int) -> None:
        """Take the sockets of one worker; see LiveSource."""
        self._index = index

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield batches until ``stop``; see Source.

        Raises:
            SourceLost: the interface is gone; what came before has been yielded.
        """
        decoder = PacketDecoder(self.stats, self.skipped, port_set(self._options.ports), self.tcp)
        failure: SourceLost | None = None
        try:
            for packets in self._packets():
                yield decoder.decode(packets) if packets else decoder.expire(time.time_ns() // 1_000)
        except SourceLost as error:
            failure = error
        yield decoder.finish()
        if failure is not None:
            raise failure

    def _packets(self) -> Iterator[list[Packet]]:
        ports = {port.socket.fileno(): port for port in self._ports[self._index]}
        poller = select.poll()
        for descriptor in ports:
            poller.register(descriptor, select.POLLIN)
        housekeeping_s = 0.0
        while not self._stopping:
            packets: list[Packet] = []
            for descriptor, _ in poller.poll(FLUSH_INTERVAL_S * 1_000):
                packets += ports[descriptor].receive()
            yield packets
            if (now_s := time.monotonic()) >= housekeeping_s:
                housekeeping_s = now_s + _HOUSEKEEPING_S
                self._keep_house()
            if 0 < len(packets) < _FEW:
                time.sleep(_GATHER_S)
        if self._hands_over:
            return
        yield from self._drain()

    def _keep_house(self) -> None:
        for port in self._ports[self._index]:
            port.count_drops()
        if self._device:
            try:
                socket.if_indextoname(self._device)
            except OSError:  # a raw socket does not say it
                raise SourceLost(f"interface {self._options.iface} is gone") from None

    def _drain(self) -> Iterator[list[Packet]]:
        """What the kernel had taken in before the stop is still ours to deliver."""
        until_s = time.monotonic() + self._options.drain_s
        ports = self._ports[self._index]
        for port in ports:
            port.refuse_more()
        for port in ports:
            while time.monotonic() < until_s and (packets := port.receive()):
                yield packets
        for port in ports:
            port.discard()

    def stop(self) -> None:
        """Take in nothing new."""
        self._stopping = True

    def hand_over(self) -> None:
        """Stop for a process that goes on after this one; see LiveSource."""
        self._hands_over = self._stopping = True

    def close(self) -> None:
        """Close all sockets; says what the packets without a message were."""
        for port in self._ports[self._index]:
            port.count_drops()
        for ports in self._ports:
            for port in ports:
                port.close()
            ports.clear()
        self._names = []
        log_passed_over(self.skipped, self.tcp)
        self.skipped.clear()
        self.tcp = TcpCounts()
