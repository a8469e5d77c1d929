"""Captured packets to messages: every layer, fragments, and what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from sipcap.counters import Counters
from sipcap.sources.packet_decoder import Packet, PacketDecoder
from sipcap.wire.link import LINK_TYPES
from sipcap.wire.message import Message
from tests.support import packets as p
from tests.support.layered import CASES
from tests.support.messages import BASE_TS_US, sip


class Decoded:
    """What came of frames, one every millisecond."""

    def __init__(self, frames: Iterable[bytes], link: int = p.ETHERNET, ports: range | None = None) -> None:
        self.stats = Counters()
        self.skipped: Counter[str] = Counter()
        decoder = PacketDecoder(self.stats, self.skipped, ports)
        kind = LINK_TYPES[link]
        packets = [Packet(BASE_TS_US + 1_000 * number, frame, kind) for number, frame in enumerate(frames)]
        self.messages: list[Message] = decoder.decode(packets)
        assert len(decoder.packet_times) == len(self.messages)
        self.messages += decoder.finish()
        reasons = self.stats.rejected.total() + self.stats.filtered.total()
        assert self.stats.received == len(self.messages) + reasons

    @property
    def payloads(self) -> list[bytes]:
        """What the messages say."""
        return [message.payload for message in self.messages]


@pytest.mark.parametrize("name", CASES)
def test_sip_comes_through_every_layer(name: str) -> None:
    """Whatever is around it, the message is the same, with the innermost addresses."""
    case = CASES[name]
    frames = case.frames(sip())
    decoded = Decoded(frames, case.link)
    (message,) = decoded.messages
    assert message.payload == sip()
    addresses = {4: (p.SOURCE, p.DESTINATION), 6: (p.SOURCE6, p.DESTINATION6)}
    assert (message.source_ip, message.destination_ip) in addresses.values()
    assert (message.source_port, message.destination_port) == (5060, 5062)
    assert message.ip_protocol == (132 if "sctp" in name else 17)
    assert message.ts_us == BASE_TS_US + 1_000 * (len(frames) - 1)
    assert not decoded.skipped
    assert not decoded.stats.trouble()
