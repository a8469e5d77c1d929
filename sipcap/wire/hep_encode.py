"""A message to one HEP datagram, version 1, 2 or 3: the way back of ``decode_datagram``.

Source: HEP3 specification revision 37; spec/sipcapture.md 2.2 to 2.5, and 2.9 for what siptrace sends.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import Any, Final

from sipcap.limits import MAX_DATAGRAM_BYTES
from sipcap.wire import hep_chunks as c
from sipcap.wire.address import ip_packed, mac_packed
from sipcap.wire.hep3 import AF_INET, AF_INET6, HEADER_BYTES
from sipcap.wire.message import SIP_PAYLOAD, Message

_CHUNK: Final = struct.Struct(">HHH")
_MAX_UINT32: Final = 0xFFFF_FFFF
_MAC_PADDING: Final = b"\0\0"  # HEP's MAC is a 64-bit number (spec 2.5, chunks 0x14 and 0x15)
_FIXED_PART: Final = {AF_INET: 16, AF_INET6: 40}
_EXTRA_CHUNKS: Final = {field.name: (number, field) for number, field in c.EXTRA_FIELDS.items()}


class EncodeError(ValueError):
    """A message that this HEP version cannot carry.

    Args:
        reason: one fixed lower-case token, fit for a counter's label.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode_hep(message: Message, version: int = 3, *, auth_key: bytes | None = None, compress: bool = False) -> bytes:
    """Encode one message as one datagram.

    ``decode_datagram`` makes the same message of a version 3 datagram; a payload that came compressed goes out
    plain, unless it is asked for otherwise. Versions 1 and 2 have no room for correlation id, key and ``extra``,
    version 1 for neither time nor capture id, and version 2 keeps the lower 16 bits of the capture id, as siptrace
    does.

    Args:
        message: what a source yielded; an address that is "" is left out (version 3 only).
        version: 1, 2 or 3.
        auth_key: for chunk 0x000e, in place of the message's own (version 3 only).
        compress: put the payload into chunk 0x0010, as zlib (version 3 only).

    Returns:
        At most 65,535 bytes; UDP over IPv4 carries 65,507 of them.

    Raises:
        EncodeError: ``too_big``, ``address`` (no IP address, or a mixed pair in versions 1 and 2),
            ``time`` (before 1970 or after 2106), ``field`` (a value that does not fit its chunk),
            ``not_sip`` (versions 1 and 2 carry SIP only).
    """
    if version == 3:
        return _encode_hep3(message, message.auth_key if auth_key is None else auth_key, compress=compress)
    if version in (1, 2):
        return _encode_hep12(message, version)
    raise ValueError(f"there is no HEP version {version}")


@lru_cache(maxsize=65_536)
def _packed(text: str) -> bytes:
    if not text:
        return b""
    try:
        return ip_packed(text)
    except ValueError:
        raise EncodeError("address") from None


