"""The start line and the odd headers of SIP: digest credentials and X-OIP."""

from __future__ import annotations

import re
from typing import Final

from sipcap.errors import DecodeError
from sipcap.wire.sip_uri import parameter_finder, port_number

REQUEST: Final = 1
REPLY: Final = 2
"""The ``type`` column (spec 3.1)."""

_METHODS: Final = frozenset((
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "INFO", "SUBSCRIBE", "NOTIFY",
    "REFER", "MESSAGE", "PUBLISH",
))  # fmt: skip

# Start lines with odd blanks, versions or methods. Before a SIP version any word is a method, as it is to the
# module; without one, only a token of RFC 3261 section 25.1.
_METHOD = re.compile(r"([^ \t]++)[ \t]++")
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]++")
_VERSION = re.compile(r"[ \t]SIP/[0-9]++\.[0-9]++[^ \t]*+\Z", re.IGNORECASE)
_STATUS_LINE = re.compile(r"SIP/[0-9]++\.[0-9]++[ \t]++([0-9]{3,})(?:[ \t](.*))?", re.IGNORECASE | re.DOTALL)
# HEP37's own example ends in the request URI (spec 2.10); a version may be cut as well.
_CUT_URI = re.compile(r"((?:sips?|tel|urn):\S++)(?:[ \t]++(?:S(?:I(?:P(?:/[0-9.]*+)?)?)?)?)?", re.IGNORECASE)
_DIGEST = re.compile(r"digest[ \t\r\n]", re.IGNORECASE)
_username = parameter_finder("username", separator=",")


def start_line(line: str) -> tuple[int, str, str]:
    """Read the first line of a message.

    Args:
        line: without its line end.

    Returns:
        For a request 1, the method as sent and the request URI; for a reply 2, the status
        code as text and the reason phrase, which may be empty.

    Raises:
        DecodeError: ``not_sip``.
    """
    first, _, rest = line.partition(" ")
    if first in _METHODS and rest[-8:] == " SIP/2.0":
        uri = rest[:-8]
        if uri and " " not in uri and "\t" not in uri:
            return REQUEST, first, uri
    elif first == "SIP/2.0" and rest[3:4] == " " and rest[:3].isdecimal() and rest[:3].isascii():
        return REPLY, rest[:3], rest[4:].lstrip(" \t")
    return _tolerant_start_line(line)


def _tolerant_start_line(line: str) -> tuple[int, str, str]:
    """Read what RFC 4475 section 3.1 does to start lines, and lines that were cut."""
    match = _STATUS_LINE.fullmatch(line)
    if match is not None:
        return REPLY, match[1], (match[2] or "").lstrip(" \t")
    match = _METHOD.match(line)
    if match is None:
        raise DecodeError("not_sip")
    method, rest = match[1], line[match.end() :].rstrip(" \t")
    version = _VERSION.search(rest)
    if version is not None:
        uri = rest[: version.start()].rstrip(" \t")
    else:
        cut = _CUT_URI.fullmatch(rest) if _TOKEN.fullmatch(method) else None
        uri = cut[1] if cut is not None else ""
    if not uri:
        raise DecodeError("not_sip")
    return REQUEST, method, uri


def digest_user(value: str) -> str:
    """The user of Digest credentials, without scheme prefix and realm (spec 3.5); "" for other schemes."""
    match = _DIGEST.match(value)
    if match is None:
        return ""
    user = _username("," + value[match.end() :])
    name, _, realm = user.partition("@")
    if name and realm:
        user = name
    scheme, _, rest = user.partition(":")
    return rest if scheme and rest else user  # ":u", "u:" and "@d" are names, if odd ones


def originator(value: str) -> tuple[str, int]:
    """Split X-OIP at a final ``:port``; an IPv6 address needs brackets to carry one (spec 3.6)."""
    if not value:
        return "", 0
    host, colon, port = value.rstrip(" \t").rpartition(":")
    if not colon or not port_number(port) or (":" in host and host[-1:] != "]"):
        return value, 0
    return host, port_number(port)
