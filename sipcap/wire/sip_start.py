"""Where a SIP message begins on a stream: start lines that can be believed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sipcap.limits import MAX_SIP_START_LINE_BYTES
from sipcap.wire.detect import begins_like_sip, looks_like_sip

VERSION: Final = b"SIP/2.0"
STATUS_BYTES: Final = len(b"SIP/2.0 200 ")
"""From the version on, what tells whether a reply begins with it."""

_REPLY_LINE = re.compile(rb"SIP/2\.0 [1-6][0-9]{2}(?:[ \t][^\n]*)?\n").match
_REQUEST_LINE = re.compile(
    rb"[A-Za-z0-9\-.!%*_+`'~]{1,64}[ \t]+<?[A-Za-z][A-Za-z0-9+.\-]{0,31}:[^\n]*[ \t]SIP/2\.0[ \t\r]*\n"
).match  # fmt: skip
_CAPITALS = re.compile(rb"[A-Z]+ ").match
_STATUS = re.compile(rb"SIP/2\.0 [1-6][0-9]{2} ").match
_KNOWN_METHOD = re.compile(
    rb"(?:INVITE|ACK|BYE|CANCEL|OPTIONS|REGISTER|PRACK|UPDATE|INFO|SUBSCRIBE|NOTIFY|REFER|MESSAGE|PUBLISH)"
    rb" (?:sips?|tel):"
).search
_HEADER = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]+[ \t]*:").match
_HEADER_BEGIN = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]*[ \t]*\Z").match
_MAX_NAME: Final = 64  # bytes of a header's name, where one is looked for to believe a start line


def is_start_line(line: bytes) -> bool:
    """Tell whether a message begins with this line, where one must begin.

    ``defINVITE sip:`` is the end of a body that is longer than its Content-Length says, and no method.
    """
    if not looks_like_sip(line):
        return False
    known = None if begins_like_sip(line) or _CAPITALS(line) is not None else _KNOWN_METHOD(line)
    return known is None or not known.start() or b" " in line[: known.start()]


def candidates(buffer: bytearray, line: int, hit: int, *, is_line: bool) -> Iterator[int]:
    """Where a start line with the SIP version at ``hit`` may begin: bodies need not end with a line end."""
    if is_line and _CAPITALS(buffer, line) is not None:
        yield line
    elif _STATUS(buffer, hit) is not None:
        yield hit
    else:
        known = _KNOWN_METHOD(buffer, line, hit)
        if known is not None:
            yield known.start()
        elif is_line:
            yield line


def is_start(buffer: bytearray, line: int) -> bool | None:
    """Tell whether a message begins at a line; None if there are too few bytes to tell.

    A header must follow: a status line alone is what the body of a NOTIFY for REFER has (RFC 3515).
    """
    end = buffer.find(b"\n", line, line + MAX_SIP_START_LINE_BYTES) + 1
    if not end:
        return None if len(buffer) - line < MAX_SIP_START_LINE_BYTES else False
    text = bytes(buffer[line : end + _MAX_NAME])
    if _REPLY_LINE(text) is None and _REQUEST_LINE(text) is None:
        return False
    if not is_start_line(text[: end - line - 1]):
        return False  # found, it would be refused, and found again
    header = text[end - line :]
    if _HEADER(header) is not None:
        return True
    return None if len(header) < _MAX_NAME and _HEADER_BEGIN(header) is not None else False
