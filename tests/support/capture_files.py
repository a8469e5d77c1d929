"""Capture files of every form, built record by record and block by block; nothing in here uses sipcap."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_FORMS = {"micro": (0xA1B2C3D4, 1), "nano": (0xA1B23C4D, 1_000), "kuznetzov": (0xA1B2CD34, 1)}


def pcap_file(
    records: Iterable[tuple[int, bytes, int]], link: int = 1, *, order: str = "<", form: str = "micro"
) -> bytes:
    """A pcap file of (microseconds, bytes, length on the wire)."""
    magic, scale = _FORMS[form]
    parts = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 262_144, link)]
    for ts_us, frame, length in records:
        seconds, micros = divmod(ts_us, 1_000_000)
        fraction = micros * scale + (scale - 1)
        parts.append(struct.pack(f"{order}IIII", seconds, fraction, len(frame), length))
        if form == "kuznetzov":
            parts.append(struct.pack(f"{order}iHBx", 3, 0x0800, 4))
        parts.append(frame)
    return b"".join(parts)


class Section:
    """Makes the blocks of one pcapng section, in one byte order."""

    def __init__(self, order: str) -> None:
        self._order = order

    def _block(self, kind: int, body: bytes) -> bytes:
        size = struct.pack(f"{self._order}I", len(body) + 12)
        return struct.pack(f"{self._order}I", kind) + size + body + size

    def header(self, *, major: int = 1) -> bytes:
        """A section header."""
        return self._block(0x0A0D0D0A, struct.pack(f"{self._order}IHHq", 0x1A2B3C4D, major, 0, -1))

    def interface(
        self, link: int, *, snaplen: int = 262_144, resolution: int | None = None, offset_s: int | None = None
    ) -> bytes:
        """A description of an interface, with a name and what else is asked for."""
        options = struct.pack(f"{self._order}HH4s", 2, 3, b"eth\0")
        if resolution is not None:
            options += struct.pack(f"{self._order}HHBxxx", 9, 1, resolution)
        if offset_s is not None:
            options += struct.pack(f"{self._order}HHq", 14, 8, offset_s)
        options += struct.pack(f"{self._order}HH", 0, 0)
        return self._block(1, struct.pack(f"{self._order}HHI", link, 0, snaplen) + options)

    def packet(
        self,
        number: int,
        units: int,
        frame: bytes,
        *,
        length: int | None = None,
        captured: int | None = None,
        options: bytes = b"",
    ) -> bytes:
        """An enhanced packet."""
        head = struct.pack(
            f"{self._order}IIIII", number, units >> 32, units & 0xFFFF_FFFF,
            len(frame) if captured is None else captured, len(frame) if length is None else length,
        )  # fmt: skip
        return self._block(6, head + frame + bytes(-len(frame) % 4) + options)

    def old_packet(self, number: int, units: int, frame: bytes) -> bytes:
        """A packet block as it was before the enhanced one."""
        head = struct.pack(f"{self._order}HHIIII", number, 0, units >> 32, units & 0xFFFF_FFFF, len(frame), len(frame))
        return self._block(2, head + frame + bytes(-len(frame) % 4))

    def simple_packet(self, frame: bytes) -> bytes:
        """A packet without time and interface."""
        return self._block(3, struct.pack(f"{self._order}I", len(frame)) + frame + bytes(-len(frame) % 4))

    def names(self) -> bytes:
        """A block of resolved names, as Wireshark writes it."""
        return self._block(4, struct.pack(f"{self._order}HH4s4sHH", 1, 8, b"\x7f\0\0\1", b"lo\0\0", 0, 0))

    def unknown(self, kind: int, body: bytes) -> bytes:
        """A block of any type."""
        return self._block(kind, body + bytes(-len(body) % 4))
