"""Compose SIP messages from a base by naming only what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# The base message of spec section 12.
BASE_START = "INVITE sip:bob@biloxi.com:5070;transport=udp SIP/2.0"
BASE_HEADERS = (
    "Via: SIP/2.0/UDP pc33.atlanta.com:5060;branch=z9hG4bK776asdhds",
    'From: "Alice" <sip:alice@atlanta.com>;tag=1928301774',
    "To: <sip:bob@biloxi.com>",
    "Call-ID: abc123@host",
    "CSeq: 314159 INVITE",
    "Contact: <sip:alice@192.0.2.4:5088>",
    "Max-Forwards: 70",
    "Content-Length: 0",
)


@dataclass(frozen=True, slots=True)
class Message:
    """Parts of one message; str parts are sent as UTF-8."""

    start: str = BASE_START
    headers: tuple[str, ...] = BASE_HEADERS
    body: str = ""
    line_end: str = "\r\n"

    def with_header(self, *lines: str) -> Message:
        """Replace the header of each line's name, where it stood; a name that is not there yet goes to the end."""
        headers = list(self.headers)
        for line in lines:
            name = _name(line)
            places = [place for place, old in enumerate(headers) if _name(old) == name]
            if places:
                headers[places[0]] = line
            else:
                headers.append(line)
        return Message(self.start, tuple(headers), self.body, self.line_end)

    def plus(self, *lines: str) -> Message:
        """Add header lines at the end."""
        return Message(self.start, (*self.headers, *lines), self.body, self.line_end)

    def without(self, *names: str) -> Message:
        """Leave out the headers of these names."""
        dropped = {name.lower() for name in names}
        kept = tuple(line for line in self.headers if _name(line) not in dropped)
        return Message(self.start, kept, self.body, self.line_end)

    def request(self, uri: str, method: str = "INVITE") -> Message:
        """Take another request line."""
        return Message(f"{method} {uri} SIP/2.0", self.headers, self.body, self.line_end)

    def started(self, line: str) -> Message:
        """Take another first line, verbatim."""
        return Message(line, self.headers, self.body, self.line_end)

    def encode(self) -> bytes:
        """Return the message as bytes."""
        return compose(self.start, self.headers, self.body, self.line_end)


def compose(start: str, headers: Sequence[str], body: str, line_end: str = "\r\n") -> bytes:
    """Join start line, header lines and body into one message."""
    return (line_end.join([start, *headers]) + line_end * 2 + body).encode()


def _name(line: str) -> str:
    return line.partition(":")[0].strip().lower()


BASE = Message()
