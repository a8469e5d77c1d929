"""The JSON of ``decode_rtcp`` back to RTCP: what ``decode_rtcp`` makes of the result is the same JSON.

Source: as ``rtcp.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sipcap.wire import rtcp
from sipcap.wire.hep_encode import EncodeError
from sipcap.wire.rtcp_xr import DLRR, RRT, VOIP, VOIP_FIELDS, VOIP_FORM

_MAX_COUNT: Final = 31
_MAX_WORDS: Final = 65_535


def encode_rtcp(values: Mapping[str, Any]) -> bytes:
    """Encode a compound packet.

    Args:
        values: as ``decode_rtcp`` returns them, or an agent's JSON with the same keys.

    Raises:
        EncodeError: ``rtcp``: these values do not make RTCP.
    """
    try:
        data = b"".join(_packets(values))
    except (KeyError, TypeError, ValueError, AttributeError, struct.error, IndexError):
        raise EncodeError("rtcp") from None
    if not data:
        raise EncodeError("rtcp")
    return data


def _packets(values: Mapping[str, Any]) -> Iterator[bytes]:
    if "type" in values:
        yield from _reports(values)
    descriptions = _sdes(values["sdes_information"]) if values.get("sdes_information") else ()
    if "type" in values:
        yield from descriptions
    for bye in values.get("bye", ()):
        reason = b"" if "reason" not in bye else _counted(bye["reason"].encode())
        yield _packet(rtcp.BYE, len(bye["ssrcs"]), struct.pack(f">{len(bye['ssrcs'])}I", *bye["ssrcs"]) + reason)
    for app in values.get("app", ()):
        head = struct.pack(">I4s", app["ssrc"], app["name"].encode("latin-1"))
        yield _packet(rtcp.APP, app["subtype"], head + bytes.fromhex(app["data"]))
    for each in values.get("feedback", ()):
        if each["type"] not in (rtcp.RTPFB, rtcp.PSFB):
            raise EncodeError("rtcp")
        body = struct.pack(">II", each["ssrc"], each["media_ssrc"]) + bytes.fromhex(each["data"])
        yield _packet(each["type"], each["format"], body)
    for xr in values.get("xr", ()):
        yield _packet(rtcp.XR, 0, struct.pack(">I", xr["ssrc"]) + b"".join(map(_xr_block, xr["blocks"])))
    if "type" not in values:  # a datagram does not begin with a description
        yield from descriptions


def _reports(values: Mapping[str, Any]) -> Iterator[bytes]:
    """The reports; the blocks stand in their order, so that each takes as many as it had."""
    blocks = list(values["report_blocks"])
    further = values.get("further_reports", [])
    first = len(blocks) - sum(report["report_count"] for report in further)
    if first < 0:
        raise EncodeError("rtcp")
    yield _report(values, blocks[:first])
    for report in further:
        count = report["report_count"]
        yield _report(report, blocks[first : first + count])
        first += count


def _report(report: Mapping[str, Any], blocks: list[Mapping[str, int]]) -> bytes:
    body = struct.pack(">I", report["ssrc"])
    if report["type"] == rtcp.SR:
        sender = report["sender_information"]
        microseconds = sender["ntp_timestamp_usec"]
        # Rounded up, so that cutting it to microseconds again gives the same.
        fraction = -(-(microseconds << 32) // 1_000_000)
        body += struct.pack(">IIIII", sender["ntp_timestamp_sec"], fraction, sender["rtp_timestamp"],
                            sender["packets"], sender["octets"])  # fmt: skip
    elif report["type"] != rtcp.RR:
        raise EncodeError("rtcp")
    body += b"".join(map(_block, blocks)) + bytes.fromhex(report.get("extension", ""))
    return _packet(report["type"], len(blocks), body)


def _block(block: Mapping[str, int]) -> bytes:
    lost = block["packets_lost"].to_bytes(3, "big", signed=True)
    return struct.pack(">IB3sIIII", block["source_ssrc"], block["fraction_lost"], lost, block["highest_seq_no"],
                       block["ia_jitter"], block["lsr"], block["dlsr"])  # fmt: skip


def _sdes(items: Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    chunks: list[bytes] = []
    ssrc: int | None = None
    is_open = False
    for item in items:
        if not is_open or not item["type"] or item.get("ssrc", ssrc) != ssrc:
            ssrc = item.get("ssrc", 0)
            chunks.append(struct.pack(">I", ssrc))
        is_open = bool(item["type"])  # an item of type 0 is a chunk without any
        if is_open:
            chunks[-1] += bytes((item["type"],)) + _counted(item["text"].encode())
    for begin in range(0, len(chunks), _MAX_COUNT):
        group = chunks[begin : begin + _MAX_COUNT]
        yield _packet(rtcp.SDES, len(group), b"".join(each + bytes(4 - len(each) % 4) for each in group))


def _xr_block(block: Mapping[str, Any]) -> bytes:
    kind, specific = block["type"], 0
    if "data" in block:
        specific, data = block["specific"], bytes.fromhex(block["data"])
    elif kind == VOIP:
        data = VOIP_FORM.pack(*(block[name] for name, _ in VOIP_FIELDS))
    elif kind == RRT:
        data = struct.pack(">II", block["ntp_timestamp_sec"], block["ntp_timestamp_frac"])
    elif kind == DLRR:
        data = b"".join(struct.pack(">III", each["ssrc"], each["lrr"], each["dlrr"]) for each in block["reports"])
    else:
        raise EncodeError("rtcp")
    if len(data) % 4:
        raise EncodeError("rtcp")
    return struct.pack(">BBH", kind, specific, len(data) // 4) + data


def _counted(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def _packet(kind: int, count: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    words = len(body) // 4
    if not 0 <= count <= _MAX_COUNT or words > _MAX_WORDS:
        raise EncodeError("rtcp")
    return struct.pack(">BBH", 0x80 | count, kind, words) + body
