"""SIP on a byte stream (TCP): bytes in any pieces to whole messages.

Source: RFC 3261 sections 7.5, 18.3 and 20.14; RFC 5626 section 4.4.1 for line ends between messages.

Content-Length ends a message, the first one that is a number. Without one, a stream has no bodies (18.3), but
senders that forget it exist: a message that has a Content-Type reaches to the next start line, for there the
sender says that a body follows; any other ends with its head. What then stands where a message must begin is
refused once, and the next start line is looked for.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.limits import MAX_SIP_MESSAGE_BYTES, MAX_SIP_START_LINE_BYTES
from sipcap.wire.detect import BEGINNINGS, TOKEN, looks_like_sip
from sipcap.wire.sip_head import content_length, has_content_type, head_end
from sipcap.wire.sip_start import STATUS_BYTES, VERSION, candidates, is_start, is_start_line

_BLANKS: Final = b"\r\n\0 \t"
_LEADING = re.compile(rb"[\r\n\0 \t]*+").match
MID_STREAM: Final = "mid_stream"
"""The reason for what is skipped before the first start line of a stream that was picked up on its way."""

_UNKNOWN: Final = -1
_NO_LENGTH: Final = -2


class SipFrame(NamedTuple):
    """One message of a stream.

    Args:
        payload: its bytes, without line ends before it.
        offset: of its first byte in the stream, from the framer's first byte on; lost bytes count.
        is_truncated: its end is missing.
    """

    payload: bytes
    offset: int
    is_truncated: bool = False


class SipFramer:
    """Cuts a stream into SIP messages; knows no time.

    Feed it with ``receive_data``, then call ``next_message`` until it returns None. It then holds less than
    ``MAX_SIP_MESSAGE_BYTES`` and the last piece. ``gap`` says that bytes are missing, ``close`` that no more come.

    Args:
        searching: the stream was picked up on its way: look for a start line first. What lies before it raises
            ``mid_stream`` once.

    Attributes:
        dead: ``MAX_SIP_MESSAGE_BYTES`` were skipped without finding a start line. The framer holds nothing then
            and takes nothing more.
    """

    # A capture has thousands of streams: slots halve what one takes.
    __slots__ = (
        "_at_line", "_base", "_blame", "_body", "_buffer", "_drop", "_has_line", "_length", "_scanned", "_searching",
        "_skipped", "_start", "dead",
    )  # fmt: skip

    def __init__(self, *, searching: bool = False) -> None:
        self.dead = False
        self._buffer = bytearray()
        self._start = 0  # what lies before is used up; it goes once more data is needed
        self._base = 0  # offset of the buffer's first byte in the stream
        self._searching = searching
        self._blame = MID_STREAM if searching else ""  # the reason for bytes that are skipped; "" = told already
        self._at_line = not searching  # a line begins at _start
        self._scanned = 0
        self._skipped = 0
        self._drop = 0  # bytes that are still to come of a message that was given away without them
        self._forget()

    def _forget(self) -> None:
        """Nothing is known of the message that comes next."""
        self._has_line = False
        self._body = 0
        self._length = _UNKNOWN
        self._scanned = self._start

    @property
    def pending(self) -> int:
        """Bytes held."""
        return len(self._buffer) - self._start

    @property
    def position(self) -> int:
        """Offset of the first byte that is still wanted."""
        return self._base + self._start

    @property
    def is_idle(self) -> bool:
        """Whether a message must begin with the next byte, and nothing is held."""
        return not self._buffer and not self._searching and not self._drop and not self.dead

    @property
    def is_searching(self) -> bool:
        """Whether no start line has been found yet."""
        return self._searching

    @property
    def is_open(self) -> bool:
        """Whether a message without Content-Length waits for its end; see ``settle``."""
        return self._length == _NO_LENGTH

    @property
    def skipped(self) -> int:
        """Bytes skipped since the last message."""
        return self._skipped

    def pass_by(self, count: int) -> None:
        """Step over bytes that were looked at elsewhere; only while ``is_idle``."""
        self._base += count
        self._skipped = 0

    def receive_data(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        if self.dead:
            return
        if self._drop:
            dropped = min(self._drop, len(data))
            self._drop -= dropped
            self._base += dropped
            data = data[dropped:]
        self._buffer += data

    def next_message(self) -> SipFrame | None:
        """Return one whole message, or None if more data is needed.

        Raises:
            DecodeError: ``not_sip`` (no start line where one must be), ``too_long`` (a head without end),
                ``gap`` and ``mid_stream`` (bytes of a message whose beginning is not there). Each stands for one
                message that is lost; call again to go on behind it.
        """
        frame = self._take()
        if frame is None and self._start:
            del self._buffer[: self._start]
            self._base += self._start
            self._scanned = max(self._scanned - self._start, 0)
            self._body -= self._start
            self._start = 0
        return frame

    def _take(self) -> SipFrame | None:
        if self.dead or (self._searching and not self._search()):
            return None
        if not self._has_line:
            frame = self._take_usual()
            if frame is not None:
                return frame
            if not self._check_line():
                return None
        if self._length == _UNKNOWN and not self._read_head():
            return None
        return self._cut_body()

    def _take_usual(self) -> SipFrame | None:
        """Take a whole message as nearly all are; what looks different goes through the steps below."""
        buffer, start = self._buffer, self._start
        if not buffer.startswith(BEGINNINGS, start):
            return None
        body = head_end(buffer, start)
        if not body:
            return None
        head = bytes(buffer[start:body])
        length = content_length(head)
        if length is None or not looks_like_sip(head) or b"\n" not in head[:MAX_SIP_START_LINE_BYTES]:
            return None
        end = body + length
        if end > len(buffer) or end - start > MAX_SIP_MESSAGE_BYTES:
            return None
        self._start = self._scanned = end
        self._skipped = 0
        return SipFrame(bytes(buffer[start:end]), self._base + start)

    def _check_line(self) -> bool:
        """Tell whether a start line is there; False if more data is needed."""
        buffer = self._buffer
        match = _LEADING(buffer, self._start)
        self._start = start = match.end() if match is not None else self._start
        self._scanned = max(self._scanned, start)
        if start == len(buffer):
            return False
        end = buffer.find(b"\n", self._scanned, start + MAX_SIP_START_LINE_BYTES)
        if end < 0 and len(buffer) - start < MAX_SIP_START_LINE_BYTES and buffer[start] in TOKEN:
            self._scanned = len(buffer)
            return False
        if end < 0 or not is_start_line(bytes(buffer[start:end])):
            self._lose("not_sip")
        self._scanned = start
        self._has_line = True
        return True

    def _read_head(self) -> bool:
        """Find the head's end and the body's length; False if more data is needed."""
        start = self._start
        body = head_end(self._buffer, max(start, self._scanned - 2))
        if not body:
            if len(self._buffer) - start > MAX_SIP_MESSAGE_BYTES:
                self._lose_head()
            self._scanned = len(self._buffer)
            return False
        if body - start > MAX_SIP_MESSAGE_BYTES:
            self._lose_head()
        head = bytes(self._buffer[start:body])
        length = content_length(head)
        if length is None:
            length = _NO_LENGTH if has_content_type(head) else 0
        self._body, self._length = body, length
        self._scanned = body
        return True

    def _cut_body(self) -> SipFrame | None:
        """Give the message away if its body is whole."""
        if self._length == _NO_LENGTH:
            return self._cut_at_next_start()
        end = self._body + self._length
        if end - self._start > MAX_SIP_MESSAGE_BYTES:
            # No length that can be believed: the head is worth keeping, and the next message is looked for.
            return self._give(self._body, is_truncated=True, blame="")
        return self._give(end) if end <= len(self._buffer) else None

    def _cut_at_next_start(self) -> SipFrame | None:
        found, begin = self._find_start(self._body, is_line=True)
        if found:
            return self._give(begin)
        if len(self._buffer) - self._start > MAX_SIP_MESSAGE_BYTES:
            return self._give(len(self._buffer), is_truncated=True, blame="")
        return None

    def _give(self, end: int, *, is_truncated: bool = False, blame: str | None = None) -> SipFrame:
        """Cut at ``end``; with a ``blame``, what follows must be searched."""
        frame = SipFrame(bytes(self._buffer[self._start : end]), self._base + self._start, is_truncated)
        self._start = end
        self._skipped = 0
        if blame is not None:
            self._search_from_here(blame)
        self._forget()
        return frame

    def _lose_head(self) -> None:
        """Give up a message whose head has no end."""
        self._start = self._buffer.find(b"\n", self._start)
        self._skipped = -MAX_SIP_MESSAGE_BYTES  # what is held of it is no garbage
        self._lose("too_long")

    def _lose(self, reason: str) -> None:
        self._search_from_here("")
        raise DecodeError(reason)

    def _search_from_here(self, blame: str, *, at_line: bool = False) -> None:
        self._searching = True
        self._blame = blame
        self._at_line = at_line
        self._forget()

    def _search(self) -> bool:
        """Go to the next start line that can be believed; False if more data is needed."""
        found, position = self._find_start(self._start, is_line=self._at_line)
        scanned = self._scanned
        # Of what was looked at, the last line may still become a start line.
        self._at_line = position != self._start or self._at_line
        self._searching = not found
        self._skip_to(position)
        self._scanned = max(scanned, position)
        return found and not self.dead

    def _skip_to(self, position: int) -> None:
        """Skip to a position; raises the reason for it if nobody has been told yet."""
        skipped = bytes(self._buffer[self._start : position]).strip(_BLANKS)
        self._skipped += position - self._start
        self._start = position
        self._forget()
        if self._skipped > MAX_SIP_MESSAGE_BYTES:
            self._die()
        if skipped and self._blame:
            reason, self._blame = self._blame, ""
            raise DecodeError(reason)

    def _die(self) -> None:
        self.dead = True
        self._base += len(self._buffer)
        self._buffer.clear()
        self._start = 0

    def _find_start(self, begin: int, *, is_line: bool) -> tuple[bool, int]:
        """Find a start line with a header behind it; ``_scanned`` remembers how far it has looked.

        Returns:
            Whether there is one, and where it begins, or else the first byte that may belong to one.
        """
        buffer = self._buffer
        tried = begin  # nothing before this begins a start line: one line may have the version a thousand times
        while True:
            hit = buffer.find(VERSION, max(self._scanned, begin))
            if hit < 0:
                self._scanned = max(self._scanned, begin, len(buffer) - len(VERSION) + 1)
                return False, max(buffer.rfind(b"\n", begin) + 1, begin, len(buffer) - MAX_SIP_START_LINE_BYTES)
            lowest = max(begin, hit - MAX_SIP_START_LINE_BYTES)
            line = buffer.rfind(b"\n", lowest, hit) + 1 or lowest
            at_line = line > lowest or (is_line and line == begin)
            if len(buffer) < hit + STATUS_BYTES:
                self._scanned = hit
                return False, line
            for candidate in candidates(buffer, max(line, tried), hit, is_line=at_line and line >= tried):
                verdict = is_start(buffer, candidate)
                if verdict is None:
                    self._scanned = hit
                    return False, line
                if verdict:
                    self._scanned = candidate
                    return True, candidate
            self._scanned = tried = hit + len(VERSION)

    def gap(self, lost: int) -> SipFrame | None:
        """Bytes are missing here. Call it when ``next_message`` has returned None.

        Returns:
            The message that the gap cuts, if its head is whole: an engineer prefers an INVITE with half its SDP.

        Raises:
            DecodeError: ``gap``, a message was cut in its head.
        """
        held = len(self._buffer)
        in_drop, self._drop = self._drop, max(self._drop - lost, 0)
        if in_drop:
            if lost > in_drop:
                self._search_from_here("gap")
            self._step_over(held, lost)
            return None
        if self._searching or self.dead:
            self._step_over(held, lost)
            return None
        if self._length == _UNKNOWN:
            is_begun = self._has_line or bool(bytes(self._buffer[self._start :]).strip(_BLANKS))
            self._search_from_here("" if is_begun else "gap")
            self._step_over(held, lost)
            if is_begun:
                raise DecodeError("gap")
            return None
        ends_at = self._body + self._length if self._length >= 0 else _UNKNOWN
        frame = self._give(held, is_truncated=True)
        if ends_at >= held + lost:
            self._drop = ends_at - held - lost  # the stream is in step behind the gap
        else:
            self._search_from_here("" if ends_at == _UNKNOWN else "gap")
        self._step_over(held, lost)
        return frame

    def _step_over(self, held: int, lost: int) -> None:
        self._buffer.clear()
        self._start = 0
        self._base += held + lost
        self._at_line = False
        self._forget()

    def settle(self) -> SipFrame | None:
        """Nothing has come for a while: a message without Content-Length ends here. See ``next_message``."""
        if self._length == _NO_LENGTH and not self._searching and not self.dead:
            return self._give(len(self._buffer))
        return None

    def close(self) -> SipFrame | None:
        """The stream has ended. Call it when ``next_message`` has returned None.

        Returns:
            The last message if it lacks nothing but bytes of its body.

        Raises:
            DecodeError: ``incomplete``, it lacks a part of its head.
        """
        if self._searching or self.dead or self._drop:
            return None
        if self._length != _UNKNOWN:
            return self._give(len(self._buffer), is_truncated=self._length != _NO_LENGTH)
        if bytes(self._buffer[self._start :]).strip(_BLANKS):
            self._step_over(len(self._buffer), 0)
            raise DecodeError("incomplete")
        return None
