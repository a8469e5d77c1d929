"""RTCP to the JSON that HEP agents send as type 5: whole compounds, with every report block.

Source: RFC 3550 section 6 (SR, RR, SDES, BYE, APP), RFC 3611 (XR), RFC 4585 (feedback), RFC 5506 (reduced size).
The keys ``sender_information``, ``ssrc``, ``type``, ``report_count``, ``report_blocks``, ``report_blocks_xr``,
``sdes_ssrc`` and ``sdes_information`` are those of heplify and captagent, which HOMER's readers know; the others hold
what those leave out. ``rtcp_encode.py`` is the way back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.wire.rtcp_xr import decode_xr, voip_metrics

SR, RR, SDES, BYE, APP, RTPFB, PSFB, XR = 200, 201, 202, 203, 204, 205, 206, 207

_FIRST: Final = frozenset((SR, RR, BYE, APP, RTPFB, PSFB, XR))
"""What a datagram begins with: a report, or with RFC 5506 what has an SSRC and no report before it."""

_KEYS: Final = (
    "sender_information", "ssrc", "type", "report_count", "report_blocks", "report_blocks_xr", "sdes_ssrc",
    "sdes_report_count", "sdes_information", "extension", "further_reports", "bye", "app", "feedback", "xr",
)  # fmt: skip
"""One order, whatever the order of the packets."""

_LENGTH = struct.Struct(">H").unpack_from
_SENDER = struct.Struct(">IIIII").unpack_from
_BLOCK = struct.Struct(">IB3sIIII").unpack_from
_UINT32 = struct.Struct(">I").unpack_from
_BLOCK_BYTES: Final = 24
_SENDER_BYTES: Final = 20


class _Packet(NamedTuple):
    """One packet of a compound: its type, the five bits of its header, and what stands behind the header."""

    kind: int
    bits: int
    body: bytes


def looks_like_rtcp(data: bytes) -> bool:
    """Tell RTCP from RTP, STUN and all else by its first packet; ``decode_rtcp`` then looks at all of it."""
    if len(data) < 8 or data[0] >> 6 != 2 or data[1] not in _FIRST:
        return False
    return 4 * (int(_LENGTH(data, 2)[0]) + 1) <= len(data)


def decode_rtcp(data: bytes) -> dict[str, Any]:
    """Decode one datagram.

    Args:
        data: a compound packet, or one of reduced size.

    Returns:
        JSON values. ``report_blocks`` has the blocks of all reports in it; the first report is the one that ``type``,
        ``ssrc`` and ``sender_information`` are about, the others stand in ``further_reports``. Losses are signed (RFC
        3550 6.4.1), ``ntp_timestamp_sec`` counts from 1900, ``ntp_timestamp_usec`` is microseconds, ``dlsr`` is in
        1/65,536 s, ``ia_jitter`` in units of the RTP clock.

    Raises:
        DecodeError: ``rtcp``: it is none, or encrypted (SRTCP): its lengths do not add up.
    """
    if not looks_like_rtcp(data):
        raise DecodeError("rtcp")
    found: dict[str, Any] = {}
    try:
        for packet in _packets(data):
            _READERS[packet.kind](packet, found)
    except (struct.error, IndexError):
        raise DecodeError("rtcp") from None
    if "report_blocks" in found:
        found["report_count"] = len(found["report_blocks"])
    if not found:
        raise DecodeError("rtcp")
    return {key: found[key] for key in _KEYS if key in found}


def _packets(data: bytes) -> Iterator[_Packet]:
    offset = 0
    while offset < len(data):
        if len(data) - offset < 4 or data[offset] >> 6 != 2 or data[offset + 1] not in _READERS:
            raise DecodeError("rtcp")
        end = offset + 4 * (_LENGTH(data, offset + 2)[0] + 1)
        if end > len(data):
            raise DecodeError("rtcp")
        body = data[offset + 4 : end]
        if data[offset] & 0x20:  # padding: its last byte counts it (RFC 3550 6.4.1)
            if not body or not 0 < body[-1] <= len(body) or body[-1] % 4:
                raise DecodeError("rtcp")
            body = body[: len(body) - body[-1]]
        yield _Packet(data[offset + 1], data[offset] & 0x1F, body)
        offset = end


def _read_report(packet: _Packet, found: dict[str, Any]) -> None:
    report: dict[str, Any] = {}
    begin = 4
    if packet.kind == SR:
        seconds, fraction, rtp_time, packets, octets = _SENDER(packet.body, 4)
        report["sender_information"] = {
            "ntp_timestamp_sec": seconds,
            "ntp_timestamp_usec": fraction * 1_000_000 >> 32,
            "rtp_timestamp": rtp_time,
            "packets": packets,
            "octets": octets,
        }
        begin += _SENDER_BYTES
    report |= {"ssrc": _UINT32(packet.body)[0], "type": packet.kind}
    end = begin + packet.bits * _BLOCK_BYTES
    blocks = [_block(packet.body, offset) for offset in range(begin, end, _BLOCK_BYTES)]
    if end < len(packet.body):
        report["extension"] = packet.body[end:].hex()
    if "type" not in found:
        found.update(report, report_count=0, report_blocks=blocks)
    else:
        found["report_blocks"] += blocks
        found.setdefault("further_reports", []).append(report | {"report_count": len(blocks)})


def _block(data: bytes, offset: int) -> dict[str, int]:
    ssrc, fraction, lost, highest, jitter, lsr, dlsr = _BLOCK(data, offset)
    return {
        "source_ssrc": ssrc,
        "fraction_lost": fraction,
        "packets_lost": int.from_bytes(lost, "big", signed=True),
        "highest_seq_no": highest,
        "ia_jitter": jitter,
        "lsr": lsr,
        "dlsr": dlsr,
    }


def _read_sdes(packet: _Packet, found: dict[str, Any]) -> None:
    if not packet.bits:
        return  # "valid but useless" (RFC 3550 6.5)
    items: list[dict[str, Any]] = found.setdefault("sdes_information", [])
    body, offset = packet.body, 0
    for _ in range(packet.bits):
        ssrc = _UINT32(body, offset)[0]
        found.setdefault("sdes_ssrc", ssrc)
        offset += 4
        if not body[offset]:  # a chunk without items: kept as one of type 0, which is none
            items.append({"ssrc": ssrc, "type": 0, "text": ""})
        while kind := body[offset]:
            size = body[offset + 1]
            text = body[offset + 2 : offset + 2 + size]
            if len(text) < size:
                raise DecodeError("rtcp")
            items.append({"ssrc": ssrc, "type": kind, "text": text.decode("utf-8", "replace")})
            offset += 2 + size
        offset = (offset // 4 + 1) * 4  # one to four zeros, up to the next word
    found["sdes_report_count"] = len(items)


def _read_bye(packet: _Packet, found: dict[str, Any]) -> None:
    body, end = packet.body, 4 * packet.bits
    if not end:
        return  # of nobody: valid, and useless (RFC 3550 6.6)
    bye: dict[str, Any] = {"ssrcs": [_UINT32(body, offset)[0] for offset in range(0, end, 4)]}
    if len(body) > end:
        text = body[end + 1 : end + 1 + body[end]]
        if len(text) < body[end]:
            raise DecodeError("rtcp")
        bye["reason"] = text.decode("utf-8", "replace")
    found.setdefault("bye", []).append(bye)


def _read_app(packet: _Packet, found: dict[str, Any]) -> None:
    body = packet.body
    app = {
        "subtype": packet.bits,
        "ssrc": _UINT32(body)[0],
        "name": struct.unpack_from(">4s", body, 4)[0].decode("latin-1"),
        "data": body[8:].hex(),
    }
    found.setdefault("app", []).append(app)


def _read_feedback(packet: _Packet, found: dict[str, Any]) -> None:
    ssrc, media = struct.unpack_from(">II", packet.body)
    feedback = {
        "type": packet.kind, "format": packet.bits, "ssrc": ssrc, "media_ssrc": media, "data": packet.body[8:].hex(),
    }  # fmt: skip
    found.setdefault("feedback", []).append(feedback)


def _read_xr(packet: _Packet, found: dict[str, Any]) -> None:
    blocks = decode_xr(packet.body, 4)
    found.setdefault("xr", []).append({"ssrc": _UINT32(packet.body)[0], "blocks": blocks})
    metrics = voip_metrics(blocks)
    if metrics is not None:
        found.setdefault("report_blocks_xr", metrics)


_READERS: Final = {
    SR: _read_report, RR: _read_report, SDES: _read_sdes, BYE: _read_bye, APP: _read_app, RTPFB: _read_feedback,
    PSFB: _read_feedback, XR: _read_xr,
}  # fmt: skip
