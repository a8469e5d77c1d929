"""The TCP connections of a capture: a bounded table of streams.

Half-open connections take no room in it, and those known to be no SIP nearly none. Nothing that is pushed out is
lost without being told: its segments are handed on as far as they go, and a connection that goes on is picked
up on its way.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import Final

from sipcap.limits import (
    TCP_CONNECTIONS,
    TCP_GAP_US,
    TCP_IDLE_US,
    TCP_IGNORED,
    TCP_OPENINGS,
    TCP_REORDER_US,
    TCP_TOTAL_BYTES,
)
from sipcap.wire.flow import Connection, Flow, Key, User
from sipcap.wire.segments import Piece, Reassembly
from sipcap.wire.tcp import ACK, FIN, RST, SYN, Segment

_UNUSUAL: Final = SYN | FIN | RST
_MASK: Final = 0xFFFF_FFFF
_LINGER_US: Final = 30_000_000
"""How long an ended connection is kept, so that late retransmissions do not pass for a new one."""

_SWEEP_US: Final = TCP_REORDER_US // 2
_IDLE_SWEEP_US: Final = 10_000_000


class Connections:
    """Sorts segments into streams.

    Args:
        user: gets them.

    Attributes:
        held: bytes held of all streams.
        conflicts: retransmissions that differ from what came first.
        gaps: holes that were given up.
        strays: segments whose numbers fit into no connection.
        evicted: connections given up for others.
    """

    def __init__(self, user: User) -> None:
        self.held = 0
        self.conflicts = 0
        self.gaps = 0
        self.strays = 0
        self.evicted = 0
        self._user = user
        self._flows: dict[Key, Flow] = {}
        self._openings: dict[Key, int] = {}  # where the stream begins that a SYN has announced
        self._ignored: dict[Key, None] = {}
        self._waiting: dict[Flow, None] = {}
        self._next_sweep_us = 0
        self._next_idle_us = 0

    def __len__(self) -> int:
        """How many connections are followed."""
        return len(self._flows) // 2

    def receive(self, segment: Segment) -> None:
        """Take one segment; what comes of it goes to the user before this returns."""
        ts_us, flags = segment.ts_us, segment.flags
        flow = self._flows.get(segment[1:6])
        if flow is None:
            flow = self._begin(segment)
            if flow is None:
                return
        elif flags & SYN and not self._is_beginning(flow, segment):
            return
        flow.connection.last_us = ts_us
        if segment.payload or segment.missing:
            # Nearly every segment is the next one and one message: there is nothing to put together or to account for.
            segments = flow.segments
            if not segment.missing and segments.is_next(segment.sequence) and self._user.take_whole(flow, segment):
                segments.pass_by(segment.payload)
            else:
                self._add(flow, segment)
        if flags & ACK and flow.peer.segments.is_waiting:
            self._acknowledge(flow.peer, segment)
        if flags & _UNUSUAL:
            self._end_if_told(flow, segment)
        if ts_us >= self._next_sweep_us or ts_us < self._next_sweep_us - _IDLE_SWEEP_US:
            self.expire(ts_us)

    def _begin(self, segment: Segment) -> Flow | None:
        """Begin to follow a connection, with its first payload; None if there is nothing to follow yet."""
        key = segment[1:6]
        flags = segment.flags
        source, source_port, destination, destination_port, scope = key
        if source_port == destination_port and source == destination:
            self.strays += 1  # to itself, as an attack sends it: there would be no telling its directions apart
            return None
        if flags & SYN:
            self._ignored.pop(key, None)
            self._ignored.pop((destination, destination_port, source, source_port, scope), None)
            self._openings.pop(key, None)
            if len(self._openings) >= TCP_OPENINGS:
                del self._openings[next(iter(self._openings))]
            self._openings[key] = (segment.sequence + 1) & _MASK
        if not segment.payload or flags & RST or key in self._ignored:
            return None
        if len(self) >= TCP_CONNECTIONS:
            self._make_room()
        return self._follow(key, segment.ts_us)

    def _follow(self, key: Key, ts_us: int) -> Flow:
        connection = Connection(key, ts_us, is_midstream=True)
        for flow in connection.flows:
            begin = self._openings.pop(flow.key, None)
            if begin is not None:
                connection.is_midstream = False
                flow.segments.anchor(begin)
            self._flows[flow.key] = flow
        return connection.flows[0]

    def _is_beginning(self, flow: Flow, segment: Segment) -> bool:
        """Take a SYN; False if it begins another connection of the same ports, and nothing is left to do."""
        begin = (segment.sequence + 1) & _MASK
        if flow.segments.can_begin_at(begin):
            flow.connection.is_midstream = False
            self._hand_on(flow, flow.segments.anchor(begin))
            return True
        self._end(flow.connection)
        following = self._begin(segment)
        if following is not None:
            self._add(following, segment)
        return False

    def _add(self, flow: Flow, segment: Segment) -> None:
        sequence = (segment.sequence + 1) & _MASK if segment.flags & SYN else segment.sequence
        segments = flow.segments
        if sequence != segments.next & _MASK and segments.is_far(sequence):
            self._take_stray(flow, segment)
            return
        pieces = segments.add(sequence, segment.payload, segment.ts_us, segment.fields, segment.missing)
        self._hand_on(flow, pieces)

    def _take_stray(self, flow: Flow, segment: Segment) -> None:
        """Take a segment far away: two that follow each other are another connection, whose SYN was not seen."""
        stray = flow.stray
        if stray is None or segment.sequence != (stray.sequence + len(stray.payload) + stray.missing) & _MASK:
            if stray is None or segment.sequence != stray.sequence:
                self.strays += 1
                flow.stray = segment
            return
        self.strays -= 1
        self._end(flow.connection)
        self.receive(stray)
        self.receive(segment)

    def _acknowledge(self, flow: Flow, segment: Segment) -> None:
        segments = flow.segments
        known = flow.acknowledged
        if known < 0 or segments.position(segment.acknowledgement) > segments.position(known):
            flow.acknowledged = segment.acknowledgement
        self._hand_on(flow, segments.expire(segment.ts_us, flow.acknowledged))

    def _end_if_told(self, flow: Flow, segment: Segment) -> None:
        """Take FIN and RST."""
        segments = flow.segments
        if segment.flags & RST:
            if not segments.next or not segments.is_far(segment.sequence):
                for each in flow.connection.flows:
                    self._hand_on(each, each.segments.flush())
                for each in flow.connection.flows:
                    self._close(each)
        elif segment.flags & FIN and not flow.is_gone:
            if not segments.next:
                self._close(flow)
            elif not segments.is_far(segment.sequence):
                size = len(segment.payload) + segment.missing + bool(segment.flags & SYN)
                segments.end = segments.position(segment.sequence) + size
                self._hand_on(flow, [])

    def _hand_on(self, flow: Flow, pieces: list[Piece]) -> None:
        """Give the user what is in order, and account for what is held."""
        if flow.is_gone:
            return
        segments = flow.segments
        if pieces:
            self._user.take(flow, pieces)
            if not self._follows(flow):
                return  # the user does not want it
        if segments.conflicts or segments.gaps:
            self._collect(segments)
        self._account(flow)
        if segments.end and segments.has_ended:
            self._close(flow)
        if self.held > TCP_TOTAL_BYTES:
            self._make_space()

    def _follows(self, flow: Flow) -> bool:
        return not flow.is_gone

    def _account(self, flow: Flow) -> None:
        cost = flow.segments.cost + flow.pending
        if cost != flow.cost:
            self.held += cost - flow.cost
            flow.cost = cost
        if flow.is_open or flow.segments.is_waiting:
            self._waiting[flow] = None

    def _collect(self, segments: Reassembly) -> None:
        self.conflicts += segments.conflicts
        self.gaps += segments.gaps
        segments.conflicts = segments.gaps = 0

    def _close(self, flow: Flow) -> None:
        if flow.is_closed or flow.is_gone:
            return
        flow.is_closed = True
        flow.connection.is_ended = flow.peer.is_closed
        self._user.close(flow)
        if self._follows(flow):
            self._account(flow)

    def _end(self, connection: Connection) -> None:
        """Hand on what is held of a connection, and forget it."""
        connection.is_ended = True
        for flow in connection.flows:
            pieces = flow.segments.flush()
            self._collect(flow.segments)
            if pieces and not flow.is_gone:
                self._user.take(flow, pieces)
        for flow in connection.flows:
            if not flow.is_gone:
                self._user.close(flow)
        self._remove(connection)

    def _remove(self, connection: Connection) -> None:
        for flow in connection.flows:
            if not flow.is_gone:
                flow.is_gone = True
                self.held -= flow.cost
                flow.cost = 0
                flow.reader = None
                self._waiting.pop(flow, None)
                del self._flows[flow.key]

    def ignore(self, connection: Connection) -> None:
        """The user does not want a connection: it costs almost nothing from now on."""
        self._remove(connection)
        for flow in connection.flows:
            if len(self._ignored) >= TCP_IGNORED:
                del self._ignored[next(iter(self._ignored))]
            self._ignored[flow.key] = None

    def expire(self, now_us: int) -> None:
        """Give up what has waited for too long by the packets' time."""
        self._next_sweep_us = now_us + _SWEEP_US
        for flow in list(self._waiting):
            if flow.is_gone:
                continue
            if flow.segments.is_waiting:
                self._hand_on(flow, flow.segments.expire(now_us, flow.acknowledged))
            if flow.is_open and abs(now_us - flow.connection.last_us) >= TCP_GAP_US:
                self._user.settle(flow)
                self._account(flow)
            if not flow.is_open and not flow.segments.is_waiting:
                flow.acknowledged = -1
                self._waiting.pop(flow, None)
        if not self._next_idle_us - _IDLE_SWEEP_US <= now_us < self._next_idle_us:
            self._next_idle_us = now_us + _IDLE_SWEEP_US
            for connection in self._all():
                idle_us = now_us - connection.last_us
                if idle_us > (_LINGER_US if connection.is_ended else TCP_IDLE_US):
                    self._end(connection)

    def _all(self) -> list[Connection]:
        return [flow.connection for flow in self._flows.values() if flow is flow.connection.flows[0]]

    def _make_room(self) -> None:
        """Give up a sixteenth of the connections: those that have ended, and those silent longest."""
        for connection in nsmallest(
            max(TCP_CONNECTIONS // 16, 1), self._all(), key=lambda each: (not each.is_ended, each.last_us)
        ):
            self.evicted += not connection.is_ended
            self._end(connection)

    def _make_space(self) -> None:
        """Give up an eighth of the bytes held: those of the connections silent longest."""
        holding = [each for each in self._all() if each.flows[0].cost or each.flows[1].cost]
        for connection in sorted(holding, key=lambda each: each.last_us):
            if self.held <= TCP_TOTAL_BYTES // 8 * 7:
                break
            self.evicted += 1
            self._end(connection)

    def finish(self) -> None:
        """No segment will follow: hand on everything, and forget everything."""
        for connection in self._all():
            self._end(connection)
        self._openings.clear()
        self._ignored.clear()
        self._next_sweep_us = self._next_idle_us = 0
