"""Endpoints as the user writes them: ``[udp:|tcp:|tls:]HOST:PORT[-PORT]`` (design 1.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PROTOCOLS = ("udp", "tcp", "tls")
_ENDPOINT = re.compile(
    r"(?:(?P<protocol>udp|tcp|tls):)?"
    r"(?P<host>\*|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:\[\]/@]+)"
    r":(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class Endpoint:
    """One address to listen on or to send to; ``host`` "*" is any address, IPv6 stands without brackets."""

    protocol: str
    host: str
    port: int
    last_port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        ports = f"{self.port}" if self.port == self.last_port else f"{self.port}-{self.last_port}"
        return f"{self.protocol}:{host}:{ports}"


def parse_endpoint(text: str) -> Endpoint:
    """Read an endpoint; the protocol is udp if none is given.

    Raises:
        ValueError: the text says what is wrong and how an endpoint looks.
    """
    match = _ENDPOINT.fullmatch(text.strip())
    if match is None or match["host"].lower() in _PROTOCOLS:  # "tcp:9060" is no port of a host called tcp
        raise ValueError(f"{text!r} is no endpoint; write [udp:|tcp:|tls:]HOST:PORT, IPv6 in brackets, * for any")
    first = int(match["first"])
    last = int(match["last"] or first)
    if not 0 <= first <= last <= 65_535:
        raise ValueError(f"{text!r}: ports go from 0 to 65535, the lower one first")
    return Endpoint((match["protocol"] or "udp").lower(), match["host"].strip("[]"), first, last)
