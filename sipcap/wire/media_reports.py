"""RTCP packets to the messages that HEP agents send for them, tied to their calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from sipcap.compiled import twins
from sipcap.errors import DecodeError
from sipcap.wire.media import MediaMap
from sipcap.wire.message import SIP_PAYLOAD, Message
from sipcap.wire.rtcp import decode_rtcp, looks_like_rtcp
from sipcap.wire.sdp import SDP

RTCP_PAYLOAD: Final = 5
"""HEP protocol type of RTCP as JSON."""


def relate(
    messages: list[Message],
    sip_payload: int,
    sdp: bytes,
    note: Callable[[bytes], None],
    report: Callable[[Message], None],
) -> None:
    """Go through messages in their order.

    Args:
        messages: of any kind.
        sip_payload: the type of SIP.
        sdp: what stands in SIP with an SDP.
        note: is given the payloads of these.
        report: is given what is not SIP.
    """
    for message in messages:
        if message.payload_type != sip_payload:
            report(message)
        elif sdp in message.payload:
            note(message.payload)


_module = twins()
_relate: Final[Callable[..., None]] = relate if _module is None else _module.relate


class MediaReports:
    """Makes a message of an RTCP packet, and finds its call.

    That happens in two steps, so that a report meets what stands before it in the same batch: ``report`` turns one
    packet into a message, ``relate`` goes through the messages in their order.
    """

    def __init__(self) -> None:
        self.media = MediaMap()
        # By the identity of messages, which are kept: that of one that nobody wanted must not become another's.
        self._waiting: dict[int, tuple[Message, dict[str, Any]]] = {}

    def report(self, message: Message) -> bool:
        """Turn a UDP payload into the JSON of its RTCP; false if it is none.

        Args:
            message: changed in place: payload and type.

        Raises:
            DecodeError: ``srtcp``: between ends of a call, and encrypted or broken.
        """
        if not looks_like_rtcp(message.payload):
            return False
        try:
            values = decode_rtcp(message.payload)
        except DecodeError:
            if self.media.knows(message):
                raise DecodeError("srtcp") from None
            return False
        message.payload = msgspec.json.encode(values)
        message.payload_type = RTCP_PAYLOAD
        self._waiting[id(message)] = message, values
        return True

    def relate(self, messages: list[Message]) -> None:
        """Learn from the SDP of SIP messages, and give each report the Call-ID of its call, if that is known."""
        _relate(messages, SIP_PAYLOAD, SDP, self.media.note, self._find_call)
        self._waiting.clear()

    def _find_call(self, message: Message) -> None:
        if (report := self._waiting.get(id(message))) is not None:
            message.correlation_id = self.media.call_of(message, report[1])
