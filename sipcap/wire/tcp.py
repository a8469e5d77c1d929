"""TCP headers to segments.

Source: RFC 9293 section 3.1. Checksums are not checked (offload), options are stepped over.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.wire.packet import Carried

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10

_HEADER = struct.Struct(">HHIIBB").unpack_from
_HEADER_BYTES: Final = 20


class Segment(NamedTuple):
    """One TCP segment as it was captured.

    Args:
        ts_us: when, microseconds since 1970 UTC.
        source: packed address.
        source_port: of the sender.
        destination: packed address.
        destination_port: of the receiver.
        scope: tells apart networks that may use the same addresses (see ``Carried``).
        sequence: number of the payload's first byte, or of SYN itself.
        flags: ``FIN``, ``SYN``, ``RST``, ``ACK`` and others.
        payload: what is there of it.
        missing: payload bytes that the capture has cut off.
        fields: of the envelope, by their NDJSON names (VLAN, MACs, TOS). Shared: whoever changes it makes a copy.
        acknowledgement: the next byte that the sender waits for, if ``flags`` has ``ACK``.
    """

    ts_us: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    scope: bytes
    sequence: int
    flags: int
    payload: bytes
    missing: int
    fields: dict[str, Any]
    acknowledgement: int = 0


def decode_tcp(carried: Carried, ts_us: int, fields: dict[str, Any]) -> Segment:
    """Decode the TCP segment that an IP packet carries.

    Args:
        carried: the IP packet's payload, without padding of the frame.
        ts_us: for the segment.
        fields: for the segment.

    Raises:
        DecodeError: ``short`` (the header is cut by the capture), ``tcp_length`` (a header length that
            cannot be).
    """
    data, missing = carried.data, carried.missing
    if len(data) < _HEADER_BYTES:
        raise DecodeError("short" if missing else "tcp_length")
    source_port, destination_port, sequence, acknowledgement, offset, flags = _HEADER(data)
    size = (offset >> 4) * 4
    if size < _HEADER_BYTES or size > len(data) + missing:
        raise DecodeError("tcp_length")
    if size > len(data):
        # The capture ends within the options: nothing of the payload is there.
        missing -= size - len(data)
    return Segment(
        ts_us, carried.source, source_port, carried.destination, destination_port, carried.scope, sequence, flags,
        data[size:], missing, fields, acknowledgement,
    )  # fmt: skip
