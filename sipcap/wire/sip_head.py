"""How far a SIP message reaches: the end of its head, and what that says about its body.

Source: RFC 3261 sections 7.5, 18.3 and 20.14.
"""

from __future__ import annotations

import re
from typing import Final

from sipcap.limits import MAX_SIP_START_LINE_BYTES
from sipcap.wire.detect import begins_like_sip, looks_like_sip

_LENGTH = re.compile(
    rb"\n(?:content-length|l)[ \t]*:[ \t]*(?:\r?\n[ \t]+)*([0-9]+)(?=[ \t\r\n;,])", re.IGNORECASE
).search  # fmt: skip
_TYPE = re.compile(rb"\n(?:content-type|c)[ \t]*:", re.IGNORECASE).search
_USUAL_LENGTH: Final = b"\nContent-Length: "
_HEAD_WINDOW: Final = 4_096  # bytes; nearly all heads are shorter


def head_end(data: bytes | bytearray, begin: int = 0) -> int:
    """Where the body begins behind the first empty line; 0 if there is none."""
    size = len(data)
    while True:
        # A window at a time: a buffer full of heads that end in one way is not searched to its end for the other.
        end = min(begin + _HEAD_WINDOW, size)
        crlf = data.find(b"\n\r\n", begin, end)
        bare = data.find(b"\n\n", begin, crlf + 1 if crlf >= 0 else end)
        if bare >= 0:
            return bare + 2
        if crlf >= 0:
            return crlf + 3
        if end == size:
            return 0
        begin = end - 2


def content_length(head: bytes) -> int | None:
    """The body's length as a head says it: the first number of a Content-Length; None without one."""
    usual = head.find(_USUAL_LENGTH)
    if usual >= 0 and b"\nl" not in head and b"\nL" not in head and b"\nc" not in head and b"\nCO" not in head:
        begin = usual + len(_USUAL_LENGTH)
        digits = head[begin : head.find(b"\r", begin)]
        if digits.isdigit() and len(digits) < 10:
            return int(digits)
    match = _LENGTH(head)
    if match is None:
        return None
    digits = match[1].lstrip(b"0")[:10]
    return int(digits or b"0")


def has_content_type(head: bytes) -> bool:
    """Tell whether a head says that a body follows."""
    return _TYPE(head) is not None


def is_one_message(data: bytes) -> bool:
    """Tell whether bytes are one SIP message from end to end: what most segments are."""
    if not begins_like_sip(data) or not looks_like_sip(data) or data.find(b"\n", 0, MAX_SIP_START_LINE_BYTES) < 0:
        return False
    body = head_end(data)
    return body > 0 and content_length(data[:body]) == len(data) - body
