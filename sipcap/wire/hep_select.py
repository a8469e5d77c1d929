"""Single chunks of a HEP packet, as the module's ``$hep(selector)`` names them.

Source: spec/sipcapture.md 7.5. Where the module gives -1 for chunks that it does not know, the value is given here;
where it walks HEPv1 and v2 as if they were v3, what their head says.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from sipcap.wire import hep_chunks as c
from sipcap.wire.address import ip_text, mac_text
from sipcap.wire.message import Message

VERSION: Final = "version"
_SELECTOR = re.compile(r"0[xX]([0-9A-Fa-f]{3})|([0-9]{5})", re.ASCII)
_CHUNK_HEADER = struct.Struct(">HHH").unpack_from
_NUMBERS: Final = frozenset((
    c.FAMILY, c.IP_PROTOCOL, c.SOURCE_PORT, c.DESTINATION_PORT, c.SECONDS, c.MICROSECONDS, c.PAYLOAD_TYPE, c.CAPTURE_ID,
))  # fmt: skip
_ADDRESSES: Final = {c.SOURCE_IP4: 4, c.DESTINATION_IP4: 4, c.SOURCE_IP6: 16, c.DESTINATION_IP6: 16}


def selected_chunk(selector: int | str) -> int:
    """The chunk type that a selector names.

    Args:
        selector: a number; or, as the module has it, exactly five characters: ``0x`` and three hexadecimal digits,
            or five decimal ones.

    Raises:
        ValueError: it is neither, or no type above 0 that 16 bits hold.
    """
    if isinstance(selector, str):
        match = _SELECTOR.fullmatch(selector)
        number = 0 if match is None else int(match[1], 16) if match[1] else int(match[2])
    else:
        number = selector
    if not 0 < number <= 0xFFFF:
        raise ValueError(f"unknown hep name {selector!r}; write version, a number, 0x011 or 00017")
    return number


def hep_version(message: Message) -> int:
    """1, 2 or 3; -1 for what came without HEP."""
    return message.hep_version or -1


def chunk_value(message: Message, number: int, vendor: int = 0) -> int | str | bytes | None:
    """The value of the first chunk of this vendor and type; None if it is not there.

    Numbers and addresses are given as such, text up to its first NUL, anything else as its bytes. What came without
    chunks has those that its head stands for.
    """
    if message.hep_version != 3 or not message.frame:
        return None if vendor else _value_of_head(message, number)
    data = _first_chunk(message.frame, message.frame_at, vendor, number)
    if data is None or vendor:
        return data
    return _value(number, data)


def _first_chunk(frame: bytes, offset: int, vendor: int, number: int) -> bytes | None:
    """Walk a frame that was decoded: all of its lengths are right."""
    end = offset + int.from_bytes(frame[offset + 4 : offset + 6], "big")
    offset += 6
    while end - offset >= 6:
        found_vendor, found_number, length = _CHUNK_HEADER(frame, offset)
        if length < 6 or offset + length > end:
            return None
        if found_number == number and found_vendor == vendor:
            return frame[offset + 6 : offset + length]
        offset += length
    return None


def _value(number: int, data: bytes) -> int | str | bytes:
    if number in _NUMBERS:
        return int.from_bytes(data[: c.MIN_SIZES[number]], "big")
    if number in _ADDRESSES:
        return ip_text(data[: _ADDRESSES[number]])
    field = c.EXTRA_FIELDS.get(number)
    if number == c.CORRELATION_ID or (field is not None and field.form == "text"):
        return data.partition(b"\0")[0].decode("utf-8", "replace")
    if field is None:
        return data
    return mac_text(data[: field.size]) if field.form == "mac" else int.from_bytes(data[: field.size], "big")


def _value_of_head(message: Message, number: int) -> int | str | bytes | None:
    """What the head of HEPv1 or v2, or the capture of a packet, says; a time or id that it has not is None."""
    field = c.EXTRA_FIELDS.get(number)
    if field is not None:
        found: int | str | bytes | None = (message.extra or {}).get(field.name)
        return found
    is_ip6 = message.family == 10
    seconds, microseconds = divmod(message.ts_us, 1_000_000)
    has_id = message.hep_version > 1
    values: dict[int, int | str | bytes | None] = {
        c.FAMILY: message.family,
        c.IP_PROTOCOL: message.ip_protocol,
        c.SOURCE_IP6 if is_ip6 else c.SOURCE_IP4: message.source_ip or None,
        c.DESTINATION_IP6 if is_ip6 else c.DESTINATION_IP4: message.destination_ip or None,
        c.SOURCE_PORT: message.source_port,
        c.DESTINATION_PORT: message.destination_port,
        c.SECONDS: seconds or None,
        c.MICROSECONDS: microseconds if seconds else None,
        c.PAYLOAD_TYPE: message.payload_type,
        c.CAPTURE_ID: message.capture_id if has_id else None,
        c.AUTH_KEY: message.auth_key,
        c.PAYLOAD: message.payload,
        c.CORRELATION_ID: message.correlation_id,
    }
    return values.get(number)
