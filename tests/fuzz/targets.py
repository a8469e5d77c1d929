"""What takes bytes of strangers, by name: each function takes any bytes, and raises only where sipcap is wrong.

What must hold stands in the docstring of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.fuzz import configs, control, messages, packets, streams

TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "hep_datagram": messages.hep_datagram,
    "extraction": messages.extraction,
    "ndjson": messages.ndjson,
    "rtcp": messages.rtcp,
    "rtcp_json": messages.rtcp_json,
    "media": messages.media,
    "topoh": messages.topoh,
    "packets": packets.packets,
    "fragments": packets.fragments,
    "segments": packets.segments,
    "streams": packets.streams,
    "sctp": packets.sctp,
    "hep_stream": streams.hep_stream,
    "sip_stream": streams.sip_stream,
    "websocket": streams.websocket,
    "capture": streams.capture,
    "binrpc": control.binrpc,
    "json_rpc": control.json_rpc,
    "fifo": control.fifo,
    "modes": configs.modes,
    "ini": configs.ini,
    "kamailio": configs.kamailio,
    "endpoint": configs.endpoint,
    "patterns": configs.patterns,
}