def _time(ts_us: int) -> tuple[int, int]:
    """Seconds and microseconds as two 32-bit numbers; the latter may exceed a million (spec 2.5)."""
    seconds = min(ts_us // 1_000_000, _MAX_UINT32)
    microseconds = ts_us - seconds * 1_000_000
    if seconds < 0 or microseconds > _MAX_UINT32:
        raise EncodeError("time")
    return seconds, microseconds


def _header(chunk_type: int, size: int) -> bytes:
    return _CHUNK.pack(0, chunk_type, size + 6)


# The chunks that every message has, in siptrace's order (spec 2.9). The chunk headers are constants.
_FIRST: Final = struct.Struct(">6sB 6sB")
_SECOND: Final = struct.Struct(">6sH 6sH 6sI 6sI 6sB 6sI")
_H1, _H2 = _header(c.FAMILY, 1), _header(c.IP_PROTOCOL, 1)
_H7, _H8 = _header(c.SOURCE_PORT, 2), _header(c.DESTINATION_PORT, 2)
_H9, _H10 = _header(c.SECONDS, 4), _header(c.MICROSECONDS, 4)
_H11, _H12 = _header(c.PAYLOAD_TYPE, 1), _header(c.CAPTURE_ID, 4)
_SOURCE: Final = {0: b"", 4: _header(c.SOURCE_IP4, 4), 16: _header(c.SOURCE_IP6, 16)}
_DESTINATION: Final = {0: b"", 4: _header(c.DESTINATION_IP4, 4), 16: _header(c.DESTINATION_IP6, 16)}
_FAMILY: Final = {4: AF_INET, 16: AF_INET6}


def _encode_hep3(message: Message, auth_key: bytes | None, *, compress: bool) -> bytes:
    source, destination = _packed(message.source_ip), _packed(message.destination_ip)
    seconds, microseconds = _time(message.ts_us)
    try:
        parts = [
            _FIRST.pack(_H1, _FAMILY.get(len(source), message.family), _H2, message.ip_protocol),
            _SOURCE[len(source)], source, _DESTINATION[len(destination)], destination,
            _SECOND.pack(
                _H7, message.source_port, _H8, message.destination_port, _H9, seconds, _H10, microseconds,
                _H11, message.payload_type, _H12, message.capture_id,
            ),
        ]  # fmt: skip
        if message.correlation_id is not None:
            parts.append(_chunk(c.CORRELATION_ID, message.correlation_id.encode("utf-8", "replace")))
        if auth_key is not None:
            parts.append(_chunk(c.AUTH_KEY, auth_key))
        if message.extra:
            _add_extra(parts, message.extra)
        if compress:
            parts.append(_chunk(c.COMPRESSED_PAYLOAD, zlib.compress(message.payload)))
        else:
            parts.append(_chunk(c.PAYLOAD, message.payload))
    except struct.error:
        raise EncodeError("field") from None
    body = b"".join(parts)
    total = HEADER_BYTES + len(body)
    if total > MAX_DATAGRAM_BYTES:
        raise EncodeError("too_big")
    return b"HEP3" + total.to_bytes(2, "big") + body


def _chunk(chunk_type: int, data: bytes, vendor: int = 0) -> bytes:
    if len(data) > MAX_DATAGRAM_BYTES - 6:
        raise EncodeError("too_big")
    return _CHUNK.pack(vendor, chunk_type, len(data) + 6) + data


def _add_extra(parts: list[bytes], extra: dict[str, Any]) -> None:
    """Add the rarer fields; names that are no chunk of HEP (``clock_skew_us``) are left out."""
    try:
        for name, value in extra.items():
            if name in _EXTRA_CHUNKS:
                parts.append(_extra_chunk(name, value))
        parts.extend(_chunk(each["type"], each["data"], each["vendor"]) for each in extra.get("vendor_chunks", ()))
    except EncodeError:
        raise
    except (OverflowError, ValueError, TypeError, AttributeError, KeyError):
        raise EncodeError("field") from None


@lru_cache(maxsize=8_192)
def _extra_chunk(name: str, value: int | str) -> bytes:
    """One of the rarer fields as a chunk; a capture repeats few of them, so that most look-ups hit."""
    number, field = _EXTRA_CHUNKS[name]
    if isinstance(value, str) == (field.form == "uint"):
        raise EncodeError("field")
    if isinstance(value, int):
        data = value.to_bytes(field.size, "big")
    else:
        data = _MAC_PADDING + mac_packed(value) if field.form == "mac" else value.encode("utf-8", "replace")
    return _chunk(number, data)


def _encode_hep12(message: Message, version: int) -> bytes:
    if message.payload_type != SIP_PAYLOAD:
        raise EncodeError("not_sip")
    source, destination = _packed(message.source_ip), _packed(message.destination_ip)
    if not source or len(source) != len(destination):
        raise EncodeError("address")
    family = _FAMILY[len(source)]
    try:
        head = struct.pack(
            ">BBBBHH",
            version, _FIXED_PART[family], family, message.ip_protocol, message.source_port, message.destination_port,
        )  # fmt: skip
    except struct.error:
        raise EncodeError("field") from None
    block = b""
    if version == 2:
        # Little endian, 12 bytes: siptrace's struct as x86 lays it out, which all receivers know (spec 2.3).
        block = struct.pack("<IIHxx", *_time(message.ts_us), message.capture_id & 0xFFFF)
    data = b"".join((head, source, destination, block, message.payload))
    if len(data) > MAX_DATAGRAM_BYTES:
        raise EncodeError("too_big")
    return data
