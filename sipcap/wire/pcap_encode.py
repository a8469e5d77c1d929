"""Capture files: pcap (one link type) and pcapng (one interface for each).

Source: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from typing import Final

from sipcap.wire.hep_encode import EncodeError

_SNAPLEN: Final = 262_144
_MAX_SECONDS: Final = 0xFFFF_FFFF


def pcap_header(link: int) -> bytes:
    """What a pcap file with microseconds begins with."""
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAPLEN, link)


def pcap_record(ts_us: int, data: bytes) -> bytes:
    """One packet of a pcap file.

    Raises:
        EncodeError: ``time``: before 1970 or after 2106.
    """
    seconds, microseconds = divmod(ts_us, 1_000_000)
    if not 0 <= seconds <= _MAX_SECONDS:
        raise EncodeError("time")
    return struct.pack("<IIII", seconds, microseconds, len(data), len(data)) + data


def pcapng_header() -> bytes:
    """The section header that a pcapng file begins with."""
    return _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))


def pcapng_interface(link: int) -> bytes:
    """The description of an interface; the first of a section is number 0. Its times are microseconds."""
    return _block(1, struct.pack("<HxxI", link, _SNAPLEN))


def pcapng_packet(interface: int, ts_us: int, data: bytes) -> bytes:
    """One packet of a pcapng file.

    Raises:
        EncodeError: ``time``: before 1970.
    """
    if not 0 <= ts_us < 1 << 63:
        raise EncodeError("time")
    head = struct.pack("<IIIII", interface, ts_us >> 32, ts_us & 0xFFFF_FFFF, len(data), len(data))
    return _block(6, head + data + bytes(-len(data) % 4))


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", 12 + len(body))
    return b"".join((struct.pack("<I", kind), size, body, size))
