"""HEP of any version: one datagram to the messages in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sipcap.errors import DecodeError
from sipcap.limits import MAX_HEP_PER_DATAGRAM, MAX_INFLATED_BYTES
from sipcap.wire.hep3 import HEADER_BYTES, decode_hep3
from sipcap.wire.hep12 import decode_hep12
from sipcap.wire.hep_chunks import MAGICS
from sipcap.wire.message import Message

_HEAD_LENGTHS: Final = frozenset(
    (length + block, family) for length, family in ((16, 2), (40, 10)) for block in (0, 10, 12)
)
"""Byte 1 of HEPv1 and v2 with the family: most senders count the addresses, some v2's time block as well."""


def decode_datagram(data: bytes, messages: list[Message], received_us: int = 0) -> None:
    """Decode one datagram and append every HEP message in it to ``messages``.

    Several HEPv3 frames may follow each other (voipmonitor sends them so). Trailing bytes that
    are no HEPv3 frame are ignored, as the module does (spec 2.4).

    Args:
        data: one whole datagram, 0..65535 bytes.
        messages: where the messages go; those before an error stay in it.
        received_us: when it came, microseconds since 1970; see ``decode_hep12``.

    Raises:
        DecodeError: ``empty``, ``magic`` (no HEP), ``too_many`` (frames), ``inflate`` (more than ``MAX_INFLATED_BYTES``
            in all of them), or a reason of ``decode_hep3`` and ``decode_hep12``. It stands for one lost message.
    """
    if data[:4] not in MAGICS:
        if not data:
            raise DecodeError("empty")
        if data[0] not in (1, 2):
            raise DecodeError("short" if len(data) < 4 else "magic")
        messages.append(decode_hep12(data, received_us))
        return
    message, offset = decode_hep3(data)
    messages.append(message)
    if offset < len(data):
        _decode_further(data, offset, messages)


def _decode_further(data: bytes, offset: int, messages: list[Message]) -> None:
    count, payload_bytes = 1, len(messages[-1].payload)
    while data[offset : offset + 4] in MAGICS:
        if count == MAX_HEP_PER_DATAGRAM:
            raise DecodeError("too_many")
        message, offset = decode_hep3(data, offset)
        payload_bytes += len(message.payload)
        if payload_bytes > MAX_INFLATED_BYTES:
            raise DecodeError("inflate")  # 60 bombs of 1 KB fit into a datagram
        messages.append(message)
        count += 1


def attach_frames(data: bytes, messages: Sequence[Message]) -> None:
    """Let messages know the datagram that they were decoded from, for those who want more of it than its messages.

    Args:
        data: as it was received.
        messages: those of ``decode_datagram``, in order.
    """
    offset = 0
    for message in messages:
        message.frame, message.frame_at = data, offset
        if message.hep_version == 3:
            offset += int.from_bytes(data[offset + 4 : offset + 6], "big")


def whole_frames(data: bytes) -> int:
    """How many bytes at the beginning are whole HEPv3 frames.

    That is what can be sent on a stream: trailing bytes, which a datagram may have, would put its reader out of step.
    """
    offset = 0
    while data[offset : offset + 4] in MAGICS and len(data) - offset >= HEADER_BYTES:
        total = int.from_bytes(data[offset + 4 : offset + 6], "big")
        if not HEADER_BYTES <= total <= len(data) - offset:
            break
        offset += total
    return offset


def looks_like_hep(data: bytes) -> bool:
    """Tell whether a packet's payload is HEP, for captures that hold HEP beside SIP.

    HEPv1 and v2 have no magic; there, the head must be right in every field that can be wrong.
    """
    if data[:4] in MAGICS:
        return True
    if len(data) < 16 or data[0] not in (1, 2) or data[3] not in (6, 17, 22, 132):
        return False
    return (data[1], data[2]) in _HEAD_LENGTHS
