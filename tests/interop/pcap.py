"""Write a classic pcap file of plain UDP over Ethernet."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from pathlib import Path

from .hep import Envelope

_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
_ETHERTYPES = {4: b"\x08\x00", 6: b"\x86\xdd"}


def write(path: Path, messages: Iterable[tuple[Envelope, bytes]]) -> None:
    """Write every message as one datagram between the addresses of its envelope."""
    with path.open("wb") as file:
        file.write(_HEADER)
        for envelope, payload in messages:
            frame = _frame(envelope, payload)
            seconds, micros = divmod(envelope.ts_us or 0, 1_000_000)
            file.write(struct.pack("<IIII", seconds, micros, len(frame), len(frame)) + frame)


def _frame(envelope: Envelope, payload: bytes) -> bytes:
    source, destination = (ipaddress.ip_address(ip) for ip in (envelope.source_ip, envelope.destination_ip))
    udp = struct.pack("!HHHH", envelope.source_port, envelope.destination_port, 8 + len(payload), 0) + payload
    # Zero says "no checksum" in IPv4 only; tshark does not look into IPv6 datagrams that say so.
    pseudo = source.packed + destination.packed + struct.pack("!IHBB", len(udp), 0, 0, 17)
    udp = udp[:6] + _checksum(pseudo + udp) + udp[8:]
    if source.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    else:
        head = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64)
    return b"\2\0\0\0\0\1\2\0\0\0\0\2" + _ETHERTYPES[source.version] + head + source.packed + destination.packed + udp


def _checksum(data: bytes) -> bytes:
    """Return the internet checksum (RFC 1071) of *data*, with all ones for zero as UDP wants it."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", (total ^ 0xFFFF) or 0xFFFF)
