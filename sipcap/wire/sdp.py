"""Where the media of an SDP goes: addresses of RTCP, and SSRCs.

Source: RFC 8866 (SDP), RFC 3605 (``a=rtcp``), RFC 5761 (``a=rtcp-mux``), RFC 5576 (``a=ssrc``).
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sipcap.limits import MAX_SDP_LINES, MAX_SDP_MEDIA

_CONNECTION: Final = re.compile(r"c=IN IP[46] ([0-9A-Fa-f:.]{2,45})", re.ASCII)
_MEDIA: Final = re.compile(r"m=[a-z]{1,20} (\d{1,5})(?:/\d+)? \S*RTP/", re.ASCII)
_RTCP: Final = re.compile(r"a=rtcp:(\d{1,5})(?: IN IP[46] ([0-9A-Fa-f:.]{2,45}))?", re.ASCII)
_SSRC: Final = re.compile(r"a=ssrc:(\d{1,10})(?!\d)", re.ASCII)
SDP: Final = b"v=0"
"""How an SDP begins; a message without it has none."""


class Media(NamedTuple):
    """What an SDP says about RTCP: places that receive it, as (address text, port), and SSRCs of those who send."""

    places: list[tuple[str, int]]
    ssrcs: list[int]


def read_media(payload: bytes) -> Media:
    """Read the SDP in a SIP message; nothing if there is none.

    Of each stream, the port of RTP is given (RTCP may share it), the one above it, and the one that ``a=rtcp`` names.
    """
    places: list[tuple[str, int]] = []
    ssrcs: list[int] = []
    begin = payload.find(b"\r\n\r\n")
    begin = payload.find(SDP, begin) if begin >= 0 else -1
    if begin < 0:
        return Media(places, ssrcs)
    session = address = ""
    port = 0
    for raw in payload[begin:].split(b"\n", MAX_SDP_LINES)[:MAX_SDP_LINES]:
        if raw[:2] not in (b"m=", b"c=", b"a="):
            continue
        line = raw.decode("latin-1").rstrip()
        if line.startswith("m="):
            found = _MEDIA.match(line)
            port, address = int(found[1]) if found else 0, session
            if port and address:
                _add(places, address, port)
        elif match := _CONNECTION.match(line):
            address = match[1].lower()
            if not port and not places:
                session = address
            elif port:
                _add(places, address, port)
        elif port and (match := _RTCP.match(line)):
            _add_place(places, (match[2] or address).lower(), int(match[1]))
        elif (match := _SSRC.match(line)) and len(ssrcs) < MAX_SDP_MEDIA:
            ssrcs.append(int(match[1]) & 0xFFFF_FFFF)
    return Media(places, ssrcs)


def _add(places: list[tuple[str, int]], address: str, port: int) -> None:
    _add_place(places, address, port)
    _add_place(places, address, port + 1)


def _add_place(places: list[tuple[str, int]], address: str, port: int) -> None:
    if address and 0 < port < 65_536 and len(places) < MAX_SDP_MEDIA and (address, port) not in places:
        places.append((address, port))
