"""RTCP packets to the messages that HEP agents send for them, tied to their calls."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sipcap.errors import DecodeError
from sipcap.wire.media import MediaMap
from sipcap.wire.message import SIP_PAYLOAD, Message
from sipcap.wire.rtcp import decode_rtcp, looks_like_rtcp
from sipcap.wire.sdp import SDP

RTCP_PAYLOAD: Final = 5
"""HEP protocol type of RTCP as JSON."""


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
        waiting = self._waiting
        for message in messages:
            if message.payload_type == SIP_PAYLOAD:
                if SDP in message.payload:
                    self.media.note(message.payload)
            elif (report := waiting.get(id(message))) is not None:
                message.correlation_id = self.media.call_of(message, report[1])
        self._waiting.clear()
