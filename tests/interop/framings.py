"""Ways to put the same message into HEP: order, repetition and absence of chunks, and what senders get wrong.

Left out on purpose: packets without protocol id or protocol type end every Kamailio (spec defect 1), and lengths
beyond the datagram make 5.6.3 read what the packet before left in its buffer (spec 2.4).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

from .hep import Chunk, Envelope, chunks, encode, pack

Framing = Callable[[Envelope, bytes], bytes]

VENDOR = 0x0102


def _edited(edit: Callable[[list[Chunk]], list[Chunk]]) -> Framing:
    return lambda envelope, payload: pack(edit(chunks(envelope, payload)))


def _without(*kinds: int) -> Framing:
    return _edited(lambda parts: [part for part in parts if part.kind not in kinds])


def _before_payload(*extra: Chunk) -> Framing:
    return _edited(lambda parts: [*parts[:-1], *extra, parts[-1]])


def _behind(*extra: Chunk) -> Framing:
    return _edited(lambda parts: [*parts, *extra])


def _with(chunk: Chunk) -> Framing:
    """Put *chunk* in the place of the one of its kind."""
    return _edited(lambda parts: [chunk if part.kind == chunk.kind else part for part in parts])


def _padded(kind: int) -> Framing:
    """Give the chunk *kind* three bytes too many."""
    return _edited(
        lambda parts: [replace(part, data=part.data + b"\1\2\3") if part.kind == kind else part for part in parts]
    )


def _compressed(envelope: Envelope, payload: bytes) -> bytes:
    parts = chunks(envelope, payload)
    return pack([*parts[:-1], Chunk(16, zlib.compress(payload))])


def _named(identifier: bytes) -> Framing:
    return lambda envelope, payload: pack(chunks(envelope, payload), identifier)


def _patched(offset: int, value: int) -> Framing:
    """Change one byte of the packet."""

    def framing(envelope: Envelope, payload: bytes) -> bytes:
        datagram = bytearray(encode(envelope, payload))
        datagram[offset] = value
        return bytes(datagram)

    return framing


def _short_time_block(envelope: Envelope, payload: bytes) -> bytes:
    """Leave out the padding of the version 2 time block, as some senders do (spec 2.3)."""
    datagram = encode(envelope, payload)
    end = len(datagram) - len(payload)
    return datagram[: end - 2] + payload


_V2 = Envelope(version=2, capture_id=77)
_V1 = Envelope(version=1, ts_us=None)
_USUAL = Envelope()
_CORRELATED = Envelope(correlation_id=b"corr@host")
_MIXED = Chunk(6, bytes(15) + b"\1")

# Everything that HEP37 defines and neither side stores in a column.
_RARE = tuple(
    Chunk(kind, struct.pack(f"!{size}s", b"\1\2\3\4\5\6\7\10"))
    for kind, size in {0x0D: 2, 0x0E: 6, 0x12: 2, 0x14: 8, 0x15: 8, 0x16: 2, 0x17: 1, 0x18: 1, 0x20: 2, 0x23: 4}.items()
)

FRAMINGS: dict[str, tuple[Envelope, Framing]] = {
    "chunks reversed": (_CORRELATED, _edited(lambda parts: parts[::-1])),
    "payload first": (_CORRELATED, _edited(lambda parts: [parts[-1], *parts[:-1]])),
    "correlation id last": (_USUAL, _behind(Chunk(17, b"corr@host"))),
    "vendor chunk before payload": (_USUAL, _before_payload(Chunk(15, b"not this", VENDOR))),
    "vendor chunk behind payload": (_USUAL, _behind(Chunk(15, b"not this", VENDOR))),
    "vendor chunk of type 0": (_USUAL, _before_payload(Chunk(0, b"x", VENDOR))),
    "vendor chunk behind correlation id": (_CORRELATED, _before_payload(Chunk(1, b"x", VENDOR))),
    "rare chunks": (_USUAL, _before_payload(*_RARE)),
    "unknown chunks": (_USUAL, _before_payload(Chunk(0x1A, b"abc"), Chunk(0x7FFF, b""), Chunk(0x50, b"\0" * 9))),
    "chunk of type 0": (_USUAL, _before_payload(Chunk(0, b"x"))),
    "two payloads": (_USUAL, _edited(lambda parts: [Chunk(15, b"BYE sip:x SIP/2.0\r\n\r\n"), *parts])),
    "two destinations": (_USUAL, _edited(lambda parts: [Chunk(4, b"\1\2\3\4"), *parts])),
    "two families": (_USUAL, _edited(lambda parts: [*parts[:1], _MIXED, *parts[1:3], *parts[4:]])),
    "without family": (_USUAL, _without(1)),
    "without capture id": (_USUAL, _without(12)),
    "without family and capture id": (_USUAL, _without(1, 12)),
    "without seconds": (replace(_USUAL, ts_us=None), _behind(Chunk(10, b"\0\0\0\1"))),
    "without microseconds": (_USUAL, _without(10)),
    "without destination port": (_USUAL, _without(8)),
    "with eight counted chunks": (_USUAL, _without(1, 8, 12)),
    "without addresses": (_USUAL, _without(3, 4)),
    "without payload": (_USUAL, _without(15)),
    "empty payload": (_USUAL, _with(Chunk(15, b""))),
    "microseconds above a second": (_USUAL, _with(Chunk(10, struct.pack("!I", 3_000_001)))),
    "family too long": (_USUAL, _padded(1)),
    "source address too long": (_USUAL, _padded(3)),
    "port too long": (_USUAL, _padded(8)),
    "seconds too long": (_USUAL, _padded(9)),
    "capture id too long": (_USUAL, _padded(12)),
    "capture id too short": (_USUAL, _with(Chunk(12, b"\7\7"))),
    "bytes behind the packet": (_USUAL, lambda envelope, payload: encode(envelope, payload) + b"rest"),
    "payload compressed": (_USUAL, _compressed),
    "identifier EEP1": (_USUAL, _named(b"EEP1")),
    "identifier EEP3": (_USUAL, _named(b"EEP3")),
    "identifier unknown": (_USUAL, _named(b"HEP4")),
    "protocol SCTP": (replace(_USUAL, protocol=132), encode),
    "version 1 other header length": (_V1, _patched(1, 99)),
    "version 1 other family": (_V1, _patched(2, 7)),
    "version 2 other header length": (_V2, _patched(1, 99)),
    "version 2 short time block": (_V2, _short_time_block),
}
