"""Packets of an interface, a mirror port for instance: the SIP and HEP in them."""

from __future__ import annotations

import errno
import logging
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sipcap.counters import Counters
from sipcap.errors import CannotStart, SourceLost
from sipcap.limits import DRAIN_TIMEOUT_S, FLUSH_INTERVAL_S, RCVBUF_BYTES, RING_BLOCK_MS
from sipcap.sources.interfaces import ANY, Interface, compile_filter, find_interface, is_up, lost_by_interfaces
from sipcap.sources.kernel_filter import directed, everything
from sipcap.sources.packet_decoder import Packet, PacketDecoder
from sipcap.sources.packet_ring import PacketRing
from sipcap.sources.passed_over import TcpCounts, log_passed_over
from sipcap.sources.sip_ports import port_set
from sipcap.wire.message import Message

_LOGGER = logging.getLogger("sipcap")
_HOUSEKEEPING_S: Final = 1.0
_LAST_BLOCK_S: Final = 3 * RING_BLOCK_MS / 1_000
"""After this, what the ring had taken in before it was closed is there to be read."""


@dataclass(frozen=True)
class MirrorOptions:
    """What is captured.

    Args:
        iface: the interface's name, or ``any``.
        ports: SIP is what has one of these ports at either end; none: what looks like SIP.
        bpf: a filter in libpcap's language that runs in the kernel; ``auto``: the one that follows from ``ports``.
        promisc: take packets to others, too; not with ``any``.
        direction: ``in``, ``out`` or ``both``, as the interface sees it.
        children: how many workers will share it, each flow going to one of them.
        rcvbuf_bytes: of all rings together.
        drain_s: bounds how long what waits in the rings is read after a stop.
    """

    iface: str = ANY
    ports: Sequence[range] = ()
    bpf: str | None = None
    promisc: bool = False
    direction: str = "both"
    children: int = 1
    rcvbuf_bytes: int = RCVBUF_BYTES
    drain_s: float = DRAIN_TIMEOUT_S / 2


class MirrorSource:
    """A LiveSource (see ``base.py``) over one interface or all.

    ``open`` makes one ring for each worker, joined to a group in which the kernel gives each flow to one of them.
    A worker that is forked again goes on where the one before it ended.
    """

    def __init__(self, options: MirrorOptions) -> None:
        self.stats = Counters()
        self.skipped: Counter[str] = Counter()
        """Packets that hold no message, by reason; those of TCP apart."""
        self.tcp = TcpCounts()
        self.counts_kernel_drops = True
        """False in all but one worker: what the card drops it drops once. Each worker counts what its own ring does."""
        self._options = options
        self._interface = Interface(options.iface, 0, 1)
        self._rings: list[PacketRing] = []
        self._index = 0
        self._stopping = False
        self._hands_over = False
        self._is_down = False
        self._lost_before = 0

    @property
    def addresses(self) -> list[str]:
        """What is captured from: ``mirror:eth1``."""
        return [f"mirror:{self._options.iface}"] if self._rings else []

    def open(self) -> None:
        """Make the rings; packets come in from here on. See LiveSource."""
        options = self._options
        self._interface = interface = find_interface(options.iface)
        program = compile_filter(interface, options.bpf, options.ports)
        share = options.rcvbuf_bytes // options.children
        try:
            for _ in range(options.children):
                self._rings.append(PacketRing(interface, share, promisc=options.promisc))
            if options.children > 1:
                group: int | None = None
                for ring in self._rings:
                    group = ring.join(group)
            for ring in self._rings:
                ring.start(directed(program or everything(), options.direction, has_loopback=interface.has_loopback))
        except CannotStart:
            self.close()
            raise
        granted = sum(ring.size_bytes for ring in self._rings)
        _LOGGER.info("receive buffer: %d bytes granted of %d asked for", granted, options.rcvbuf_bytes)
        for address in self.addresses:
            _LOGGER.info("listening on %s", address)

    def enter_worker(self, index: int) -> None:
        """Take one of the rings; see LiveSource."""
        self._index = index
        self.counts_kernel_drops = index == 0

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield batches until ``stop``; see Source.

        Raises:
            SourceLost: the interface is gone; what came before has been yielded.
        """
        ring = self._rings[self._index]
        decoder = PacketDecoder(self.stats, self.skipped, port_set(self._options.ports), self.tcp)
        self._lost_before = lost_by_interfaces(self._options.iface)
        failure: SourceLost | None = None
        try:
            for packets in self._packets(ring):
                yield decoder.decode(packets) if packets else decoder.expire(time.time_ns() // 1_000)
        except SourceLost as error:
            failure = error
        self.stats.kernel_dropped += ring.drops()
        yield decoder.finish()
        if failure is not None:
            raise failure

    def _packets(self, ring: PacketRing) -> Iterator[list[Packet]]:
        housekeeping_s = 0.0
        while not self._stopping:
            yield ring.read() or self._wait(ring)
            if (now_s := time.monotonic()) >= housekeeping_s:
                housekeeping_s = now_s + _HOUSEKEEPING_S
                self._keep_house(ring)
        self._keep_house(ring)
        if self._hands_over:
            return
        yield from self._drain(ring)

    def _wait(self, ring: PacketRing) -> list[Packet]:
        try:
            return ring.read() if ring.wait(FLUSH_INTERVAL_S) else []
        except OSError as error:
            if error.errno != errno.ENETDOWN:
                raise SourceLost(f"cannot capture on {self._options.iface} any more: {error.strerror}") from None
        return self._note_down()

    def _note_down(self) -> list[Packet]:
        """The kernel says it once, and when the interface is up again, it goes on by itself."""
        name = self._options.iface
        try:
            socket.if_indextoname(self._interface.index)
        except OSError:
            raise SourceLost(f"interface {name} is gone") from None
        if not self._is_down:
            self._is_down = True
            _LOGGER.warning("interface %s is down: nothing is captured until it is up again", name)
        return []

    def _keep_house(self, ring: PacketRing) -> None:
        self.stats.kernel_dropped += ring.drops()
        if self.counts_kernel_drops:
            lost = lost_by_interfaces(self._options.iface)
            self.stats.kernel_dropped += max(lost - self._lost_before, 0)
            self._lost_before = lost
        if self._is_down:
            self._note_down()
            if is_up(self._options.iface):
                self._is_down = False
                _LOGGER.warning("interface %s is up again", self._options.iface)

    def _drain(self, ring: PacketRing) -> Iterator[list[Packet]]:
        """What the kernel had taken in before the stop is still ours to deliver."""
        ring.refuse_more()
        until_s = time.monotonic() + self._options.drain_s
        quiet_s = time.monotonic() + _LAST_BLOCK_S
        while time.monotonic() < until_s:
            if packets := ring.read():
                yield packets
            elif time.monotonic() >= quiet_s:
                return
            else:
                time.sleep(_LAST_BLOCK_S / 10)
        self.stats.kernel_dropped += ring.waiting()

    def stop(self) -> None:
        """Take in nothing new."""
        self._stopping = True

    def hand_over(self) -> None:
        """Stop for a process that goes on after this one; see LiveSource."""
        self._hands_over = self._stopping = True

    def close(self) -> None:
        """Give the rings back; says what the packets without a message were."""
        for ring in self._rings:
            ring.close()
        self._rings = []
        log_passed_over(self.skipped, self.tcp)
        self.skipped.clear()
        self.tcp = TcpCounts()
