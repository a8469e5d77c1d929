"""RTCP packets for tests, one small builder a kind; nothing in here uses sipcap."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def packet(kind: int, body: bytes, count: int = 0, *, padding: int = 0) -> bytes:
    """One packet; ``padding`` bytes are added, of which the last counts them."""
    if padding:
        body += bytes(padding - 1) + bytes((padding,))
    return struct.pack(">BBH", 0x80 | (0x20 if padding else 0) | count, kind, len(body) // 4) + body


def block(ssrc: int = 9, lost: int = -1, jitter: int = 7) -> bytes:
    """A report block: fraction 3, highest 70,000, LSR 5, DLSR 6."""
    return struct.pack(">IB3sIIII", ssrc, 3, lost.to_bytes(3, "big", signed=True), 70_000, jitter, 5, 6)


def sender_report(ssrc: int = 1, blocks: Sequence[bytes] = (), extension: bytes = b"") -> bytes:
    """SR with NTP time 3,900,000,000.5, RTP time 160, 10 packets of 1,600 octets."""
    head = struct.pack(">IIIIII", ssrc, 3_900_000_000, 1 << 31, 160, 10, 1_600)
    return packet(200, head + b"".join(blocks) + extension, len(blocks))


def receiver_report(ssrc: int = 2, blocks: Sequence[bytes] = ()) -> bytes:
    """An RR."""
    return packet(201, struct.pack(">I", ssrc) + b"".join(blocks), len(blocks))


def sdes(*chunks: tuple[int, Sequence[tuple[int, bytes]]]) -> bytes:
    """SDES: SSRC and items of each chunk."""
    body = b""
    for ssrc, items in chunks:
        chunk = struct.pack(">I", ssrc) + b"".join(bytes((kind, len(text))) + text for kind, text in items)
        body += chunk + bytes(4 - len(chunk) % 4)
    return packet(202, body, len(chunks))


def bye(ssrc: int = 1, reason: bytes | None = None) -> bytes:
    """BYE of one source."""
    body = struct.pack(">I", ssrc)
    if reason is not None:
        body += bytes((len(reason),)) + reason
        body += bytes(-len(body) % 4)
    return packet(203, body, 1)


def xr(*blocks: bytes, ssrc: int = 3) -> bytes:
    """An extended report."""
    return packet(207, struct.pack(">I", ssrc) + b"".join(blocks))


def voip(ssrc: int = 9) -> bytes:
    """A VoIP metrics block (RFC 3611 4.7)."""
    values = (1, 2, 3, 4, 500, 600, 70, 80, -20, -60, 55, 16, 93, 127, 41, 40, 48, 0, 20, 40, 60)
    return struct.pack(">BBHIBBBBHHHHbbBBBBBBBBHHH", 7, 0, 8, ssrc, *values)


COMPOUND = (
    sender_report(1, [block(9), block(10, 5)], b"extn")
    + receiver_report(2, [block(11)])
    + sdes((1, [(1, b"cname"), (6, "tool ä".encode())]), (2, []))
    + packet(204, struct.pack(">I4s", 1, b"name") + b"data", 3)
    + packet(205, struct.pack(">II", 1, 9) + b"nack", 1)
    + xr(voip(), struct.pack(">BBHII", 4, 0, 2, 1, 2), struct.pack(">BBHIII", 5, 0, 3, 9, 1, 2), b"\x01\x05\0\1abcd")
    + bye(1, b"why")
)
"""A packet of every kind."""
