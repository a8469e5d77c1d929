"""WebSocket on a byte stream: frames in any pieces to the messages in them.

Source: RFC 6455 section 5; RFC 7692 for permessage-deflate; RFC 7118: one message is one SIP message.
A reader of captures sees both directions: what is masked and what is not.
"""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.limits import MAX_SIP_MESSAGE_BYTES
from sipcap.wire.websocket_frame import CONTROL, DATA, Header, begins_sip_frame, read_header, unmask

_DEFLATE_END: Final = b"\0\0\xff\xff"  # RFC 7692 section 7.2.2
_MAX_FRAGMENTS: Final = 4_096
"""Frames of one message; empty ones would cost memory that no bound on bytes counts."""

INFLATER_BYTES: Final = 45_000
"""What zlib keeps to inflate: the window of 32 KB and its tables."""


class WebSocketMessage(NamedTuple):
    """The payload of one data message.

    Args:
        payload: unmasked, put together, inflated.
        offset: of the first byte of its first frame in the stream.
        is_truncated: its end is missing.
    """

    payload: bytes
    offset: int
    is_truncated: bool = False


class WebSocketFramer:
    """Cuts one direction of a stream into WebSocket messages; control frames are left out.

    Used as ``SipFramer`` is: ``receive_data``, ``next_message`` until None, ``gap``, ``close``. It holds at most
    one message of ``MAX_SIP_MESSAGE_BYTES`` and the last piece.

    Where frames cannot be told any more, each piece is looked at for one that begins with it: senders write
    whole frames, and nothing else tells where one begins.

    Args:
        searching: the stream was picked up on its way.
    """

    def __init__(self, *, searching: bool = False) -> None:
        self._buffer = bytearray()
        self._start = 0
        self._base = 0
        self._searching = searching
        self._drop = 0
        self._is_dropping = False  # until the last fragment of a message that was given up
        self._parts: list[bytes] = []
        self._size = 0
        self._offset = -1
        self._is_deflated = False
        self._inflater: zlib._Decompress | None = None

    @property
    def pending(self) -> int:
        """Bytes held."""
        return len(self._buffer) + self._size + (INFLATER_BYTES if self._inflater is not None else 0)

    @property
    def position(self) -> int:
        """Offset of the first byte that is still wanted."""
        return self._offset if self._offset >= 0 else self._base + self._start

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._searching:
            if not begins_sip_frame(data):
                self._base += len(data)
                return
            self._searching = False
        if self._drop:
            dropped = min(self._drop, len(data))
            self._drop -= dropped
            self._base += dropped
            data = data[dropped:]
        self._buffer += data

    def next_message(self) -> WebSocketMessage | None:
        """Return one whole message, or None if more data is needed.

        Raises:
            DecodeError: ``websocket`` (no frame where one must be), ``too_long``, ``inflate``. Each stands for one
                message that is lost; call again to go on behind it.
        """
        while True:
            header = self._header()
            if header is None:
                break
            begin = self._start + header.size
            if header.length > MAX_SIP_MESSAGE_BYTES:
                raise self._pass_over(header)
            if begin + header.length > len(self._buffer):
                break
            offset = self._base + self._start
            self._start = begin + header.length
            if header.opcode in CONTROL:
                continue
            data = unmask(bytes(self._buffer[begin : self._start]), header.mask)
            if self._add(header, data, offset) and header.is_final:
                return self._whole()
        del self._buffer[: self._start]
        self._base += self._start
        self._start = 0
        return None

    def _header(self) -> Header | None:
        try:
            return read_header(self._buffer, self._start)
        except DecodeError:
            self._reset()
            self._search()
            raise

    def _pass_over(self, header: Header) -> DecodeError:
        """Step over a frame that is longer than any SIP message."""
        end = self._start + header.size + header.length
        self._drop = max(end - len(self._buffer), 0)
        self._start = min(end, len(self._buffer))
        self._reset()
        self._is_dropping = not header.is_final
        return DecodeError("too_long")

    def _add(self, header: Header, data: bytes, offset: int) -> bool:
        """Put a data frame to its message; False if it belongs to none that is wanted."""
        if header.opcode in DATA:
            self._reset()
            self._is_dropping = False
            self._offset = offset
            self._is_deflated = header.is_deflated
        elif self._is_dropping:
            self._is_dropping = not header.is_final
            return False
        elif self._offset < 0:
            self._is_dropping = not header.is_final
            raise DecodeError("websocket")
        self._size += len(data)
        self._parts.append(data)
        if self._size > MAX_SIP_MESSAGE_BYTES or len(self._parts) > _MAX_FRAGMENTS:
            self._reset()
            self._is_dropping = not header.is_final
            raise DecodeError("too_long")
        return True

    def _whole(self) -> WebSocketMessage:
        payload, offset = b"".join(self._parts), self._offset
        is_deflated = self._is_deflated
        self._reset()
        if is_deflated:
            payload = self._inflate(payload)
        return WebSocketMessage(payload, offset)

    def _inflate(self, data: bytes) -> bytes:
        """Inflate one message; the window of those before it stays, whether the sender uses it or not."""
        inflater = self._inflater or zlib.decompressobj(-15)
        try:
            payload = inflater.decompress(data + _DEFLATE_END, MAX_SIP_MESSAGE_BYTES)
        except zlib.error:
            self._inflater = None
            raise DecodeError("inflate") from None
        if inflater.unconsumed_tail:
            self._inflater = None
            raise DecodeError("inflate")
        self._inflater = None if inflater.eof else inflater
        return payload

    def _reset(self) -> None:
        self._parts = []
        self._size = 0
        self._offset = -1

    def _search(self) -> None:
        self._base += len(self._buffer)
        self._buffer.clear()
        self._start = 0
        self._searching = True

    def gap(self, lost: int) -> WebSocketMessage | None:
        """Bytes are missing here. Call it when ``next_message`` has returned None.

        Returns:
            What is there of the message that the gap cuts.

        Raises:
            DecodeError: ``gap``, nothing is there of it.
        """
        if self._searching or 0 < lost <= self._drop:
            self._drop = max(self._drop - lost, 0)
            self._base += lost
            return None
        if self._drop:
            self._drop = 0
            self._search()
            self._base += lost
            return None
        offset, is_begun = self._base, bool(self._buffer)
        header, data = self._partial()
        self._search()
        self._base += lost
        rest = -1 if header is None else header.length - len(data) - lost
        if rest >= 0:  # the next frame begins behind what is missing of this one
            self._searching = False
            self._drop = rest
        if header is not None and header.opcode in CONTROL:
            return None if rest >= 0 else self._cut("gap", is_begun=False)
        if header is not None:
            self._begin_cut(header, data, offset)
        return self._cut("gap", is_begun=is_begun)

    def close(self) -> WebSocketMessage | None:
        """The stream has ended. Call it when ``next_message`` has returned None.

        Returns:
            What is there of the last message.

        Raises:
            DecodeError: ``incomplete``, nothing is there of it.
        """
        if self._searching or self._drop:
            return None
        offset, is_begun = self._base, bool(self._buffer)
        header, data = self._partial()
        self._base += len(self._buffer)
        self._buffer.clear()
        if header is not None and header.opcode in CONTROL:
            is_begun = False
        elif header is not None:
            self._begin_cut(header, data, offset)
        return self._cut("incomplete", is_begun=is_begun)

    def _partial(self) -> tuple[Header | None, bytes]:
        """The frame that is not whole yet, and what is there of its payload."""
        header = read_header(self._buffer, 0)
        if header is None:
            return None, b""
        return header, unmask(bytes(self._buffer[header.size :]), header.mask)

    def _begin_cut(self, header: Header, data: bytes, offset: int) -> None:
        """Put what is there of a data frame to its message."""
        if header.opcode in DATA:
            self._reset()
            self._offset = offset
            self._is_deflated = header.is_deflated
        if header.opcode in DATA or not self._is_dropping:
            self._parts.append(data)
        self._is_dropping = not header.is_final

    def _cut(self, reason: str, *, is_begun: bool) -> WebSocketMessage | None:
        """Make a message of what is there of it."""
        inflater, self._inflater = self._inflater, None
        is_begun = is_begun or self._offset >= 0
        payload, offset = b"".join(self._parts), self._offset
        self._reset()
        if self._is_deflated and payload:
            payload = _inflate_beginning(inflater, payload)
        if payload and offset >= 0:
            return WebSocketMessage(payload, offset, is_truncated=True)
        if is_begun:
            raise DecodeError(reason)
        return None


def _inflate_beginning(inflater: zlib._Decompress | None, data: bytes) -> bytes:
    try:
        return (inflater or zlib.decompressobj(-15)).decompress(data, MAX_SIP_MESSAGE_BYTES)
    except zlib.error:
        return b""
