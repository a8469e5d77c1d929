"""TCP segments to the SIP and HEP messages in their streams.

A connection is SIP, WebSocket, HEP or TLS by the bytes that one of its directions begins with, or, where its
beginning was not seen, by a start line further on. One in which nothing is found within a bound is ignored.
A message's time is that of the packet with its first byte: it is when the sender began to send it, and
what a retransmission or a late second segment does not change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from typing import Final

from sipcap.limits import TCP_LOOK_BYTES, TCP_LOOK_MIDSTREAM_BYTES, TCP_PIECE_BYTES
from sipcap.wire.connections import Connections
from sipcap.wire.detect import begins_like_sip, looks_like_sip
from sipcap.wire.flow import Connection, Flow
from sipcap.wire.ip import TCP
from sipcap.wire.message import Message
from sipcap.wire.segments import Piece
from sipcap.wire.sip_stream import MID_STREAM
from sipcap.wire.stream_kind import BLANKS, Kind, http_head, kind_of
from sipcap.wire.stream_readers import Found, HepReader, MessageReader, SipReader, WebSocketReader
from sipcap.wire.tcp import Segment

WEBSOCKET_PROTO: Final = 5
"""The ``proto`` column of SIP over WebSocket (spec 3.1); the IP protocol is TCP all the same."""

_LOOKS: Final = 16
"""Pieces of a stream picked up on its way that are looked at for a beginning, not only for a start line."""

_MAX_STRANGE: Final = 8
"""WebSocket messages without SIP, and none with it before: another application."""


class _Beginning:
    """The first bytes of a direction, until somebody knows what they are."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.pending = 0

    @property
    def data(self) -> bytes:
        """All bytes so far."""
        return b"".join(each.data for each in self.pieces)

    def add(self, piece: Piece) -> None:
        """Keep a piece."""
        self.pieces.append(piece)
        self.pending += len(piece.data) + TCP_PIECE_BYTES


class StreamMessages:
    """Turns TCP segments into messages. It knows no time but that of the packets.

    Args:
        ports: only messages with one of these ports are wanted.

    Attributes:
        skipped: connections, by why nothing is seen of them: ``tcp`` (no SIP), ``tls``, ``ports``. And what is no
            message of its own: ``tcp_gap`` (holes), ``tcp_conflict`` (retransmissions with other content),
            ``tcp_stray`` (segments that fit into no connection), ``tcp_tail`` (ends of messages that began
            before the capture), ``tcp_evicted`` (connections given up for want of room), ``websocket``
            (messages without SIP).
        rejected: messages that are lost, by reason: ``gap`` (the capture lacks too much of it), ``incomplete`` (the
            stream ended in its head), ``not_sip`` (no start line where one must be), ``too_long``, ``websocket``,
            ``inflate``, or a reason of HEP.
        filtered: HEP messages without a wanted port.
        truncated: messages returned that lack their end.
    """

    def __init__(self, ports: Container[int] | None = None) -> None:
        self.skipped: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self.truncated = 0
        self._ports = ports
        self._connections = Connections(self)
        self._messages: list[Message] = []

    @property
    def held(self) -> int:
        """Bytes held of all streams, with what holding them costs."""
        return self._connections.held

    def __len__(self) -> int:
        """How many connections are followed."""
        return len(self._connections)

    def receive(self, segment: Segment) -> list[Message]:
        """Take one segment; returns the messages that are whole now."""
        self._connections.receive(segment)
        return self._hand_over() if self._messages else []

    def expire(self, now_us: int) -> list[Message]:
        """Give up what has waited for too long.

        Args:
            now_us: the packets' time.
        """
        self._connections.expire(now_us)
        return self._hand_over()

    def finish(self) -> list[Message]:
        """Give up everything that is not whole: no segment will follow these. Those of another capture may."""
        self._connections.finish()
        return self._hand_over()

    def _hand_over(self) -> list[Message]:
        connections = self._connections
        if connections.gaps or connections.conflicts or connections.strays or connections.evicted:
            self.skipped["tcp_gap"] += connections.gaps
            self.skipped["tcp_conflict"] += connections.conflicts
            self.skipped["tcp_stray"] += connections.strays
            self.skipped["tcp_evicted"] += connections.evicted
            connections.gaps = connections.conflicts = connections.strays = connections.evicted = 0
        messages, self._messages = self._messages, []
        return messages

    # What Connections calls

    def take_whole(self, flow: Flow, segment: Segment) -> bool:
        """See ``flow.User``."""
        reader = flow.reader
        if type(reader) is not SipReader or not reader.is_whole(segment.payload):
            return False
        self._add(flow, segment.payload, segment.ts_us, segment.fields)
        return True

    def take(self, flow: Flow, pieces: list[Piece]) -> None:
        """See ``flow.User``."""
        for piece in pieces:
            self._take(flow, piece)
            if flow.is_gone:
                return
        reader = flow.reader
        flow.pending = reader.pending
        flow.is_open = type(reader) is SipReader and reader.framer.is_open

    def settle(self, flow: Flow) -> None:
        """See ``flow.User``."""
        if isinstance(flow.reader, MessageReader):
            self._read(flow, flow.reader.settle())
            flow.pending = flow.reader.pending
        flow.is_open = False

    def close(self, flow: Flow) -> None:
        """See ``flow.User``."""
        connection = flow.connection
        if connection.kind is None:
            if not connection.is_ended:
                return  # the other direction may tell what it is
            self._give_up(connection)
            self._close(flow.peer)
        self._close(flow)

    def _give_up(self, connection: Connection) -> None:
        """A connection has ended of which too few bytes were seen to tell, unless they begin a start line."""
        is_blank = True
        for flow in connection.flows:
            reader = flow.reader
            data = reader.data.strip(BLANKS) if isinstance(reader, _Beginning) else b"?" if reader else b""
            if begins_like_sip(data):
                self._decide(flow, Kind.SIP)
                return
            is_blank = is_blank and not data
        connection.kind = Kind.OTHER
        self.skipped["tcp"] += not is_blank

    def _close(self, flow: Flow) -> None:
        reader = flow.reader
        if flow.connection.kind is Kind.OTHER or isinstance(reader, _Beginning):
            flow.reader = None
        elif isinstance(reader, MessageReader):
            self._read(flow, reader.close())
        elif isinstance(reader, HepReader):
            self._read_hep(flow, reader.close())
        flow.pending = 0
        flow.is_open = False

    # One piece

    def _take(self, flow: Flow, piece: Piece) -> None:
        if flow.is_gone:
            return
        reader = flow.reader
        if reader is None:
            reader = flow.reader = self._new_reader(flow)
        if isinstance(reader, _Beginning):
            self._look(flow, reader, piece)
        elif isinstance(reader, HepReader):
            self._read_hep(flow, reader.read(piece))
            if reader.is_dead:
                self._ignore(flow.connection, "tcp")
        elif flow.connection.kind is None:
            self._search(flow, reader, piece)
        else:
            self._read(flow, reader.read(piece))
            if type(reader) is SipReader and reader.framer.dead:
                self._ignore(flow.connection, "tcp")

    def _new_reader(self, flow: Flow) -> _Beginning | SipReader | HepReader:
        """The reader of a direction of which nothing was seen before."""
        kind = flow.connection.kind
        if kind is Kind.SIP:
            return SipReader(searching=not flow.is_from_start)
        if kind is Kind.HEP:
            return HepReader(searching=True)
        return _Beginning()

    def _look(self, flow: Flow, beginning: _Beginning, piece: Piece) -> None:
        """Look at the first bytes of a direction."""
        if piece.lost:
            beginning.pieces.clear()
            beginning.pending = 0
        if not piece.data:
            return
        beginning.add(piece._replace(lost=0))
        data = beginning.data
        if flow.connection.kind is Kind.WEBSOCKET:
            self._begin_websocket(flow, beginning, data)
            return
        kind = kind_of(data)
        if kind is Kind.WAIT and len(data) <= TCP_LOOK_BYTES:
            return
        if kind is Kind.SIP and not flow.is_from_start and not begins_like_sip(data.lstrip(BLANKS)):
            kind = Kind.OTHER  # the method of a start line may be the end of another word
        if kind in (Kind.WAIT, Kind.OTHER):
            flow.reader = SipReader(searching=True)
            for each in beginning.pieces:
                self._take(flow, each)
        else:
            self._decide(flow, kind)

    def _search(self, flow: Flow, reader: SipReader, piece: Piece) -> None:
        """Look for a start line in a direction that began with none."""
        if not flow.is_from_start and flow.looks < _LOOKS:
            flow.looks += 1
            kind = kind_of(piece.data)
            if kind in (Kind.TLS, Kind.HEP, Kind.WEBSOCKET):
                beginning = flow.reader = _Beginning()
                beginning.add(piece)
                self._decide(flow, kind)
                return
        found = list(reader.read(piece))
        framer = reader.framer
        flow.has_tail = flow.has_tail or any(each.reason == MID_STREAM for each in found)
        if not framer.is_searching or any(not each.reason for each in found):
            if self._decide(flow, Kind.SIP):
                self.skipped["tcp_tail"] += flow.has_tail and not flow.is_from_start
                self._read(flow, [each for each in found if each.reason != MID_STREAM])
        elif framer.dead or framer.skipped > (TCP_LOOK_BYTES if flow.is_from_start else TCP_LOOK_MIDSTREAM_BYTES):
            self._ignore(flow.connection, "tcp")

    # What a connection is

    def _decide(self, flow: Flow, kind: Kind) -> bool:
        """One direction says what its connection is; False if nobody wants it."""
        connection = flow.connection
        if kind is Kind.TLS or (kind is not Kind.HEP and not self._is_wanted(flow)):
            self._ignore(connection, "tls" if kind is Kind.TLS else "ports")
            return False
        connection.kind = kind
        for each in (flow, flow.peer):
            beginning = each.reader
            if isinstance(beginning, _Beginning):
                if kind is Kind.WEBSOCKET:
                    self._begin_websocket(each, beginning, beginning.data)
                    continue
                each.reader = (
                    HepReader(searching=each is not flow) if kind is Kind.HEP else self._sip_reader(each, flow)
                )
                for piece in beginning.pieces:
                    self._take(each, piece)
            elif each is not flow and isinstance(beginning, MessageReader) and kind is not Kind.SIP:
                each.reader = WebSocketReader(searching=True) if kind is Kind.WEBSOCKET else HepReader(searching=True)
        return True

    def _sip_reader(self, flow: Flow, decider: Flow) -> SipReader:
        return SipReader(searching=flow is not decider and not flow.is_from_start)

    def _begin_websocket(self, flow: Flow, beginning: _Beginning, data: bytes) -> None:
        """Step over the HTTP head of one direction, once it is whole."""
        head = http_head(data)
        if head is None:
            if len(data) > TCP_LOOK_BYTES:
                self._ignore(flow.connection, "tcp")
            return
        if data.startswith(b"HTTP/") and not data.startswith(b"HTTP/1.1 101"):
            self._ignore(flow.connection, "tcp")  # the server did not change to WebSocket
            return
        flow.reader = WebSocketReader(searching=not head and not flow.is_from_start)
        for piece in beginning.pieces:
            rest = piece.data[head:]
            head = max(head - len(piece.data), 0)
            if rest:
                self._take(flow, piece._replace(data=rest))

    def _is_wanted(self, flow: Flow) -> bool:
        return self._ports is None or flow.source_port in self._ports or flow.destination_port in self._ports

    def _ignore(self, connection: Connection, reason: str) -> None:
        self.skipped[reason] += 1
        connection.kind = Kind.OTHER
        self._connections.ignore(connection)

    # Messages

    def _read(self, flow: Flow, found: Iterable[Found]) -> None:
        for each in found:
            if each.reason == MID_STREAM:
                self.skipped["tcp_tail"] += 1
            elif each.reason:
                self.rejected[each.reason] += 1
            elif flow.connection.kind is Kind.WEBSOCKET and not looks_like_sip(each.payload):
                self._take_strange(flow, each.payload)
            else:
                self.truncated += each.is_truncated
                self._add(flow, each.payload, each.ts_us, each.fields)

    def _take_strange(self, flow: Flow, payload: bytes) -> None:
        """Take a WebSocket message that is no SIP: a keep-alive (RFC 7118 appendix), or another application's."""
        if not payload.strip(BLANKS):
            return
        self.skipped["websocket"] += 1
        flow.looks += 1
        if flow.looks == _MAX_STRANGE and not flow.has_sip and not flow.peer.has_sip:
            self._ignore(flow.connection, "tcp")

    def _add(self, flow: Flow, payload: bytes, ts_us: int, fields: dict[str, object]) -> None:
        extra = fields.copy()
        if flow.connection.kind is Kind.WEBSOCKET:
            extra["proto"] = WEBSOCKET_PROTO
            flow.has_sip = True
        message = Message(
            payload, ts_us, flow.source_ip, flow.source_port, flow.destination_ip, flow.destination_port, TCP,
            flow.family, extra=extra,
        )  # fmt: skip
        self._messages.append(message)

    def _read_hep(self, flow: Flow, found: Iterable[Message | str]) -> None:
        ports = self._ports
        for each in found:
            if isinstance(each, str):
                self.rejected[each] += 1
            elif ports is None or any(
                port in ports
                for port in (each.source_port, each.destination_port, flow.source_port, flow.destination_port)
            ):
                self._messages.append(each)
            else:
                self.filtered["ports"] += 1
