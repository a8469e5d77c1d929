"""Messages of stream transports made again as connections: TCP, WebSocket over TCP, SCTP.

What was captured of a connection was its messages; here it gets a beginning, and sequence numbers without
holes, so that every reader follows it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from sipcap.limits import MAX_EXPORT_CONNECTIONS
from sipcap.wire.frame_encode import Way, sctp_packet, tcp_packet

_SYN, _ACK, _PSH = 2, 16, 8
_SEGMENT_BYTES: Final = 65_000
"""Payload of one segment: a frame that the network card was to cut, as captures on the sending host show them."""

_FIRST_SEQUENCE: Final = 1_000
_UPGRADE: Final = (
    b"GET / HTTP/1.1\r\nHost: sip\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_UPGRADED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
)
"""The handshake of RFC 7118 section 4.1 with the key of RFC 6455's example."""

_Ends = tuple[bytes, int, bytes, int]


class Connections:
    """Sequence numbers of the connections that are being written; the longest unused is forgotten first.

    A connection that was forgotten begins again, with a handshake, on the same ports.
    """

    def __init__(self) -> None:
        self._next: OrderedDict[_Ends, dict[tuple[bytes, int], int]] = OrderedDict()

    def tcp(self, payload: bytes, way: Way) -> list[tuple[Way, bytes]]:
        """The IP packets of one message over TCP, each with its way; raises EncodeError."""
        numbers, is_new = self._numbers(way)
        packets = _handshake(way, numbers) if is_new else []
        return packets + _segments(payload, way, numbers)

    def websocket(self, payload: bytes, way: Way) -> list[tuple[Way, bytes]]:
        """The IP packets of one message over WebSocket (RFC 7118); raises EncodeError."""
        numbers, is_new = self._numbers(way)
        client = way if _is_client(way) else way.back()
        packets = []
        if is_new:
            packets = _handshake(way, numbers)
            packets += _segments(_UPGRADE, client, numbers) + _segments(_UPGRADED, client.back(), numbers)
        return packets + _segments(websocket_frame(payload, masked=_is_client(way)), way, numbers)

    def sctp(self, payload: bytes, way: Way) -> list[tuple[Way, bytes]]:
        """The IP packet of one message over SCTP; raises EncodeError."""
        numbers, _ = self._numbers(way)
        end = (way.source, way.source_port)
        packet = sctp_packet(payload, way, numbers[end])
        numbers[end] += 1
        return [(way, packet)]

    def _numbers(self, way: Way) -> tuple[dict[tuple[bytes, int], int], bool]:
        one, other = (way.source, way.source_port), (way.destination, way.destination_port)
        key = (*min(one, other), *max(one, other))
        numbers = self._next.get(key)
        if numbers is not None:
            self._next.move_to_end(key)
            return numbers, False
        if len(self._next) >= MAX_EXPORT_CONNECTIONS:
            self._next.popitem(last=False)
        numbers = self._next[key] = {one: _FIRST_SEQUENCE, other: 2 * _FIRST_SEQUENCE}
        return numbers, True


def _is_client(way: Way) -> bool:
    """Whoever has the higher port has called: servers have well-known ones."""
    return (way.source_port, way.source) >= (way.destination_port, way.destination)


def _handshake(way: Way, numbers: dict[tuple[bytes, int], int]) -> list[tuple[Way, bytes]]:
    client = way if _is_client(way) else way.back()
    server = client.back()
    here, there = (client.source, client.source_port), (server.source, server.source_port)
    first, second = numbers[here], numbers[there]
    numbers[here] += 1
    numbers[there] += 1
    return [
        (client, tcp_packet(b"", client, first, 0, _SYN)),
        (server, tcp_packet(b"", server, second, first + 1, _SYN | _ACK)),
        (client, tcp_packet(b"", client, first + 1, second + 1, _ACK)),
    ]


def _segments(payload: bytes, way: Way, numbers: dict[tuple[bytes, int], int]) -> list[tuple[Way, bytes]]:
    end, other = (way.source, way.source_port), (way.destination, way.destination_port)
    packets = []
    for begin in range(0, len(payload), _SEGMENT_BYTES):
        piece = payload[begin : begin + _SEGMENT_BYTES]
        packets.append((way, tcp_packet(piece, way, numbers[end], numbers[other], _PSH | _ACK)))
        numbers[end] = (numbers[end] + len(piece)) & 0xFFFF_FFFF
    return packets


def websocket_frame(payload: bytes, *, masked: bool) -> bytes:
    """One final text frame (RFC 6455 section 5.2); the mask of a client is 0, which changes no byte."""
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x81, bit | size))
    elif size < 65_536:
        head = bytes((0x81, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x81, bit | 127)) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload
