"""Readers of one direction of a TCP stream: pieces in order to SIP or HEP messages with their times."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from sipcap.errors import DecodeError
from sipcap.limits import TCP_PIECE_BYTES
from sipcap.wire.hep import decode_datagram
from sipcap.wire.hep_stream import HepFramer
from sipcap.wire.message import Message
from sipcap.wire.segments import Piece
from sipcap.wire.sip_head import head_end, is_one_message
from sipcap.wire.sip_stream import SipFrame, SipFramer
from sipcap.wire.websocket import WebSocketFramer, WebSocketMessage


class Found(NamedTuple):
    """One message of a stream, or the reason why one is lost.

    Args:
        reason: "" for a message.
        payload: of a message.
        ts_us: when the packet with its first byte was captured.
        fields: of that packet.
        is_truncated: its end is missing.
    """

    reason: str
    payload: bytes = b""
    ts_us: int = 0
    fields: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    is_truncated: bool = False


class Framer(Protocol):
    """What cuts a stream into messages: SipFramer, WebSocketFramer."""

    @property
    def pending(self) -> int:
        """Bytes held."""

    @property
    def position(self) -> int:
        """Offset of the first byte that is still wanted."""

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes."""

    def next_message(self) -> SipFrame | WebSocketMessage | None:
        """The next message; None if more data is needed."""

    def gap(self, lost: int) -> SipFrame | WebSocketMessage | None:
        """Bytes are missing here."""

    def close(self) -> SipFrame | WebSocketMessage | None:
        """No more bytes come."""


class MessageReader:
    """Finds messages with a framer, and remembers when their first bytes came.

    Args:
        framer: new.
    """

    __slots__ = ("_marks", "_offset", "framer")

    def __init__(self, framer: Framer) -> None:
        self.framer = framer
        self._offset = 0
        self._marks: list[tuple[int, int, dict[str, Any]]] = []  # offset, time and fields of each piece

    @property
    def pending(self) -> int:
        """Bytes held, with what holding them costs."""
        return self.framer.pending + len(self._marks) * TCP_PIECE_BYTES

    def read(self, piece: Piece) -> Iterator[Found]:
        """Take the next bytes of the stream, and give what is whole now."""
        if piece.lost:
            yield from self._end(piece.lost)
            self._offset += piece.lost
        if piece.data:
            self._marks.append((self._offset, piece.ts_us, piece.fields))
            self._offset += len(piece.data)
            self.framer.receive_data(piece.data)
            yield from self._drain()

    def _drain(self) -> Iterator[Found]:
        while True:
            try:
                frame = self.framer.next_message()
            except DecodeError as error:
                yield Found(error.reason)
                continue
            if frame is None:
                break
            yield self._found(frame)
        position = self.framer.position
        if position >= self._offset:
            self._marks.clear()
        else:
            del self._marks[: self._mark_of(position)]

    def _mark_of(self, offset: int) -> int:
        """Which piece has the byte at an offset."""
        return max(bisect_right(self._marks, offset, key=_first) - 1, 0)

    def _end(self, lost: int) -> Iterator[Found]:
        """The stream breaks off, and goes on behind ``lost`` bytes; or it ends, if that is 0."""
        try:
            frame = self.framer.gap(lost) if lost else self.framer.close()
        except DecodeError as error:
            yield Found(error.reason)
        else:
            if frame is not None:
                found = self._found(frame)
                # Without a whole head nobody knows which call it belongs to.
                yield (
                    found
                    if not frame.is_truncated or head_end(frame.payload)
                    else Found("gap" if lost else "incomplete")
                )
        self._marks.clear()

    def _found(self, frame: SipFrame | WebSocketMessage) -> Found:
        _, ts_us, fields = self._marks[self._mark_of(frame.offset)]
        return Found("", frame.payload, ts_us, fields, frame.is_truncated)

    def settle(self) -> Iterator[Found]:
        """Nothing has come for a while."""
        return iter(())

    def close(self) -> Iterator[Found]:
        """The stream has ended, or is given up."""
        yield from self._end(0)


def _first(mark: tuple[int, int, dict[str, Any]]) -> int:
    return mark[0]


class SipReader(MessageReader):
    """SIP as it is.

    Args:
        searching: the stream was picked up on its way.
    """

    framer: SipFramer
    __slots__ = ()

    def __init__(self, *, searching: bool = False) -> None:
        super().__init__(SipFramer(searching=searching))

    def is_whole(self, data: bytes) -> bool:
        """Tell whether the next bytes are one message, and nothing waits before them; they are taken then."""
        framer = self.framer
        if not framer.is_idle or not is_one_message(data):
            return False
        size = len(data)
        framer.pass_by(size)
        self._offset += size
        return True

    def settle(self) -> Iterator[Found]:
        """A message without Content-Length ends here."""
        frame = self.framer.settle()
        if frame is not None:
            yield self._found(frame)
            yield from self._drain()


class WebSocketReader(MessageReader):
    """SIP over WebSocket, behind the handshake.

    Args:
        searching: the stream was picked up on its way.
    """

    __slots__ = ()

    def __init__(self, *, searching: bool = False) -> None:
        super().__init__(WebSocketFramer(searching=searching))


class HepReader:
    """HEPv3 as agents send it over TCP."""

    def __init__(self, *, searching: bool = False) -> None:
        self._framer = HepFramer(searching=searching)

    @property
    def pending(self) -> int:
        """Bytes held."""
        return self._framer.pending

    @property
    def is_dead(self) -> bool:
        """Whether no HEP was found for too long."""
        return self._framer.dead

    def read(self, piece: Piece) -> Iterator[Message | str]:
        """Take the next bytes of the stream; gives messages, and reasons why one is lost."""
        framer = self._framer
        if piece.lost:
            yield "gap"  # at least one: HEP has no keep-alives
            self._framer = framer = HepFramer(searching=True)
        framer.receive_data(piece.data)
        while True:
            try:
                frame = framer.next_frame()
            except DecodeError as error:
                yield error.reason
                continue
            if frame is None:
                break
            messages: list[Message] = []
            try:
                decode_datagram(frame, messages, piece.ts_us)
            except DecodeError as error:
                yield error.reason
            for message in messages:
                message.ts_us = message.ts_us or piece.ts_us
                yield message

    def close(self) -> Iterator[Message | str]:
        """The stream has ended, or is given up."""
        if self._framer.pending:
            yield "incomplete"
        self._framer = HepFramer()
