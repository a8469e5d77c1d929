"""Blocks of RTCP extended reports: those that tell about quality by name, all others as they are.

Source: RFC 3611 section 4.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from sipcap.errors import DecodeError

RRT, DLRR, STATISTICS, VOIP = 4, 5, 6, 7

VOIP_FIELDS: Final = (
    ("id", "I"), ("loss_rate", "B"), ("discard_rate", "B"), ("burst_density", "B"), ("gap_density", "B"),
    ("burst_duration", "H"), ("gap_duration", "H"), ("round_trip_delay", "H"), ("end_system_delay", "H"),
    ("signal_level", "b"), ("noise_level", "b"), ("rerl", "B"), ("gmin", "B"), ("r_factor", "B"),
    ("ext_r_factor", "B"), ("mos_lq", "B"), ("mos_cq", "B"), ("rx_config", "B"), ("reserved", "B"),
    ("jb_nominal", "H"), ("jb_maximum", "H"), ("jb_abs_max", "H"),
)  # fmt: skip
"""Fields of a VoIP metrics block (RFC 3611 4.7): rates in 1/256, durations and delays in ms, MOS in tenths."""

VOIP_FORM: Final = struct.Struct(">" + "".join(form for _, form in VOIP_FIELDS))
_HEAD = struct.Struct(">BBH").unpack_from
_HEPLIFY_NAMES: Final = {"loss_rate": "fraction_lost", "discard_rate": "fraction_discard"}


def decode_xr(body: bytes, offset: int) -> list[dict[str, Any]]:
    """Decode the report blocks from ``offset`` to the end of an XR packet.

    Returns:
        One object a block: ``type``, and its fields by name; what has no names here has ``specific`` (the byte behind
        the type) and ``data`` in hexadecimal.

    Raises:
        DecodeError: ``rtcp``: a block that is longer than the packet.
    """
    blocks = []
    while offset < len(body):
        if len(body) - offset < 4:
            raise DecodeError("rtcp")
        kind, specific, words = _HEAD(body, offset)
        begin, offset = offset + 4, offset + 4 + 4 * words
        if offset > len(body):
            raise DecodeError("rtcp")
        blocks.append(_block(kind, specific, body[begin:offset]))
    return blocks


def _block(kind: int, specific: int, data: bytes) -> dict[str, Any]:
    if kind == VOIP and len(data) == VOIP_FORM.size and not specific:
        values = VOIP_FORM.unpack(data)
        return {"type": kind} | {name: value for (name, _), value in zip(VOIP_FIELDS, values, strict=True)}
    if kind == RRT and len(data) == 8 and not specific:
        seconds, fraction = struct.unpack(">II", data)
        return {"type": kind, "ntp_timestamp_sec": seconds, "ntp_timestamp_frac": fraction}
    if kind == DLRR and len(data) % 12 == 0 and not specific:
        reports = [dict(zip(("ssrc", "lrr", "dlrr"), each, strict=True)) for each in struct.iter_unpack(">III", data)]
        return {"type": kind, "reports": reports}
    return {"type": kind, "specific": specific, "data": data.hex()}


def voip_metrics(blocks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first VoIP metrics block under the names that heplify gives its fields; None if there is none."""
    for block in blocks:
        if block["type"] == VOIP and "data" not in block:
            named = {_HEPLIFY_NAMES.get(name, name): value for name, value in block.items()}
            del named["reserved"]
            return named
    return None
