"""TCP headers to segments.

Source: RFC 9293 section 3.1. Checksums are not checked (offload), options are stepped over.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.wire.ip import TCP
from sipcap.wire.link import LinkType, link_fields
from sipcap.wire.packet import Carried
from sipcap.wire.unwrap import base_scope

FIN: Final = 0x01
SYN: Final = 0x02
RST: Final = 0x04
ACK: Final = 0x10

# Nearly all segments come in whole IPv4 packets without options and outside tunnels, as datagrams do: version, TOS,
# total length, fragment field, protocol, addresses; ports, numbers, header length, flags.
_USUAL = struct.Struct(">BBH2xHxB2x4s4sHHIIBB")
_unpack_usual = _USUAL.unpack_from
_USUAL_BYTES: Final = _USUAL.size
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


def decode_usual_segment(data: bytes, offset: int, link: LinkType, ts_us: int) -> Segment | None:
    """Decode a whole TCP segment in an IPv4 packet without options.

    Args:
        data: the bytes of a frame that were captured.
        offset: where its IP packet begins.
        link: the frame's link type.
        ts_us: for the segment.

    Returns:
        The segment, or None for all other packets.
    """
    if len(data) - offset < _USUAL_BYTES:
        return None
    (first, tos, total, fragment, protocol, source, destination, source_port, destination_port, sequence,
     acknowledgement, words, flags) = _unpack_usual(data, offset)  # fmt: skip
    begin = offset + 20 + (words >> 4) * 4
    end = offset + total
    if first != 0x45 or protocol != TCP or fragment & 0x3FFF or words < 0x50 or not begin <= end <= len(data):
        return None
    scope, fields = _frame(link, data[:offset], tos)
    return Segment(
        ts_us, source, source_port, destination, destination_port, scope, sequence, flags, data[begin:end], 0, fields,
        acknowledgement,
    )  # fmt: skip


@lru_cache(maxsize=8_192)
def _frame(link: LinkType, header: bytes, tos: int) -> tuple[bytes, dict[str, Any]]:
    """What a frame says of its way; a capture node sees few different headers."""
    return base_scope(header, link), link_fields(link, header, tos)


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
