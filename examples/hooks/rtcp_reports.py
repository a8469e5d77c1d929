"""Keeps RTCP of calls that sound bad, in a table of its own; needs ``--nonsip-hook``.

Agents send RTCP as JSON in HEP of type 5, with the call's Call-ID as correlation id. What says that everything is
fine is nine tenths of it, and is not stored.
"""

from __future__ import annotations

import json
from typing import Any

from sipcap.hooks import Request, Route

RTCP = 5
LOST = 13  # of 256 packets: five of a hundred
JITTER = 400  # in units of the RTP clock: 50 ms at 8 kHz


def on_request(request: Request) -> int | Route | None:
    """Answer 0 for RTCP of a good call, the table for that of a bad one; all else goes on."""
    if request.payload_type != RTCP:
        return None
    if not request.hep(0x011):
        return 0  # without a correlation id nobody finds the call
    try:
        report = json.loads(request.message)
    except ValueError:
        return None  # another encoding: better kept than lost
    return Route(table="rtcp_bad_%Y%m%d") if any(map(_is_bad, _blocks(report))) else 0


def _blocks(report: Any) -> list[Any]:
    blocks = report.get("report_blocks") if isinstance(report, dict) else None
    return blocks if isinstance(blocks, list) else []


def _is_bad(block: Any) -> bool:
    return isinstance(block, dict) and (_number(block, "fraction_lost") > LOST or _number(block, "ia_jitter") > JITTER)


def _number(block: dict[str, Any], key: str) -> float:
    value = block.get(key)
    return value if isinstance(value, int | float) else 0
