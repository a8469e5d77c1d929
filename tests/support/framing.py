"""Feeds a framer in any pieces and writes down what comes of it."""

from __future__ import annotations

from collections.abc import Iterable

from sipcap.errors import DecodeError
from sipcap.wire.stream_readers import Framer

Piece = bytes | int
"""Bytes, or a number of bytes that are missing."""

Outcome = list[bytes | str]
"""Messages, those that lack their end behind CUT, and reasons why one is lost."""

CUT = "cut:"


def drain(framer: Framer) -> Outcome:
    """Everything that is there now."""
    seen: Outcome = []
    while True:
        try:
            frame = framer.next_message()
        except DecodeError as error:
            seen.append(error.reason)
            continue
        if frame is None:
            return seen
        assert not frame.is_truncated or frame.payload
        seen += [CUT, frame.payload] if frame.is_truncated else [frame.payload]


def _end(framer: Framer, lost: int) -> Outcome:
    try:
        frame = framer.gap(lost) if lost else framer.close()
    except DecodeError as error:
        return [error.reason]
    if frame is None:
        return []
    return [CUT, frame.payload] if frame.is_truncated else [frame.payload]


def feed(framer: Framer, pieces: Iterable[Piece]) -> Outcome:
    """What these pieces and the end of the stream give."""
    seen: Outcome = []
    for piece in pieces:
        if isinstance(piece, int):
            seen += _end(framer, piece)
        else:
            framer.receive_data(piece)
            seen += drain(framer)
    return seen + _end(framer, 0)
