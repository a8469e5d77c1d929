"""A HEP codec of the tests' own, written from the byte tables of the specification (section 2).

The product's codec is under test, so what the peers get and what they sent is never put through it.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from dataclasses import dataclass

UDP = 17
TCP = 6
TLS = 22


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a HEP packet says about its payload; ``ts_us`` None means that the packet carries no time."""

    source_ip: str = "192.0.2.10"
    source_port: int = 5060
    destination_ip: str = "192.0.2.20"
    destination_port: int = 5060
    protocol: int = UDP
    ts_us: int | None = 1_700_000_000_000_000
    capture_id: int = 2001
    correlation_id: bytes | None = None
    payload_type: int = 1
    version: int = 3

    @property
    def family(self) -> int:
        """Address family number as Linux, and HEP with it, counts it."""
        return 2 if ipaddress.ip_address(self.source_ip).version == 4 else 10


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a version 3 packet."""

    kind: int
    data: bytes
    vendor: int = 0

    def encode(self) -> bytes:
        """Return the chunk with its header, whose length includes itself."""
        return struct.pack("!HHH", self.vendor, self.kind, len(self.data) + 6) + self.data


def encode(envelope: Envelope, payload: bytes) -> bytes:
    """Encode one datagram in the envelope's HEP version."""
    return pack(chunks(envelope, payload)) if envelope.version == 3 else _encode_v1_v2(envelope, payload)


def pack(parts: Iterable[Chunk], identifier: bytes = b"HEP3") -> bytes:
    """Put the header of version 3 before *parts*."""
    body = b"".join(part.encode() for part in parts)
    return identifier + struct.pack("!H", len(body) + 6) + body


def chunks(envelope: Envelope, payload: bytes) -> list[Chunk]:
    """Return the chunks of a usual version 3 packet, the payload last."""
    addresses = (3, 4) if envelope.family == 2 else (5, 6)
    parts = [
        Chunk(1, bytes([envelope.family])),
        Chunk(2, bytes([envelope.protocol])),
        Chunk(addresses[0], ipaddress.ip_address(envelope.source_ip).packed),
        Chunk(addresses[1], ipaddress.ip_address(envelope.destination_ip).packed),
        Chunk(7, struct.pack("!H", envelope.source_port)),
        Chunk(8, struct.pack("!H", envelope.destination_port)),
    ]
    if envelope.ts_us is not None:
        seconds, micros = divmod(envelope.ts_us, 1_000_000)
        parts += [Chunk(9, struct.pack("!I", seconds)), Chunk(10, struct.pack("!I", micros))]
    parts += [Chunk(11, bytes([envelope.payload_type])), Chunk(12, struct.pack("!I", envelope.capture_id))]
    if envelope.correlation_id is not None:
        parts.append(Chunk(17, envelope.correlation_id))
    return [*parts, Chunk(15, payload)]


def _encode_v1_v2(envelope: Envelope, payload: bytes) -> bytes:
    source, destination = (ipaddress.ip_address(ip).packed for ip in (envelope.source_ip, envelope.destination_ip))
    # The length byte leaves the time block of version 2 out (section 2.3).
    length = 8 + len(source) + len(destination)
    head = struct.pack(
        "!BBBBHH",
        envelope.version,
        length,
        envelope.family,
        envelope.protocol,
        envelope.source_port,
        envelope.destination_port,
    )
    time_block = b""
    if envelope.version == 2:
        seconds, micros = divmod(envelope.ts_us or 0, 1_000_000)
        time_block = struct.pack("<IIHH", seconds, micros, envelope.capture_id, 0)
    return head + source + destination + time_block + payload


def decode(datagram: bytes) -> tuple[Envelope, bytes]:
    """Decode what a well-behaved sender sent; raises ValueError for anything else."""
    if datagram[:4] == b"HEP3":
        return _decode_v3(datagram)
    if datagram[:1] in (b"\x01", b"\x02"):
        return _decode_v1_v2(datagram)
    raise ValueError(f"not a HEP packet: {datagram[:4]!r}")


def _decode_v3(datagram: bytes) -> tuple[Envelope, bytes]:
    found: dict[int, bytes] = {}
    offset = 6
    while offset < len(datagram):
        vendor, kind, length = struct.unpack_from("!HHH", datagram, offset)
        if vendor == 0:
            found[kind] = datagram[offset + 6 : offset + length]
        offset += length
    source, destination = (3, 4) if 3 in found else (5, 6)
    seconds = int.from_bytes(found.get(9, b""))
    envelope = Envelope(
        source_ip=str(ipaddress.ip_address(found[source])),
        source_port=int.from_bytes(found[7]),
        destination_ip=str(ipaddress.ip_address(found[destination])),
        destination_port=int.from_bytes(found[8]),
        protocol=found[2][0],
        ts_us=seconds * 1_000_000 + int.from_bytes(found.get(10, b"")) if seconds else None,
        capture_id=int.from_bytes(found.get(12, b"")),
        correlation_id=found.get(17),
        payload_type=found[11][0],
    )
    return envelope, found[15]


def _decode_v1_v2(datagram: bytes) -> tuple[Envelope, bytes]:
    version, _, family, protocol, source_port, destination_port = struct.unpack_from("!BBBBHH", datagram)
    size = 4 if family == 2 else 16
    payload_at = 8 + 2 * size
    ts_us, capture_id = None, 0
    if version == 2:
        seconds, micros, capture_id = struct.unpack_from("<IIH", datagram, payload_at)
        ts_us = seconds * 1_000_000 + micros
        payload_at += 12
    envelope = Envelope(
        source_ip=str(ipaddress.ip_address(datagram[8 : 8 + size])),
        source_port=source_port,
        destination_ip=str(ipaddress.ip_address(datagram[8 + size : 8 + 2 * size])),
        destination_port=destination_port,
        protocol=protocol,
        ts_us=ts_us,
        capture_id=capture_id,
        version=version,
    )
    return envelope, datagram[payload_at:]
