"""One captured payload with its envelope: what every source yields."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

SIP_PAYLOAD = 1
"""HEP protocol type (chunk 0x000b) of SIP."""


class Message(Struct, gc=False):
    """One captured payload and what is known about its way.

    Addresses are text as ``inet_ntop`` writes it, "" if unknown. ``ts_us`` is microseconds
    since 1970 UTC; 0 = the sender gave no time. ``ip_protocol`` is the IANA number,
    with 22 for TLS as HEP agents send it. ``correlation_id`` is None if it was not sent.
    ``extra`` maps the rarer HEP fields, by their NDJSON names, to their values. ``frame`` is the HEP packet
    as it was received, the same object for all messages in it; a HEPv3 frame begins at ``frame_at``.
    """

    payload: bytes
    ts_us: int = 0
    source_ip: str = ""
    source_port: int = 0
    destination_ip: str = ""
    destination_port: int = 0
    ip_protocol: int = 0
    family: int = 0
    payload_type: int = SIP_PAYLOAD
    hep_version: int = 0
    capture_id: int = 0
    correlation_id: str | None = None
    auth_key: bytes | None = None
    extra: dict[str, Any] | None = None
    frame: bytes = b""
    frame_at: int = 0
