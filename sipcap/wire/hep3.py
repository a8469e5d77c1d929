"""HEPv3: one frame to a Message.

Source: HEP3 specification revision 37; spec/sipcapture.md 2.4 and 2.5 for what senders really do.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

from sipcap.compiled import twins
from sipcap.errors import DecodeError
from sipcap.limits import MAX_INFLATED_BYTES, MAX_VENDOR_CHUNKS
from sipcap.wire import hep_chunks as c
from sipcap.wire.address import ip_text, mac_text
from sipcap.wire.message import Message

if TYPE_CHECKING:
    from sipcap.compiled.native import UsualFrames

HEADER_BYTES: Final = 6
_CHUNK = struct.Struct(">IH")  # vendor and type in one number, length
_CHUNK_HEADER = _CHUNK.unpack_from
_TOTAL = struct.Struct(">H").unpack_from
AF_INET: Final = 2
AF_INET6: Final = 10


def decode_hep3(data: bytes, offset: int = 0) -> tuple[Message, int]:
    """Decode the HEPv3 frame that begins at ``offset``.

    Args:
        data: a datagram; bytes behind the frame are not looked at.
        offset: where the frame's magic stands; the caller has looked at it.

    Returns:
        The message and the offset behind its frame.

    Raises:
        DecodeError: ``short`` (no whole header), ``length`` (total length beyond the data or
            below 6), ``chunk_length`` (below 6 or beyond the frame), ``chunk_type`` (generic
            type 0), ``chunk_size`` (a number or address with too few bytes), ``inflate``.
    """
    available = len(data) - offset
    if available < HEADER_BYTES:
        raise DecodeError("short")
    total = _TOTAL(data, offset + 4)[0]
    if not HEADER_BYTES <= total <= available:
        raise DecodeError("length")
    end = offset + total
    message = None if USUAL is None else USUAL.head(data, offset, end)
    if message is None:
        message = _decode_usual_head(data, offset, end)
    if message is None:
        message = Message(b"", hep_version=3)
        _decode_chunks(data, offset + HEADER_BYTES, end, message)
    return message, end


def _usual_frames() -> UsualFrames | None:
    """The compiled twin of ``_decode_usual_head``, if there is one."""
    module = twins()
    if module is None:
        return None
    found: UsualFrames = module.UsualFrames(Message, ip_text, c.MAGICS, c.EXTRA_FIELDS, c.MIN_SIZES)
    return found


USUAL: Final = _usual_frames()


# Every agent seen (siptrace, heplify, sngrep, captagent, FreeSWITCH) begins with the same chunks 1 to 12.
# Comparing all their headers at once and reading their data with one unpack, instead of a loop, doubles the
# decoder's speed; whatever looks different goes through the loop, which is the reference (a test holds both equal).
class _Layout:
    """Where the data of chunks 1 to 12 stands if they come first and in order.

    Args:
        family: of both addresses.
        sizes: data bytes by chunk type, in order.
        data: struct of the frame's header and these chunks that skips all headers and chunk 1.
    """

    def __init__(self, family: int, sizes: dict[int, int], data: struct.Struct) -> None:
        headers = b"".join(_CHUNK.pack(number, size + 6) + bytes(size) for number, size in sizes.items())
        mask = b"".join(b"\xff" * 6 + bytes(size) for size in sizes.values())
        self.family = family
        self.bytes = data.size
        self.headers = int.from_bytes(headers, "big")
        self.mask = int.from_bytes(mask, "big")
        self.unpack = data.unpack_from


_BEFORE: Final = {c.FAMILY: 1, c.IP_PROTOCOL: 1}
_BEHIND: Final = {
    c.SOURCE_PORT: 2, c.DESTINATION_PORT: 2, c.SECONDS: 4, c.MICROSECONDS: 4, c.PAYLOAD_TYPE: 1, c.CAPTURE_ID: 4,
}  # fmt: skip
_IP4_LAYOUT: Final = _Layout(
    AF_INET,
    {**_BEFORE, c.SOURCE_IP4: 4, c.DESTINATION_IP4: 4, **_BEHIND},
    struct.Struct(">6x 7x 6xB 6x4s 6x4s 6xH 6xH 6xI 6xI 6xB 6xI"),
)
_IP6_LAYOUT: Final = _Layout(
    AF_INET6,
    {**_BEFORE, c.SOURCE_IP6: 16, c.DESTINATION_IP6: 16, **_BEHIND},
    struct.Struct(">6x 7x 6xB 6x16s 6x16s 6xH 6xH 6xI 6xI 6xB 6xI"),
)
_SOURCE_TYPE_AT: Final = 6 + 7 + 7 + 3  # the low byte of the third chunk's type


def _decode_usual_head(data: bytes, offset: int, end: int) -> Message | None:
    """Decode a frame whose chunks 1 to 12 stand first and in order; None if they do not."""
    if end - offset < _IP4_LAYOUT.bytes:
        return None
    layout = _IP4_LAYOUT if data[offset + _SOURCE_TYPE_AT] == c.SOURCE_IP4 else _IP6_LAYOUT
    begin, offset = offset, offset + layout.bytes
    if end < offset or int.from_bytes(data[begin + HEADER_BYTES : offset], "big") & layout.mask != layout.headers:
        return None
    (protocol, source, destination, source_port, destination_port, seconds, microseconds, payload_type,
     capture_id) = layout.unpack(data, begin)  # fmt: skip
    message = Message(
        b"",
        seconds * 1_000_000 + microseconds if seconds else 0,
        ip_text(source),
        source_port,
        ip_text(destination),
        destination_port,
        protocol,
        layout.family,
        payload_type,
        3,
        capture_id,
    )
    if end - offset > 6 and _CHUNK_HEADER(data, offset) == (c.PAYLOAD, end - offset):
        message.payload = data[offset + 6 : end]  # nothing but the payload follows: done
    else:
        _decode_chunks(data, offset, end, message, seconds=seconds, microseconds=microseconds)
    return message


def _decode_chunks(
    data: bytes, offset: int, end: int, message: Message, *, seconds: int = 0, microseconds: int = 0
) -> None:
    """Read the chunks of ``data[offset:end]`` into ``message``; a later chunk wins over an earlier one."""
    compressed: bytes | None = None
    while offset < end:
        if end - offset < 6:
            raise DecodeError("chunk_length")
        number, length = _CHUNK_HEADER(data, offset)
        if length < 6 or offset + length > end:
            raise DecodeError("chunk_length")
        begin = offset + 6
        offset += length
        if number == c.PAYLOAD:
            message.payload = data[begin:offset]
            continue
        value = data[begin:offset]
        if number == c.CAPTURE_ID and length >= 10:
            message.capture_id = int.from_bytes(value[:4], "big")
        elif number == c.CORRELATION_ID:
            message.correlation_id = value.partition(b"\0")[0].decode("utf-8", "replace")
        elif len(value) < c.MIN_SIZES.get(number, 0):
            raise DecodeError("chunk_size")
        elif number == c.COMPRESSED_PAYLOAD:
            compressed = value
        elif number == c.SECONDS:
            seconds = int.from_bytes(value[:4], "big")
        elif number == c.MICROSECONDS:
            microseconds = int.from_bytes(value[:4], "big")
        else:
            _set_field(message, number, value)
    # Only whole seconds tell that a time was sent (spec 2.8); a microsecond chunk alone does not.
    message.ts_us = seconds * 1_000_000 + microseconds if seconds else 0
    if compressed is not None and not message.payload:
        message.payload = inflate(compressed)


def _set_field(message: Message, number: int, value: bytes) -> None:
    if number in (c.SOURCE_IP4, c.SOURCE_IP6):
        message.source_ip = ip_text(value[:4] if number == c.SOURCE_IP4 else value[:16])
        # The addresses tell the family, not chunk 1 (spec 2.5); of a mixed pair, the source does (2.7).
        message.family = AF_INET if number == c.SOURCE_IP4 else AF_INET6
    elif number in (c.DESTINATION_IP4, c.DESTINATION_IP6):
        message.destination_ip = ip_text(value[:4] if number == c.DESTINATION_IP4 else value[:16])
    elif number == c.FAMILY:
        message.family = message.family or value[0]
    elif number == c.IP_PROTOCOL:
        message.ip_protocol = value[0]
    elif number == c.SOURCE_PORT:
        message.source_port = int.from_bytes(value[:2], "big")
    elif number == c.DESTINATION_PORT:
        message.destination_port = int.from_bytes(value[:2], "big")
    elif number == c.PAYLOAD_TYPE:
        message.payload_type = value[0]
    elif number == c.AUTH_KEY:
        message.auth_key = value
    elif number == 0:
        raise DecodeError("chunk_type")  # generic type 0 is no chunk at all (spec 2.4)
    else:
        _set_extra(message, number, value)


def _set_extra(message: Message, number: int, value: bytes) -> None:
    extra = message.extra
    if extra is None:
        extra = message.extra = {}
    field = c.EXTRA_FIELDS.get(number)
    if field is None:
        kept: list[dict[str, int | bytes]] = extra.setdefault("vendor_chunks", [])
        if len(kept) < MAX_VENDOR_CHUNKS:
            kept.append({"vendor": number >> 16, "type": number & 0xFFFF, "data": value})
    elif field.form == "uint":
        extra[field.name] = int.from_bytes(value[: field.size], "big")
    elif field.form == "mac":
        extra[field.name] = mac_text(value[: field.size])
    else:
        extra[field.name] = value.partition(b"\0")[0].decode("utf-8", "replace")


def inflate(data: bytes) -> bytes:
    """Inflate a compressed payload: zlib, gzip or raw deflate, told apart by what works.

    The specification says "gzip/inflate", captagent sends zlib (spec 2.5).

    Raises:
        DecodeError: ``inflate`` if it is none of the three, cut short, or inflates beyond
            ``MAX_INFLATED_BYTES``.
    """
    for window_bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):
        decompressor = zlib.decompressobj(window_bits)
        try:
            payload = decompressor.decompress(data, MAX_INFLATED_BYTES + 1)
        except zlib.error:
            continue
        if decompressor.eof and len(payload) <= MAX_INFLATED_BYTES:
            return payload
    raise DecodeError("inflate")
