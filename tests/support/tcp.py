"""TCP for tests: segments, whole connections, WebSocket and TLS on them; nothing in here decodes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise

from sipcap.wire.tcp import Segment
from tests.support.packets import DESTINATION, SOURCE, Captured, ethernet, ip4, ip6

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
CLIENT_PORT, SERVER_PORT = 40_000, 5060
FIRST_US = 1_700_000_000_000_000
"""When the first segment of a connection was captured; the others follow every millisecond."""


def tcp(
    payload: bytes = b"",
    source: int = CLIENT_PORT,
    destination: int = SERVER_PORT,
    *,
    sequence: int = 0,
    acknowledgement: int = 0,
    flags: int = ACK,
    options: bytes = b"",
    offset: int | None = None,
) -> bytes:
    """A TCP segment without checksum; ``offset`` overrides the header's length in words."""
    words = 5 + len(options) // 4 if offset is None else offset
    head = struct.pack(
        ">HHIIBBHHH",
        source,
        destination,
        sequence & 0xFFFF_FFFF,
        acknowledgement & 0xFFFF_FFFF,
        words << 4,
        flags,
        65_535,
        0,
        0,
    )
    return head + options + payload


@dataclass
class Side:
    """One end of a connection."""

    address: str
    port: int
    sequence: int
    """The number of the next byte that it sends."""

    @property
    def packed(self) -> bytes:
        """The address as it stands in a packet."""
        return ip_address(self.address).packed


@dataclass
class Talk:
    """A connection: its segments in the order in which they were sent, 1 ms apart."""

    client: Side = field(default_factory=lambda: Side(SOURCE, CLIENT_PORT, 1_000))
    server: Side = field(default_factory=lambda: Side(DESTINATION, SERVER_PORT, 900_000))
    ts_us: int = FIRST_US
    segments: list[Segment] = field(default_factory=list)

    def _add(self, sender: Side, data: bytes = b"", flags: int = ACK) -> Talk:
        receiver = self.server if sender is self.client else self.client
        self.segments.append(
            Segment(
                self.ts_us,
                sender.packed,
                sender.port,
                receiver.packed,
                receiver.port,
                b"",
                sender.sequence,
                flags,
                data,
                0,
                {},
                receiver.sequence if flags & ACK else 0,
            )
        )
        sender.sequence = (sender.sequence + len(data) + bool(flags & (SYN | FIN))) & 0xFFFF_FFFF
        self.ts_us += 1_000
        return self

    def open(self) -> Talk:
        """The three segments that begin a connection."""
        self._add(self.client, flags=SYN)
        self._add(self.server, flags=SYN | ACK)
        return self._add(self.client)

    def ask(self, *pieces: bytes) -> Talk:
        """The client sends; one segment a piece."""
        for piece in pieces:
            self._add(self.client, piece, PSH | ACK)
        return self

    def answer(self, *pieces: bytes) -> Talk:
        """The server sends; one segment a piece."""
        for piece in pieces:
            self._add(self.server, piece, PSH | ACK)
        return self

    def acknowledge(self, *, by_client: bool = False) -> Talk:
        """One side says how far it has come."""
        return self._add(self.client if by_client else self.server)

    def lose(self, count: int, *, of_server: bool = False) -> Talk:
        """Bytes go over the wire that the capture does not see."""
        side = self.server if of_server else self.client
        side.sequence = (side.sequence + count) & 0xFFFF_FFFF
        return self

    def wait(self, seconds: float) -> Talk:
        """Nothing is sent for a while."""
        self.ts_us += int(seconds * 1_000_000)
        return self

    def close(self) -> Talk:
        """Both sides end."""
        self._add(self.client, flags=FIN | ACK)
        self._add(self.server, flags=FIN | ACK)
        return self._add(self.client)

    def reset(self) -> Talk:
        """The client breaks off."""
        return self._add(self.client, flags=RST)

    def frames(self) -> list[Captured]:
        """The segments as Ethernet frames."""
        return [(each.ts_us, frame_of(each)) for each in self.segments]


def frame_of(segment: Segment) -> bytes:
    """An Ethernet frame with this segment."""
    source, destination = (str(ip_address(packed)) for packed in (segment.source, segment.destination))
    packet = ip4 if len(segment.source) == 4 else ip6
    data = tcp(
        segment.payload,
        segment.source_port,
        segment.destination_port,
        sequence=segment.sequence,
        acknowledgement=segment.acknowledgement,
        flags=segment.flags,
    )
    return ethernet(packet(data, 6, source=source, destination=destination))


def cut(data: bytes, *ends: int) -> list[bytes]:
    """Bytes in pieces that end at these offsets."""
    edges = [0, *ends, len(data)]
    return [data[begin:end] for begin, end in pairwise(edges) if begin < end]


def single_bytes(data: bytes) -> list[bytes]:
    """Bytes one by one."""
    return [data[at : at + 1] for at in range(len(data))]


# WebSocket (RFC 6455)

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: sip.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
)
MASK = b"\x37\xfa\x21\x3d"
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def ws_frame(
    payload: bytes, opcode: int = TEXT, *, mask: bytes = b"", final: bool = True, deflated: bool = False
) -> bytes:
    """One WebSocket frame; a ``mask`` of 4 bytes masks it."""
    first = opcode | (0x80 if final else 0) | (0x40 if deflated else 0)
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    else:
        length = b"\x7e" + struct.pack(">H", size) if size < 65_536 else b"\x7f" + struct.pack(">Q", size)
    length = bytes((length[0] | (0x80 if mask else 0),)) + length[1:]
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if mask else payload
    return bytes((first,)) + length + mask + masked


def ws_fragments(payload: bytes, ends: Sequence[int], *, mask: bytes = b"") -> list[bytes]:
    """One message in several frames."""
    pieces = cut(payload, *ends)
    last = len(pieces) - 1
    return [
        ws_frame(piece, TEXT if at == 0 else CONTINUATION, mask=mask, final=at == last)
        for at, piece in enumerate(pieces)
    ]


def ws_deflated(payloads: Iterable[bytes], *, mask: bytes = b"") -> list[bytes]:
    """Messages deflated with one window (RFC 7692 section 7.2.1), a frame each."""
    deflater = zlib.compressobj(wbits=-15)
    frames = []
    for payload in payloads:
        data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
        frames.append(ws_frame(data.removesuffix(b"\0\0\xff\xff"), mask=mask, deflated=True))
    return frames


TLS_HELLO = b"\x16\x03\x01\x00\xa5" + b"\x01" + bytes(164)
"""The beginning of a TLS connection."""
TLS_DATA = b"\x17\x03\x03\x00\x20" + bytes(range(32))
"""A TLS record in its middle."""
