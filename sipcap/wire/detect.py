"""SIP by its content: what a capture without a port filter is searched for."""

from __future__ import annotations

from typing import Final

from sipcap.errors import DecodeError
from sipcap.wire.sip_fields import start_line

_REPLY: Final = b"SIP/2.0 "
_METHODS: Final = (
    b"INVITE ", b"ACK ", b"BYE ", b"CANCEL ", b"OPTIONS ", b"REGISTER ", b"PRACK ", b"UPDATE ",
    b"INFO ", b"SUBSCRIBE ", b"NOTIFY ", b"REFER ", b"MESSAGE ", b"PUBLISH ",
)  # fmt: skip
BEGINNINGS: Final = (_REPLY, *_METHODS)
"""How nearly all SIP begins."""

_LEADING: Final = b"\r\n\0\t "
_CONTROLS: Final = frozenset((*range(9), *range(10, 32), 127))
TOKEN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~")
"""Bytes that a method may have (RFC 3261 section 25.1)."""

_MAX_START_LINE: Final = 2_048
"""Bytes looked at for the end of an odd start line."""


def looks_like_sip(payload: bytes) -> bool:
    """Tell whether a datagram is a SIP message: a start line after optional line breaks.

    ``start_line`` decides; nearly all SIP is told by its first bytes alone. HTTP over UDP (SSDP), RTP and
    binary protocols are none.
    """
    if payload.startswith(_REPLY) and payload[8:11].isdigit():
        return True
    if payload.startswith(_METHODS):
        # SSDP says NOTIFY as well, but then HTTP/1.1.
        end = payload.find(b"\n", 0, _MAX_START_LINE)
        if payload.find(b" SIP/2.0", 0, end if end > 0 else _MAX_START_LINE) > 0:
            return True
        return _has_start_line(payload)
    if not payload or (payload[0] not in TOKEN and payload[0] not in _LEADING):
        return False
    stripped = payload.lstrip(_LEADING)
    return stripped[:1] != b"" and stripped[0] in TOKEN and _has_start_line(stripped)


def _has_start_line(text: bytes) -> bool:
    line = text[:_MAX_START_LINE].partition(b"\n")[0].rstrip(b"\r")
    # The reader takes any word for a method. Here it could be the header of a tunnel with SIP behind it.
    if not _CONTROLS.isdisjoint(line.partition(b" ")[0]):
        return False
    try:
        start_line(line.decode("utf-8", "replace"))
    except DecodeError:
        return False
    return True


def begins_like_sip(payload: bytes) -> bool:
    """Tell in no time whether bytes begin as nearly all SIP does; False says nothing."""
    return payload.startswith(BEGINNINGS)


def is_keep_alive(payload: bytes) -> bool:
    """Tell whether a datagram only keeps a NAT binding open: blanks, line breaks, NULs (RFC 5626 4.4.1)."""
    return not payload.strip(_LEADING)
