"""The chunks of HEPv3 by name.

Source: HEP3 specification revision 37 (2025-06-25), section "Generic chunk types".
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAGICS: Final = (b"HEP3", b"EEP3", b"EEP1")
"""HEP37's figure names HEP3 and EEP3, the draft of 2013 EEP1 (spec 2.1)."""

VENDORS: Final = {
    0: "generic",
    1: "freeswitch",
    2: "kamailio",
    3: "opensips",
    4: "asterisk",
    5: "homer",
    6: "sipxecs",
    7: "yeti",
    8: "genesys",
}

FAMILY: Final = 0x0001
IP_PROTOCOL: Final = 0x0002
SOURCE_IP4: Final = 0x0003
DESTINATION_IP4: Final = 0x0004
SOURCE_IP6: Final = 0x0005
DESTINATION_IP6: Final = 0x0006
SOURCE_PORT: Final = 0x0007
DESTINATION_PORT: Final = 0x0008
SECONDS: Final = 0x0009
MICROSECONDS: Final = 0x000A
PAYLOAD_TYPE: Final = 0x000B
CAPTURE_ID: Final = 0x000C
AUTH_KEY: Final = 0x000E
PAYLOAD: Final = 0x000F
COMPRESSED_PAYLOAD: Final = 0x0010
CORRELATION_ID: Final = 0x0011


class Field(NamedTuple):
    """How a chunk outside the basic envelope is kept: its NDJSON name and its form."""

    name: str
    form: str  # "uint", "text" or "mac"
    size: int  # bytes of a fixed-size chunk; 0 = any


EXTRA_FIELDS: Final[dict[int, Field]] = {
    0x000D: Field("keep_alive_s", "uint", 2),
    0x0012: Field("vlan", "uint", 2),
    0x0013: Field("node_name", "text", 0),
    0x0014: Field("source_mac", "mac", 8),
    0x0015: Field("destination_mac", "mac", 8),
    0x0016: Field("ether_type", "uint", 2),
    0x0017: Field("tcp_flags", "uint", 1),
    0x0018: Field("tos", "uint", 1),
    0x0020: Field("mos", "uint", 2),
    0x0021: Field("r_factor", "uint", 2),
    0x0022: Field("geo_location", "text", 0),
    0x0023: Field("jitter", "uint", 4),
    0x0024: Field("transaction_type", "text", 0),
    0x0025: Field("payload_json_keys", "text", 0),
    0x0026: Field("tags", "text", 0),
    0x0027: Field("tag_type", "uint", 2),
    0x0028: Field("event_type", "uint", 2),
    0x0029: Field("group_id", "text", 0),
}
"""Chunks kept under a name of their own; units as sent (HEP37 gives MOS and jitter none)."""

MIN_SIZES: Final[dict[int, int]] = {
    FAMILY: 1,
    IP_PROTOCOL: 1,
    SOURCE_IP4: 4,
    DESTINATION_IP4: 4,
    SOURCE_IP6: 16,
    DESTINATION_IP6: 16,
    SOURCE_PORT: 2,
    DESTINATION_PORT: 2,
    SECONDS: 4,
    MICROSECONDS: 4,
    PAYLOAD_TYPE: 1,
    CAPTURE_ID: 4,
    0x000D: 2,
    0x0012: 1,  # one byte in revisions 12 to 14 (spec 2.5)
    0x0014: 6,  # 8 by the specification; heplify and others send the 6 bytes of the MAC alone
    0x0015: 6,
    0x0016: 2,
    0x0017: 1,
    0x0018: 1,
    0x0020: 2,
    0x0021: 2,
    0x0023: 4,
    0x0027: 2,
    0x0028: 2,
}
"""Fewer data bytes than this is ``DecodeError("chunk_size")``; of more, the first bytes count (spec 2.4)."""
