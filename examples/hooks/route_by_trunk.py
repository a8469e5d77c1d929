"""Puts the messages of each trunk into a table of its own, one a day; what is of no trunk goes where it always goes."""

from __future__ import annotations

from sipcap.hooks import Request, Route

TRUNKS = {"192.0.2.1": "carrier1", "192.0.2.2": "carrier1", "198.51.100.7": "carrier2"}
"""Addresses of the peers."""


def on_request(request: Request) -> Route | None:
    """Answer with the trunk's table if one end of the message is a trunk."""
    trunk = TRUNKS.get(request.source_ip) or TRUNKS.get(request.destination_ip)
    if trunk is None:
        return None
    return Route(table=f"sip_{trunk}_%Y%m%d")
