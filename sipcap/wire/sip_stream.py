"""SIP on a byte stream (TCP): bytes in any pieces to whole messages.

Source: RFC 3261 sections 7.5, 18.3 and 20.14; RFC 5626 section 4.4.1 for line ends between messages.

Content-Length ends a message, the first one that is a number. Without one, a stream has no bodies (18.3), but
senders that forget it exist: a message that has a Content-Type reaches to the next start line, for there the
sender says that a body follows; any other ends with its head. What then stands where a message must begin is
refused once, and the next start line is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from sipcap.errors import DecodeError
from sipcap.limits import MAX_SIP_MESSAGE_BYTES, MAX_SIP_START_LINE_BYTES
from sipcap.wire.detect import BEGINNINGS, TOKEN, begins_like_sip, looks_like_sip

_BLANKS: Final = b"\r\n\0 \t"
_LEADING = re.compile(rb"[\r\n\0 \t]*+").match
_LENGTH = re.compile(
    rb"\n(?:content-length|l)[ \t]*:[ \t]*(?:\r?\n[ \t]+)*([0-9]+)(?=[ \t\r\n;,])", re.IGNORECASE
).search  # fmt: skip
_TYPE = re.compile(rb"\n(?:content-type|c)[ \t]*:", re.IGNORECASE).search
_USUAL_LENGTH: Final = b"\nContent-Length: "
_VERSION: Final = b"SIP/2.0"
_REPLY_LINE = re.compile(rb"SIP/2\.0 [1-6][0-9]{2}(?:[ \t][^\n]*)?\n").match
_REQUEST_LINE = re.compile(
    rb"[A-Za-z0-9\-.!%*_+`'~]{1,64}[ \t]+<?[A-Za-z][A-Za-z0-9+.\-]{0,31}:[^\n]*[ \t]SIP/2\.0[ \t\r]*\n"
).match  # fmt: skip
_CAPITALS = re.compile(rb"[A-Z]+ ").match
_STATUS = re.compile(rb"SIP/2\.0 [1-6][0-9]{2} ").match
_STATUS_BYTES: Final = len(b"SIP/2.0 200 ")
_KNOWN_METHOD = re.compile(
    rb"(?:INVITE|ACK|BYE|CANCEL|OPTIONS|REGISTER|PRACK|UPDATE|INFO|SUBSCRIBE|NOTIFY|REFER|MESSAGE|PUBLISH)"
    rb" (?:sips?|tel):"
).search
_HEADER = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]+[ \t]*:").match
_HEADER_BEGIN = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]*[ \t]*\Z").match
_HEAD_WINDOW: Final = 4_096  # bytes; nearly all heads are shorter
_MAX_NAME: Final = 64  # bytes of a header's name, where one is looked for to believe a start line
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


def head_end(data: bytes | bytearray, begin: int = 0) -> int:
    """Where the body begins behind the first empty line; 0 if there is none."""
    size = len(data)
    while True:
        # A window at a time: a buffer full of heads that end in one way is not searched to its end for the other.
        end = min(begin + _HEAD_WINDOW, size)
        crlf = data.find(b"\n\r\n", begin, end)
        bare = data.find(b"\n\n", begin, crlf + 1 if crlf >= 0 else end)
        if bare >= 0:
            return bare + 2
        if crlf >= 0:
            return crlf + 3
        if end == size:
            return 0
        begin = end - 2


def content_length(head: bytes) -> int | None:
    """The body's length as a head says it: the first number of a Content-Length; None without one."""
    usual = head.find(_USUAL_LENGTH)
    if usual >= 0 and b"\nl" not in head and b"\nL" not in head and b"\nc" not in head and b"\nCO" not in head:
        begin = usual + len(_USUAL_LENGTH)
        digits = head[begin : head.find(b"\r", begin)]
        if digits.isdigit() and len(digits) < 10:
            return int(digits)
    match = _LENGTH(head)
    if match is None:
        return None
    digits = match[1].lstrip(b"0")[:10]
    return int(digits or b"0")


def is_one_message(data: bytes) -> bool:
    """Tell whether bytes are one SIP message from end to end: what most segments are."""
    if not begins_like_sip(data) or not looks_like_sip(data) or data.find(b"\n", 0, MAX_SIP_START_LINE_BYTES) < 0:
        return False
    body = head_end(data)
    return body > 0 and content_length(data[:body]) == len(data) - body


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
        if end < 0 or not _is_start_line(bytes(buffer[start:end])):
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
            length = _NO_LENGTH if _TYPE(head) is not None else 0
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
            hit = buffer.find(_VERSION, max(self._scanned, begin))
            if hit < 0:
                self._scanned = max(self._scanned, begin, len(buffer) - len(_VERSION) + 1)
                return False, max(buffer.rfind(b"\n", begin) + 1, begin, len(buffer) - MAX_SIP_START_LINE_BYTES)
            lowest = max(begin, hit - MAX_SIP_START_LINE_BYTES)
            line = buffer.rfind(b"\n", lowest, hit) + 1 or lowest
            at_line = line > lowest or (is_line and line == begin)
            if len(buffer) < hit + _STATUS_BYTES:
                self._scanned = hit
                return False, line
            for candidate in _candidates(buffer, max(line, tried), hit, is_line=at_line and line >= tried):
                verdict = _is_start(buffer, candidate)
                if verdict is None:
                    self._scanned = hit
                    return False, line
                if verdict:
                    self._scanned = candidate
                    return True, candidate
            self._scanned = tried = hit + len(_VERSION)

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


def _is_start_line(line: bytes) -> bool:
    """Tell whether a message begins with this line, where one must begin.

    ``defINVITE sip:`` is the end of a body that is longer than its Content-Length says, and no method.
    """
    if not looks_like_sip(line):
        return False
    known = None if begins_like_sip(line) or _CAPITALS(line) is not None else _KNOWN_METHOD(line)
    return known is None or not known.start() or b" " in line[: known.start()]


def _candidates(buffer: bytearray, line: int, hit: int, *, is_line: bool) -> Iterator[int]:
    """Where a start line with the SIP version at ``hit`` may begin: bodies need not end with a line end."""
    if is_line and _CAPITALS(buffer, line) is not None:
        yield line
    elif _STATUS(buffer, hit) is not None:
        yield hit
    else:
        known = _KNOWN_METHOD(buffer, line, hit)
        if known is not None:
            yield known.start()
        elif is_line:
            yield line


def _is_start(buffer: bytearray, line: int) -> bool | None:
    """Tell whether a message begins at a line; None if there are too few bytes to tell.

    A header must follow: a status line alone is what the body of a NOTIFY for REFER has (RFC 3515).
    """
    end = buffer.find(b"\n", line, line + MAX_SIP_START_LINE_BYTES) + 1
    if not end:
        return None if len(buffer) - line < MAX_SIP_START_LINE_BYTES else False
    text = bytes(buffer[line : end + _MAX_NAME])
    if _REPLY_LINE(text) is None and _REQUEST_LINE(text) is None:
        return False
    if not _is_start_line(text[: end - line - 1]):
        return False  # found, it would be refused, and found again
    header = text[end - line :]
    if _HEADER(header) is not None:
        return True
    return None if len(header) < _MAX_NAME and _HEADER_BEGIN(header) is not None else False
