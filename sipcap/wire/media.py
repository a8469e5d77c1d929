"""Which call a datagram of RTCP belongs to, by what was seen in SDP.

Behind a NAT the address that an SDP names is not the one that packets come from: then the other end, the SSRC or
what an earlier packet taught tells the call.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple

from sipcap.limits import MAX_MEDIA_PLACES, MAX_NOTED_SDP_BYTES
from sipcap.wire.message import Message
from sipcap.wire.sdp import read_media

_CALL_ID: Final = re.compile(rb"(?:^|\n)(?:call-id|i)[ \t]*:([^\n]*)", re.IGNORECASE)
_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  # on hold: nobody's address


class _Owner(NamedTuple):
    """Whose an address is: an SDP says so (best), or packets have shown it; the later knowledge is the better."""

    is_told: bool
    number: int
    callid: str


class MediaMap:
    """Addresses and SSRCs of media with the Call-ID of their call; the longest unused is forgotten first.

    A port that two calls have used one after the other belongs to the later one.
    """

    def __init__(self) -> None:
        self._owners: OrderedDict[Hashable, _Owner] = OrderedDict()
        self._number = 0
        self._noted: deque[bytes] = deque()
        self._noted_bytes = 0
        self._was_asked = False

    def __len__(self) -> int:
        return len(self._owners)

    def note(self, payload: bytes) -> None:
        """Keep a SIP message in which ``sdp.SDP`` stands, to be read when a report asks: most captures have none.

        Until the first report, the latest of these messages are kept, and then all count.
        """
        self._noted.append(payload)
        self._noted_bytes += len(payload)
        if self._noted_bytes > MAX_NOTED_SDP_BYTES:
            if self._was_asked:
                self._read_noted()
            while self._noted_bytes > MAX_NOTED_SDP_BYTES:
                self._noted_bytes -= len(self._noted.popleft())

    def _read_noted(self) -> None:
        self._was_asked = True
        while self._noted:
            self.learn(self._noted.popleft())
        self._noted_bytes = 0

    def learn(self, payload: bytes) -> None:
        """Read the SDP of a SIP message now."""
        callid = call_id_of(payload)
        if not callid:
            return
        media = read_media(payload)
        for key in (*media.places, *media.ssrcs):
            if key != 0 and not (isinstance(key, tuple) and key[0] in _ANY):
                self._put(key, callid, is_told=True)

    def call_of(self, message: Message, values: dict[str, Any]) -> str | None:
        """The Call-ID that RTCP belongs to; None if no call is known for it.

        Args:
            message: its addresses.
            values: what ``decode_rtcp`` returned.
        """
        self._read_noted()
        ends: list[Hashable] = list(_ends(message))
        owner = self._best(ends)
        if owner is None:
            ssrcs = [values.get("ssrc"), *(block["source_ssrc"] for block in values.get("report_blocks", ()))]
            owner = self._best(ssrcs)
            if owner is None:
                return None
        for end in ends:
            known = self._owners.get(end)
            if known is None or not known.is_told:
                self._put(end, owner.callid, is_told=False)
        return owner.callid

    def knows(self, message: Message) -> bool:
        """Whether one end is media of a call."""
        self._read_noted()
        return any(end in self._owners for end in _ends(message))

    def _best(self, keys: Sequence[Hashable]) -> _Owner | None:
        return max((self._owners[key] for key in keys if key in self._owners), default=None)

    def _put(self, key: Hashable, callid: str, *, is_told: bool) -> None:
        self._number += 1
        self._owners[key] = _Owner(is_told, self._number, callid)
        self._owners.move_to_end(key)
        if len(self._owners) > MAX_MEDIA_PLACES:
            self._owners.popitem(last=False)


def _ends(message: Message) -> tuple[tuple[str, int], tuple[str, int]]:
    return (message.source_ip, message.source_port), (message.destination_ip, message.destination_port)


def call_id_of(payload: bytes) -> str:
    """The Call-ID of a SIP message; "" if it has none."""
    end = payload.find(b"\r\n\r\n")
    found = _CALL_ID.search(payload, 0, end + 2 if end >= 0 else len(payload))
    return found[1].strip().decode("utf-8", "replace") if found else ""
