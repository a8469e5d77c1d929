"""The head of a SIP message: its start line and the headers that somebody wants.

Source: RFC 3261 sections 7 and 20; spec/sipcapture.md 3.2. The module refuses whatever Kamailio's parser
refuses; here a message is read as far as it can be (spec 11, defects 12 to 15), and only what is not SIP
at all raises ``DecodeError``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sipcap.limits import MAX_SIP_HEADERS
from sipcap.wire.sip_fields import start_line

COMPACT_FORMS: Final = {
    "v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "c": "content-type",
    "l": "content-length", "k": "supported", "s": "subject", "o": "event", "u": "allow-events",
    "r": "refer-to", "b": "referred-by", "e": "content-encoding", "a": "accept-contact",
    "j": "reject-contact", "d": "request-disposition", "x": "session-expires", "y": "identity",
}  # fmt: skip
"""Short header names (spec 3.2)."""

_MAX_LEARNED_NAMES: Final = 4_096
_MAX_NAME: Final = 64  # characters of a name worth learning; the longest registered one has 35
_LONG_MESSAGE: Final = 1_000  # from here on, finding the head's end first costs less than splitting the body
_LINE_END = re.compile(r"\r?\n(?![ \t])")  # not before a fold
_HEADERS_END = re.compile(r"\n\r*+\n")
_TRAILING_NULS = re.compile(r"(?<!\0)\0++(?=\r?\n|\Z)")  # the look-behind keeps it linear
_LEADING: Final = "\r\n\0\t "
_LWS: Final = " \t\r\n"


def canonical_name(name: str) -> str:
    """Lower case without blanks, short forms written out."""
    lowered = name.strip(_LWS).lower()
    return COMPACT_FORMS.get(lowered, lowered)


class SipHeadReader:
    """Reads start lines and the first value of each wanted header.

    Args:
        wanted: canonical header names; the value of ``wanted[n]`` is found in slot ``n + 1``.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self._slots = {name: slot for slot, name in enumerate(wanted, start=1)}
        self._empty = [""] * (len(wanted) + 1)
        # Spelling in the message -> slot, 0 = not wanted. It learns the spellings that it meets, so that
        # one look-up a header line decides; bounded against hostile names.
        self._names: dict[str, int] = {}

    def read(self, text: str) -> tuple[int, str, str, list[str]]:
        """Read the head of one message.

        Blanks before a value are dropped, those behind it stay, and so do the line breaks inside a
        folded value (spec 3.2). A NUL that ends a value is dropped, any other becomes U+FFFD.

        Args:
            text: the message, decoded as UTF-8 with U+FFFD for what is not.

        Returns:
            Kind (``REQUEST`` or ``REPLY``), method or status code, request URI or reason phrase,
            and the slots: "" where a header is absent.

        Raises:
            DecodeError: ``not_sip``, there is no start line of SIP.
        """
        if text[:1] in _LEADING:
            text = text.lstrip(_LEADING)
        if "\0" in text:
            text = _TRAILING_NULS.sub("", text).replace("\0", "\ufffd")
        head = text.partition("\r\n\r\n")[0] if len(text) > _LONG_MESSAGE else text
        lines = head.split("\n", MAX_SIP_HEADERS)
        kind, method, uri_or_reason = start_line(lines.pop(0).rstrip("\r"))
        slots = self._collect(lines)
        if slots is None:
            head = _HEADERS_END.split(text, 1)[0]
            slots = self._collect(_LINE_END.split(head, MAX_SIP_HEADERS)[1:]) or self._empty
        return kind, method, uri_or_reason, slots

    def _collect(self, lines: list[str]) -> list[str] | None:
        """Put the first value of each wanted header into its slot; None if a line is folded.

        The lines may end in CR, and those behind an empty line are not looked at.
        """
        if len(lines) >= MAX_SIP_HEADERS:
            lines.pop()  # all that was not split
        names = self._names
        slots = self._empty[:]
        empty: set[int] = set()  # slots of headers that are there without a value: the first one counts all the same
        for line in lines:
            name, _, value = line.partition(": ")
            slot = names.get(name)
            if slot is None:
                # "Name:value", a spelling not met before, a fold, the end, or no header at all
                if not line.strip("\r"):
                    break
                if line[0] in " \t":
                    return None
                name, _, value = line.partition(":")
                slot = self._learn(name)
            if slot and not slots[slot]:
                if empty and slot in empty:
                    continue
                # "!" is the first character behind the blanks: one comparison finds what needs a strip.
                slots[slot] = value = value.rstrip("\r") if value > "!" else value.lstrip(_LWS).rstrip("\r")
                if not value:
                    empty.add(slot)
        return slots

    def _learn(self, name: str) -> int:
        slot = self._names.get(name)
        if slot is None:
            slot = self._slots.get(canonical_name(name), 0)
            # Never a name of nothing: an empty line would be found under it, and bodies be read as headers.
            if len(name) <= _MAX_NAME and name.strip(_LWS):
                if len(self._names) >= _MAX_LEARNED_NAMES:
                    self._names.clear()
                self._names[name] = slot
        return slot
