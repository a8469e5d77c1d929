"""Targets that take a stream of bytes in pieces."""

from __future__ import annotations

import msgspec

from sipcap.errors import DecodeError, InputError
from sipcap.sources.unpacking import MAGIC_BYTES, UNPACKED_BYTES, unpacker_for
from sipcap.wire.capture_framer import CaptureFramer
from sipcap.wire.capture_frames import Frame
from sipcap.wire.hep_stream import HepFramer
from sipcap.wire.sip_stream import SipFramer
from sipcap.wire.stream_readers import Framer
from sipcap.wire.websocket import WebSocketFramer
from tests.fuzz.cutting import drained, pieces, reason_of

_GAPS = (0, 0, 1, 40, 5_000)


def hep_stream(data: bytes) -> None:
    """Any pieces give the same frames and reasons as the whole, and never hold more than a frame."""
    flags, parts = pieces(data)
    framer, whole = HepFramer(searching=bool(flags & 1)), HepFramer(searching=bool(flags & 1))
    bound = len(data) + 8
    seen = []
    for part in parts:
        framer.receive_data(part)
        seen += drained(framer.next_frame, bound)
        assert framer.pending <= 65_535
    whole.receive_data(b"".join(parts))
    if not framer.dead:
        assert drained(whole.next_frame, bound) == seen


def sip_stream(data: bytes) -> None:
    """Any pieces and gaps give messages as they stand in the stream, in order, and end."""
    flags, _ = pieces(data)
    _feed(SipFramer(searching=bool(flags & 1)), data, is_plain=True)


def websocket(data: bytes) -> None:
    """Any pieces and gaps of WebSocket give messages in order, and end."""
    flags, _ = pieces(data)
    _feed(WebSocketFramer(searching=bool(flags & 1)), data, is_plain=False)


def _feed(framer: Framer, data: bytes, *, is_plain: bool) -> None:
    flags, parts = pieces(data)
    gap = _GAPS[(flags >> 1) % len(_GAPS)]
    stream = bytearray()
    bound = len(data) + 8
    last = 0
    for number, part in enumerate(parts):
        stream += part
        framer.receive_data(part)
        frames = drained(framer.next_message, bound)
        if gap and number % 3 == 2:
            frames += _end(lambda: framer.gap(gap))
            stream += bytes(gap)
        for frame in frames:
            if isinstance(frame, str):
                continue
            assert last <= frame.offset < len(stream), "messages stand in the stream, in order"
            last = frame.offset
            assert not is_plain or stream[last : last + len(frame.payload)] == frame.payload
        assert framer.position <= len(stream)
    _end(framer.close)


def _end(end: object) -> list[object]:
    try:
        frame = end()  # type: ignore[operator]
    except DecodeError as error:
        reason_of(error)
        return [error.reason]
    return [] if frame is None else [frame]


def capture(data: bytes) -> None:
    """Any file, packed or not, gives the same frames and the same error in any pieces; no piece unpacks to much."""
    _, parts = pieces(data)
    whole = b"".join(parts)
    unpacker = unpacker_for(whole[:MAGIC_BYTES]) if len(whole) >= MAGIC_BYTES else None
    if unpacker is not None:
        unpacked: list[bytes] = []
        for part in parts:
            unpacker.feed(part)
            try:
                while (piece := unpacker.read()) and len(unpacked) < 64:
                    assert len(piece) <= 2 * UNPACKED_BYTES
                    unpacked.append(piece)
            except InputError:
                return
            if piece:
                return  # enough of it: the next input would be fed before this one is read
        parts, whole = unpacked, b"".join(unpacked)
    assert _frames(parts) == _frames([whole])


def _frames(parts: list[bytes]) -> tuple[list[Frame], str]:
    framer = CaptureFramer()
    seen: list[Frame] = []
    for part in parts:
        framer.receive_data(part)
        while True:
            try:
                frames = framer.frames(7)
            except DecodeError as error:
                reason_of(error)
                return seen, error.reason
            if not frames:
                break
            seen += frames
    msgspec.json.encode([(ts_us, length) for ts_us, _, length, _ in seen if abs(ts_us) < 1 << 63])
    return seen, ""
