"""HEPv1 and HEPv2: a fixed head, then the SIP message to the end of the datagram.

Source: spec/sipcapture.md 2.2 and 2.3. Both versions carry SIP only and cannot be framed on a stream.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from sipcap.errors import DecodeError
from sipcap.wire.address import ip_text
from sipcap.wire.hep3 import AF_INET, AF_INET6
from sipcap.wire.message import Message

_ADDRESS_BYTES: Final = {AF_INET: 4, AF_INET6: 16}
_LONG_BLOCK: Final = 12  # seconds, microseconds, capture id, 2 bytes of compiler padding
_SHORT_BLOCK: Final = 10  # heplify-server's reading of the same block, without padding
_METHODS: Final = (
    b"SIP/2.0 ", b"INVITE ", b"ACK ", b"BYE ", b"CANCEL ", b"OPTIONS ", b"REGISTER ", b"PRACK ", b"UPDATE ",
    b"INFO ", b"SUBSCRIBE ", b"NOTIFY ", b"REFER ", b"MESSAGE ", b"PUBLISH ",
)  # fmt: skip
_REQUEST_LINE = re.compile(rb"[A-Z]{3,} [A-Za-z]+:")


def decode_hep12(data: bytes, received_us: int = 0) -> Message:
    """Decode one HEPv1 or HEPv2 datagram.

    The byte called "length" is not compared with anything: senders fill it differently (spec 2.2).

    Args:
        data: one whole datagram.
        received_us: when it came, microseconds since 1970; decides the byte order of a v2 time
            that is plausible both ways. 0 = unknown, then little endian wins.

    Raises:
        DecodeError: ``short`` (addresses or time block are cut), ``version`` (neither 1 nor 2),
            ``family`` (neither 2 nor 10).
    """
    if len(data) < 8:
        raise DecodeError("short")
    version, _, family, protocol, source_port, destination_port = struct.unpack_from(">BBBBHH", data)
    if version not in (1, 2):
        raise DecodeError("version")
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        raise DecodeError("family")
    offset = 8 + 2 * size
    if len(data) < offset:
        raise DecodeError("short")
    message = Message(
        b"",
        source_ip=ip_text(data[8 : 8 + size]),
        source_port=source_port,
        destination_ip=ip_text(data[8 + size : offset]),
        destination_port=destination_port,
        ip_protocol=protocol,
        family=family,
        hep_version=version,
    )
    if version == 2:
        offset = _decode_time_block(data, offset, message, received_us)
    message.payload = data[offset:]
    return message


def _decode_time_block(data: bytes, offset: int, message: Message, received_us: int) -> int:
    """Read the time and capture id at ``offset``; returns where the payload begins."""
    size = _block_bytes(data, offset)
    if len(data) < offset + size:
        raise DecodeError("short")
    order = _byte_order(data, offset, received_us)
    seconds, microseconds, message.capture_id = struct.unpack_from(f"{order}IIH", data, offset)
    message.ts_us = seconds * 1_000_000 + microseconds if seconds else 0
    return offset + size


def _block_bytes(data: bytes, offset: int) -> int:
    """Tell the 10-byte block from the 12-byte one by where a SIP start line begins (spec 2.3)."""
    if data.startswith(_METHODS, offset + _LONG_BLOCK):
        return _LONG_BLOCK
    if data.startswith(_METHODS, offset + _SHORT_BLOCK):
        return _SHORT_BLOCK
    # An unknown method reads as one at both places; then the two bytes between are letters of it.
    return _SHORT_BLOCK if _REQUEST_LINE.match(data, offset + _SHORT_BLOCK) else _LONG_BLOCK


def _byte_order(data: bytes, offset: int, received_us: int) -> str:
    """Kamailio, captagent and sngrep write little endian, heplify's readers expect big endian."""
    little, big = (struct.unpack_from(f"{order}II", data, offset) for order in "<>")
    if (little[1] < 1_000_000) != (big[1] < 1_000_000):
        return "<" if little[1] < 1_000_000 else ">"
    if not received_us:
        return "<"
    now_s = received_us // 1_000_000
    return "<" if abs(little[0] - now_s) <= abs(big[0] - now_s) else ">"
