"""What a TCP connection carries, by the bytes that it begins with."""

from __future__ import annotations

from enum import Enum
from typing import Final

from sipcap.wire.detect import TOKEN, begins_like_sip, looks_like_sip
from sipcap.wire.hep_chunks import MAGICS
from sipcap.wire.sip_head import head_end
from sipcap.wire.websocket_frame import begins_sip_frame, is_upgrade

BLANKS: Final = b"\r\n\0 \t"
_HTTP: Final = (b"GET ", b"HTTP/")
_TLS_RECORD_BYTES: Final = 5
_MAX_TLS_RECORD: Final = (1 << 14) + 2_048  # RFC 5246 section 6.2.3


class Kind(Enum):
    """What a connection carries, or ``WAIT`` for more bytes."""

    WAIT = "wait"
    SIP = "sip"
    WEBSOCKET = "websocket"
    HEP = "hep"
    TLS = "tls"
    OTHER = "other"


def begins_tls(data: bytes) -> bool:
    """Tell whether a TLS record begins here: of a handshake, or of any kind in the middle of a stream."""
    if len(data) < _TLS_RECORD_BYTES or not 20 <= data[0] <= 23 or data[1] != 3 or data[2] > 4:
        return False
    return 0 < int.from_bytes(data[3:5], "big") <= _MAX_TLS_RECORD


def kind_of(data: bytes) -> Kind:
    """Tell what begins here; ``OTHER`` says that nothing known does.

    Args:
        data: the first bytes of one direction, or those where it was picked up.
    """
    text = data.lstrip(BLANKS)
    if not text:
        return Kind.WAIT
    if begins_like_sip(text) and looks_like_sip(text):
        return Kind.SIP
    if text.startswith(MAGICS):
        return Kind.HEP
    if begins_tls(data):
        return Kind.TLS
    if begins_sip_frame(data):
        return Kind.WEBSOCKET
    if text.startswith(_HTTP):
        return _kind_of_http(text)
    return _kind_of_line(text)


def _kind_of_http(text: bytes) -> Kind:
    end = head_end(text)
    if not end:
        return Kind.WAIT
    return Kind.WEBSOCKET if is_upgrade(text[:end]) else Kind.OTHER


def _kind_of_line(text: bytes) -> Kind:
    line, end, _ = text.partition(b"\n")
    if end:
        return Kind.SIP if looks_like_sip(line) else Kind.OTHER
    if text[0] in TOKEN or text[0] in range(20, 24):
        return Kind.WAIT  # a start line, an HTTP request, the magic of HEP or a TLS record that are not whole yet
    return Kind.OTHER


def http_head(data: bytes) -> int | None:
    """Bytes of the HTTP head that WebSocket frames follow.

    Returns:
        0 if there is none, None if more data is needed.
    """
    text = data.lstrip(BLANKS)
    if not text.startswith(_HTTP):
        return None if any(each.startswith(text) for each in _HTTP) else 0
    end = head_end(text)
    return len(data) - len(text) + end if end else None
