"""The start line and the odd headers of SIP: digest credentials and X-OIP."""

from __future__ import annotations

import re
from typing import Final

from sipcap.errors import DecodeError
from sipcap.wire.sip_uri import port_number

REQUEST: Final = 1
REPLY: Final = 2
"""The ``type`` column (spec 3.1)."""

_METHODS: Final = frozenset(
    "INVITE ACK BYE CANCEL OPTIONS REGISTER PRACK UPDATE INFO SUBSCRIBE NOTIFY REFER MESSAGE PUBLISH".split()
)
_TOKEN = r"[A-Za-z0-9\-.!%*_+`'~]++"  # RFC 3261 section 25.1 "token"
_REQUEST_LINE = re.compile(rf"({_TOKEN})[ \t]+(.*?)[ \t]+SIP/\d+\.\d+[ \t]*", re.IGNORECASE | re.DOTALL)
_CUT_REQUEST_LINE = re.compile(rf"({_TOKEN})[ \t]+((?:sips?|tel|urn):\S*)", re.IGNORECASE)
_STATUS_LINE = re.compile(r"SIP/\d+\.\d+[ \t]+(\d{3,})(?:[ \t](.*)|)", re.IGNORECASE | re.DOTALL)
_USERNAME = re.compile(r'(?:^|[\s,])username\s*=\s*(?:"((?:[^"\\]|\\.)*+)"?|([^\s,]*))', re.IGNORECASE)


def start_line(line: str) -> tuple[int, str, str]:
    """Read the first line of a message.

    Returns:
        For a request 1, the method as sent and the request URI; for a reply 2, the status
        code as text and the reason phrase, which may be empty.

    Raises:
        DecodeError: ``not_sip``.
    """
    parts = line.split(" ")
    if len(parts) == 3 and parts[2] == "SIP/2.0" and parts[0] in _METHODS and parts[1]:
        return REQUEST, parts[0], parts[1]
    if line[:8] == "SIP/2.0 " and line[8:11].isdecimal() and line[11:12] == " ":
        return REPLY, line[8:11], line[12:].rstrip("\r\n")
    return _tolerant_start_line(line.rstrip("\r\n"))


def _tolerant_start_line(line: str) -> tuple[int, str, str]:
    """Read start lines with odd blanks, versions or methods, or one cut short (RFC 4475 section 3.1.2)."""
    match = _STATUS_LINE.fullmatch(line)
    if match is not None:
        return REPLY, match[1], match[2] or ""
    match = _REQUEST_LINE.fullmatch(line) or _CUT_REQUEST_LINE.fullmatch(line)
    if match is None or not match[2]:
        raise DecodeError("not_sip")
    return REQUEST, match[1], match[2]


def digest_user(value: str) -> str:
    """The user of Digest credentials, without scheme prefix and realm (spec 3.5); "" for other schemes."""
    if value[:7].lower() != "digest ":
        return ""
    match = _USERNAME.search(value, 6)
    if match is None:
        return ""
    user = (match[1] if match[1] is not None else match[2] or "").partition("@")[0]
    prefix, colon, rest = user.partition(":")
    return rest if colon else prefix


def originator(value: str) -> tuple[str, int]:
    """Split X-OIP at a final ``:port``; an IPv6 address needs brackets to carry one (spec 3.6)."""
    if not value:
        return "", 0
    host, colon, port = value.rstrip(" \t").rpartition(":")
    if not colon or not port_number(port) or (":" in host and host[-1:] != "]"):
        return value, 0
    return host, port_number(port)
