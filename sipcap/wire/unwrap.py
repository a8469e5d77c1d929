"""Frames to what their innermost IP packet carries: through tunnels, and with fragments put together."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from sipcap.errors import DecodeError
from sipcap.limits import MAX_LAYERS
from sipcap.wire.fragments import Fragments
from sipcap.wire.ip import UDP, UDP_LITE, behind_extensions, decode_ip
from sipcap.wire.link import LinkType, link_fields
from sipcap.wire.packet import Carried, Datagram, decode_udp
from sipcap.wire.tunnels import IP_TUNNELS, Tunnel, udp_tunnel


class Unwrapper:
    """Finds what the innermost IP packet carries. ``fragments`` holds what is not whole, of every layer."""

    def __init__(self) -> None:
        self.fragments = Fragments()

    def frame(self, data: bytes, offset: int, link: LinkType, ts_us: int) -> Carried | None:
        """Unwrap a frame.

        Args:
            data: the bytes that were captured, perhaps fewer than the frame had.
            offset: where the outermost IP packet begins: what ``link.header_bytes`` gave.
            link: what ``LINK_TYPES`` has for the capture's link type.
            ts_us: the time of the packet, microseconds.

        Returns:
            What the innermost packet carries; None for a fragment that waits for others.

        Raises:
            DecodeError: ``nested`` (too many tunnels), or a reason of ``decode_ip``, ``Fragments.add`` or the tunnels.
        """
        header = data[:offset]
        return self._innermost(data, offset, header, base_scope(header, link), 0, ts_us)

    def tunnel(self, datagram: Datagram, tunnel: Tunnel, link: LinkType, ts_us: int) -> Carried | None:
        """Unwrap a UDP datagram that ``udp_tunnel`` takes for one of a tunnel; see ``frame``.

        Raises:
            DecodeError: it is none, by its header or what is inside; or what ``frame`` raises.
        """
        inner = tunnel(datagram.payload)
        outer = datagram.scope or base_scope(datagram.header, link)
        scope = outer + datagram.source + datagram.destination + inner.key
        return self._innermost(datagram.payload, inner.offset, datagram.header, scope, datagram.depth + 1, ts_us)

    def _innermost(
        self, data: bytes, offset: int, header: bytes, scope: bytes, depth: int, ts_us: int
    ) -> Carried | None:
        while depth < MAX_LAYERS:
            packet = decode_ip(data, offset)
            carried = Carried(
                packet.protocol, packet.source, packet.destination, packet.tos, data[packet.begin : packet.end],
                packet.missing, header, scope, depth,
            )  # fmt: skip
            if packet.more or packet.fragment_offset:
                whole = self.fragments.add(carried, packet, ts_us)
                if whole is None:
                    return None
                carried = _behind_extensions(whole)
            tunnel = IP_TUNNELS.get(carried.protocol)
            if tunnel is None:
                return carried
            data = carried.data
            offset, key = tunnel(data)
            scope += carried.source + carried.destination + key
            depth += 1
        raise DecodeError("nested")


def beginnings(carried: Carried) -> Iterator[Datagram]:
    """The UDP datagrams that begin in what is left of an IP packet, from the outside in; none for what is not UDP.

    It tells what has been lost with the rest of the packet. Nothing is put together.
    """
    for _ in range(MAX_LAYERS):
        try:
            if carried.protocol in IP_TUNNELS:
                data, offset = carried.data, IP_TUNNELS[carried.protocol](carried.data).offset
            elif carried.protocol in (UDP, UDP_LITE):
                datagram = decode_udp(carried)
                yield datagram
                tunnel = udp_tunnel(datagram.source_port, datagram.destination_port)
                if tunnel is None:
                    return
                data, offset = datagram.payload, tunnel(datagram.payload).offset
            else:
                return
            packet = decode_ip(data, offset)
        except DecodeError:
            return
        if packet.fragment_offset:
            return
        carried = replace(
            carried,
            protocol=packet.protocol,
            source=packet.source,
            destination=packet.destination,
            data=data[packet.begin : packet.end],
        )


def base_scope(header: bytes, link: LinkType) -> bytes:
    """The ``scope`` of what a frame carries outside any tunnel: its VLAN."""
    number: int = link_fields(link, header, 0).get("vlan", 0)
    return number.to_bytes(2, "big")


def _behind_extensions(whole: Carried) -> Carried:
    """Step over the extension headers that have been in fragments."""
    protocol, begin = behind_extensions(whole.data, 0, len(whole.data), whole.protocol)
    return replace(whole, protocol=protocol, data=whole.data[begin:]) if begin else whole
