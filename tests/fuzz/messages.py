"""Targets that take one message: HEP, SIP, RTCP, SDP, NDJSON, masked Call-IDs."""

from __future__ import annotations

import contextlib

import msgspec

from sipcap.errors import DecodeError, InputError
from sipcap.extract import Extractor
from sipcap.ndjson import BadLine, LineFramer, decode_record, derive_with, encode_records
from sipcap.record import Record
from sipcap.wire import hep3
from sipcap.wire.hep import attach_frames, decode_datagram, looks_like_hep, whole_frames
from sipcap.wire.hep_encode import EncodeError
from sipcap.wire.hep_select import chunk_value
from sipcap.wire.media import MediaMap
from sipcap.wire.message import SIP_PAYLOAD, Message
from sipcap.wire.rtcp import decode_rtcp
from sipcap.wire.rtcp_encode import encode_rtcp
from sipcap.wire.sdp import read_media
from sipcap.wire.topoh import CallIdMask
from tests.fuzz.cutting import pieces, reason_of, text_of
from tests.support.topoh import masked

_NOW_US = 1_700_000_000_000_000
_extractor = Extractor(aleg_headers=("X-CID", "From"), topoh=CallIdMask())
_derive = derive_with(lambda payload: _extractor.record(Message(payload, _NOW_US), _NOW_US))
_mask = CallIdMask()


def hep_datagram(data: bytes) -> None:
    """Any datagram gives messages, then perhaps one reason; each message has a record that NDJSON keeps as it is.

    With and without the compiled twin the messages are the same.
    """
    messages, reason = _decoded(data)
    usual, hep3.USUAL = hep3.USUAL, None  # type: ignore[misc]
    try:
        assert _decoded(data) == (messages, reason)
    finally:
        hep3.USUAL = usual  # type: ignore[misc]
    if not reason:
        assert messages
        assert looks_like_hep(data) or data[:1] in (b"\1", b"\2")
    attach_frames(data, messages)
    assert whole_frames(data) <= len(data)
    for message in messages:
        assert 0 <= message.frame_at < len(data)
        for number in (1, 3, 8, 0x11, 0x13, 0x14):
            chunk_value(message, number)
        _keep(message)


def _decoded(data: bytes) -> tuple[list[Message], str]:
    messages: list[Message] = []
    try:
        decode_datagram(data, messages, _NOW_US)
    except DecodeError as error:
        reason_of(error)
        return messages, error.reason
    return messages, ""


def extraction(data: bytes) -> None:
    """Any payload gives a record, which NDJSON gives back as it was, or a reason; the compiled twin gives the same."""
    head, payload = data[:1], data[1:]
    payload_type = SIP_PAYLOAD if head < b"\xc0" else head[0]
    _keep(Message(payload, _NOW_US, "10.0.0.1", 5060, "::1", 5060, 17, 2, payload_type))


def _keep(message: Message) -> None:
    try:
        record = _extractor.record(message, _NOW_US)
    except DecodeError as error:
        reason_of(error)
        assert _reference_line(message) == b""
        return
    assert record == _extractor.reference_record(message, _NOW_US)
    if _extractor.writes_lines:
        lines, _ = _extractor.lines([message, message], _NOW_US, _reference_line, None)
        assert lines == 2 * encode_records([record])
    _round_trip(record)


def _reference_line(message: Message) -> bytes:
    try:
        return encode_records([_extractor.reference_record(message, _NOW_US)])
    except DecodeError:
        return b""


def _round_trip(record: Record) -> None:
    line = encode_records([record])
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_record(line, _derive) == (record, {})


def ndjson(data: bytes) -> None:
    """Any bytes give the same lines in whatever pieces; a line gives a record that is kept as it is, or BadLine."""
    _, parts = pieces(data)
    framer, whole = LineFramer(), LineFramer()
    lines = [line for part in parts for line in framer.receive_data(part)] + framer.finish()
    assert lines == whole.receive_data(b"".join(parts)) + whole.finish()
    for _, line in lines:
        with contextlib.suppress(BadLine, InputError):
            record, more = decode_record(line, _derive)
            _round_trip(record)
            msgspec.json.encode(more)


def rtcp(data: bytes) -> None:
    """RTCP that is decoded can be encoded, and is then decoded the same; but a text may have grown too long."""
    try:
        values = decode_rtcp(data)
    except DecodeError as error:
        reason_of(error)
        return
    msgspec.json.encode(values)
    try:
        again = encode_rtcp(values)
    except EncodeError:
        assert "\ufffd" in repr(values)
        return
    assert decode_rtcp(again) == values


def rtcp_json(data: bytes) -> None:
    """Any JSON gives RTCP that can be decoded, or EncodeError."""
    try:
        values = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if not isinstance(values, dict):
        return
    with contextlib.suppress(EncodeError):
        encode_rtcp(values)


def media(data: bytes) -> None:
    """Any SIP gives a bounded number of places, each of which can be."""
    found = read_media(data)
    assert all(0 < port < 65_536 and address for address, port in found.places)
    places = MediaMap()
    places.note(data)
    places.learn(data)
    places.call_of(Message(b"", 0, "10.0.0.1", 5060, "10.0.0.2", 4_000), {"ssrc": 1})
    assert len(places) <= 200


def topoh(data: bytes) -> None:
    """Any Call-ID gives text; one that is masked gives what it was."""
    _mask.unmask(text_of(data))
    _mask.unmask("!!:" + text_of(data))
    if 0 < len(data) < 1_000:
        assert _mask.decode(masked(data).removeprefix("!!:")) == data
