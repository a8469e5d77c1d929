"""Single frames of WebSocket, and the handshake before them.

Source: RFC 6455 sections 4 and 5.
"""

from __future__ import annotations

import re
import zlib
from typing import Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.limits import MAX_SIP_MESSAGE_BYTES
from sipcap.wire.detect import looks_like_sip

DATA: Final = (1, 2)  # text, binary
CONTROL: Final = (8, 9, 10)  # close, ping, pong
_MAX_CONTROL_BYTES: Final = 125
_UPGRADE = re.compile(rb"\nupgrade:[ \t]*websocket", re.IGNORECASE).search
_SAMPLE_BYTES: Final = 128


class Header(NamedTuple):
    """How a frame begins; ``size`` is that of the header, ``length`` that of the payload behind it."""

    is_final: bool
    is_deflated: bool
    opcode: int
    mask: bytes
    size: int
    length: int


def is_upgrade(head: bytes) -> bool:
    """Tell whether an HTTP request or response changes to WebSocket (RFC 6455 section 4)."""
    return head.startswith((b"GET ", b"HTTP/1.1 101 ")) and _UPGRADE(head) is not None


def read_header(data: bytes | bytearray, begin: int) -> Header | None:
    """Read a frame's header; None if more data is needed.

    Raises:
        DecodeError: ``websocket``, this is no frame.
    """
    available = len(data) - begin
    if available < 1:
        return None
    first = data[begin]
    opcode = first & 15
    is_control = opcode in CONTROL
    # RSV2 and RSV3 have no use; RSV1 marks the first frame of a deflated message, and no control frame.
    if first & 0x30 or (opcode and opcode not in DATA and not is_control) or (first & 0x40 and opcode not in DATA):
        raise DecodeError("websocket")
    if available < 2:
        return None
    second = data[begin + 1]
    length = second & 127
    if is_control and (length > _MAX_CONTROL_BYTES or not first & 0x80):
        raise DecodeError("websocket")
    more = {126: 2, 127: 8}.get(length, 0)
    size = 2 + more + (4 if second & 128 else 0)
    if available < size:
        return None
    if more:
        length = int.from_bytes(data[begin + 2 : begin + 2 + more], "big")
        if length >> 63 or length < (126 if more == 2 else 65_536):  # the shortest form is a duty
            raise DecodeError("websocket")
    mask = bytes(data[begin + size - 4 : begin + size]) if second & 128 else b""
    return Header(bool(first & 0x80), bool(first & 0x40), opcode, mask, size, length)


def unmask(data: bytes, mask: bytes) -> bytes:
    """The payload as it was before it was masked; with an empty mask, as it is (RFC 6455 section 5.3)."""
    if not mask:
        return data
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def begins_sip_frame(data: bytes) -> bool:
    """Tell whether a frame with a SIP message begins here: how a stream is known that was picked up on its way."""
    try:
        header = read_header(data, 0)
    except DecodeError:
        return False
    if header is None or header.opcode not in DATA or header.length > MAX_SIP_MESSAGE_BYTES:
        return False
    sample = unmask(data[header.size : header.size + min(header.length, _SAMPLE_BYTES)], header.mask)
    if header.is_deflated:
        try:
            sample = zlib.decompressobj(-15).decompress(sample, _SAMPLE_BYTES)
        except zlib.error:
            return False
    # A line that the sample cuts counts if it has a URI; "SIP/2.0 200" is enough of a reply.
    return looks_like_sip(sample)
