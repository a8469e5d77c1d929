"""Captured packets to messages: every layer, fragments, and what is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.counters import Counters
from sipcap.limits import FRAGMENT_TIMEOUT_US, MAX_FRAGMENTED_PACKETS, MAX_LAYERS
from sipcap.sources.packet_decoder import PacketDecoder
from sipcap.wire.link import LINK_TYPES
from sipcap.wire.message import Message
from tests.support import packets as p
from tests.support.layered import CASES, SEGMENT_CASES, two_segments
from tests.support.messages import BASE_TS_US, hep3_datagram, sip, sip_message


class Decoded:
    """What came of frames, one every millisecond."""

    def __init__(self, frames: Iterable[bytes], link: int = p.ETHERNET, ports: range | None = None) -> None:
        self.stats = Counters()
        self.skipped: Counter[str] = Counter()
        decoder = PacketDecoder(self.stats, self.skipped, ports)
        kind = LINK_TYPES[link]
        packets = [(BASE_TS_US + 1_000 * number, frame, kind) for number, frame in enumerate(frames)]
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


@pytest.mark.parametrize("name", CASES)
def test_hep_is_unwrapped_behind_every_layer(name: str) -> None:
    """A HEP packet in fragments or tunnels gives the message in it, with its own addresses and time."""
    case = CASES[name]
    decoded = Decoded(case.frames(hep3_datagram(0)), case.link)
    (message,) = decoded.messages
    assert message.payload == sip_message(0)
    assert (message.ts_us, message.hep_version) == (BASE_TS_US, 3)
    assert not decoded.skipped


@pytest.mark.parametrize("name", SEGMENT_CASES)
def test_sip_over_tcp_comes_through_layers(name: str) -> None:
    """A message in two segments, each of them in a tunnel or in fragments, is one message."""
    decoded = Decoded(two_segments(name, sip()))
    (message,) = decoded.messages
    assert (message.payload, message.ip_protocol) == (sip(), 6)
    assert message.destination_port == 5060
    assert not decoded.skipped


@pytest.mark.parametrize("name", CASES)
def test_frames_cut_anywhere_give_the_beginning_or_are_counted(name: str) -> None:
    """With any snap length, a message comes out cut and counted as such, or its packets are skipped or rejected."""
    case = CASES[name]
    payload = sip()
    frames = case.frames(payload)
    for size in range(0, max(map(len, frames)), 7):
        cut = [frame[:size] for frame in frames]
        decoded = Decoded(cut, case.link)
        for message in decoded.messages:
            assert payload.startswith(message.payload)
            assert decoded.stats.truncated or message.payload == payload
        assert len(decoded.messages) <= 1
        assert decoded.messages or decoded.skipped or decoded.stats.rejected


@given(
    st.sampled_from(sorted(CASES)),
    st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), max_size=6),
    st.none() | st.just(range(5_060, 5_070)),
)
def test_damaged_frames_give_messages_or_are_counted(
    name: str, damage: list[tuple[int, int]], ports: range | None
) -> None:
    """Wrong bytes in any header of any layer do no harm, and the books close."""
    case = CASES[name]
    frames = [bytearray(frame) for frame in case.frames(sip())]
    for offset, value in damage:
        frame = frames[offset % len(frames)]
        if offset < len(frame):
            frame[offset] = value
    Decoded([bytes(frame) for frame in frames], case.link, ports)


@given(st.lists(st.tuples(st.sampled_from(sorted(LINK_TYPES)), st.binary(max_size=150)), max_size=8))
def test_any_bytes_give_messages_or_are_counted(frames: list[tuple[int, bytes]]) -> None:
    """Nothing that a network carries makes the decoder fail."""
    for link, frame in frames:
        decoded = Decoded([frame], link)
        assert len(decoded.messages) + decoded.skipped.total() + decoded.stats.rejected.total() >= 1


@pytest.mark.parametrize(
    "frame",
    [
        p.ethernet(p.ip4(p.udp(b"\x80" * 60, 4_789, 6_081))),
        p.ethernet(p.ip4(p.udp(b"\x01\0\0\x12\x01" + bytes(80), 1, p.TZSP_PORT))),
        p.ethernet(p.ip4(p.udp(b"\x01\x04\0\0", 1, p.TZSP_PORT))),
        p.ethernet(p.ip4(p.udp(b"\x01\0\0\1" + b"\x0a\xff" * 40, 1, p.TZSP_PORT))),
        p.ethernet(p.ip4(p.udp(b"\x01\0\0\1" + bytes(200), 1, p.TZSP_PORT))),
        p.ethernet(p.ip4(p.udp(b"\0" * 8 + p.ethernet(p.ip4(p.udp(sip()))), 1, p.VXLAN_PORT))),
        p.ethernet(p.ip4(p.udp(p.vxlan(b"\0" * 40), 1, p.VXLAN_PORT))),
        p.ethernet(p.ip4(p.udp(p.vxlan(p.ethernet(b"\x45" + bytes(9))), 1, p.VXLAN_PORT))),
        p.ethernet(p.ip4(p.udp(b"\x40\0" + p.geneve(p.ethernet(p.ip4(p.udp(sip()))))[2:], 1, p.GENEVE_PORT))),
        p.ethernet(p.ip4(p.udp(b"\0\x80" + p.geneve(p.ethernet(p.ip4(p.udp(sip()))))[2:], 1, p.GENEVE_PORT))),
        p.ethernet(p.ip4(p.udp(b"", 1, p.GENEVE_PORT))),
    ],
)
def test_udp_on_the_port_of_a_tunnel_that_is_none_stays_udp(frame: bytes) -> None:
    """A header that cannot be, or nothing that decodes inside, is a datagram like any other."""
    assert Decoded([frame]).skipped == {"other": 1}


@pytest.mark.parametrize("port", [p.VXLAN_PORT, p.LINUX_VXLAN_PORT, p.GENEVE_PORT, p.TZSP_PORT])
def test_sip_on_the_port_of_a_tunnel_is_sip(port: int) -> None:
    """Content decides before ports do."""
    assert Decoded([p.ethernet(p.ip4(p.udp(sip(), port, port)))]).payloads == [sip()]


def test_ports_are_those_of_the_innermost_packet() -> None:
    """A filter on SIP's ports lets tunnels through, and looks at what is in them."""
    frames = [
        p.ethernet(p.ip4(p.udp(p.vxlan(p.ethernet(p.ip4(p.udp(sip(), 9, port)))), 50_000, p.VXLAN_PORT)))
        for port in (5_060, 5_070)
    ]
    decoded = Decoded(frames, ports=range(5_060, 5_061))
    assert [message.destination_port for message in decoded.messages] == [5_060]
    assert decoded.skipped == {"ports": 1}


def test_what_a_tunnel_holds_besides_sip_is_named() -> None:
    """The reason is that of the innermost packet."""
    icmp = p.ethernet(p.ip4(p.udp(p.vxlan(p.ethernet(p.ip4(bytes(20), 1))), 50_000, p.VXLAN_PORT)))
    rtp = p.ethernet(p.ip4(p.gre(p.ip4(p.udp(b"\x80" * 20)), p.IP4_TYPE), 47))
    arp = p.ethernet(p.ip4(p.udp(p.vxlan(p.ethernet(b"", ether_type=0x806)), 50_000, p.VXLAN_PORT)))
    piece = p.ethernet(p.ip4(p.udp(p.vxlan(p.ethernet(p.ip4(b"", fragment=0x2000))), 50_000, p.VXLAN_PORT)))
    assert Decoded([icmp, rtp, arp, piece]).skipped == {"icmp": 1, "other": 1, "arp": 1, "fragment_length": 1}


def test_tunnels_of_tunnels_end() -> None:
    """A packet of nothing but tunnels is given up at the bound, over UDP as over IP."""
    frame = p.ethernet(p.ip4(p.udp(sip())))
    for _ in range(MAX_LAYERS):
        frame = p.ethernet(p.ip4(p.udp(p.vxlan(frame), 50_000, p.VXLAN_PORT)))
    assert Decoded([frame]).skipped == {"nested": 1}
    inner = frame[14 + 28 + 8 :]
    assert Decoded([inner]).payloads == [sip()]


@pytest.mark.parametrize("name", ["fragments", "fragments of ipv6", "fragments in vxlan", "sctp in parts"])
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_message_that_lacks_a_piece_is_rejected_once(name: str, missing: int) -> None:
    """Without its beginning nobody can tell what it was: then its packets are skipped."""
    frames = CASES[name].frames(sip())
    del frames[missing]
    decoded = Decoded(frames)
    assert decoded.messages == []
    assert decoded.stats.rejected == ({} if missing == 0 else {"fragment": 1})
    assert decoded.skipped == {"fragment": 2 if missing == 0 else 1}


def test_a_message_in_a_fragmented_tunnel_that_lacks_a_piece_is_rejected() -> None:
    """The beginning of the outer packet tells that SIP was inside."""
    frames = CASES["vxlan in fragments"].frames(sip())[1:]  # it comes backwards: the last piece is missing
    assert Decoded(frames).stats.rejected == {"fragment": 1}
    gre = p.gre(p.ethernet(p.ip4(p.udp(sip()))), p.BRIDGED_TYPE)
    assert Decoded([p.ethernet(p.fragments4(gre, [160], 47)[0])]).stats.rejected == {"fragment": 1}
    arp = p.gre(p.ethernet(b"\0" * 200, ether_type=0x806), p.BRIDGED_TYPE)
    assert Decoded([p.ethernet(p.fragments4(arp, [160], 47)[0])]).skipped == {"fragment": 1}


def test_a_lost_tunnel_with_a_later_fragment_inside_tells_nothing() -> None:
    """Of a packet in pieces in pieces, only the piece with the beginning says what it was."""
    frames = CASES["fragments in fragments"].frames(sip())
    del frames[3]  # the end of the second inner fragment
    decoded = Decoded(frames)
    assert decoded.stats.rejected == {"fragment": 1}
    assert decoded.skipped == {"fragment": 2}


def test_expire_ignores_a_time_that_cannot_be() -> None:
    """A packet dated to no time at all gives nothing up."""
    stats = Counters()
    decoder = PacketDecoder(stats, Counter())
    link = LINK_TYPES[p.ETHERNET]
    first, second = (p.ethernet(each) for each in p.fragments4(p.udp(sip()), [64]))
    assert decoder.decode([(BASE_TS_US, first, link)]) == []
    assert decoder.decode([(1 << 60, p.ethernet(b"", ether_type=0x806), link)]) == []
    assert len(decoder.decode([(BASE_TS_US, second, link)])) == 1


def test_fragments_of_what_is_no_message_are_no_loss() -> None:
    """A large packet of something else that lacks a piece does not make a replay fail."""
    frames = [p.ethernet(each) for each in p.fragments4(p.udp(b"\x80" * 300), [64, 128])[:2]]
    decoded = Decoded(frames)
    assert decoded.skipped == {"fragment": 2}
    assert not decoded.stats.trouble()


def test_overlapping_ip6_fragments_of_a_message_are_rejected() -> None:
    """RFC 5722, and said as what it is."""
    whole = p.udp(sip())
    pieces = [p.ip6(p.fragment6(17, begin, more=True) + whole[begin : begin + 64], 44) for begin in (0, 32, 96)]
    decoded = Decoded([p.ethernet(each) for each in pieces])
    assert decoded.stats.rejected == {"fragment_overlap": 1}
    assert decoded.skipped == {"fragment_overlap": 2}


def test_ip4_fragments_that_contradict_are_said() -> None:
    """The message is what came first; the packet that says otherwise is counted."""
    whole = p.udp(sip())
    pieces = p.fragments4(whole, [64])
    evil = p.ip4(b"\xff" * 32, fragment=0x2000)
    decoded = Decoded([p.ethernet(each) for each in (pieces[0], evil, pieces[1])])
    assert decoded.payloads == [sip()]
    assert decoded.skipped == {"fragment_overlap": 1}


def test_fragments_of_other_vlans_and_tunnels_do_not_mix() -> None:
    """Two customers may use the same addresses and identifications."""
    first, second = sip(headers={"Call-ID": "a"}), sip(headers={"Call-ID": "b"})
    pairs = list(zip(p.fragments4(p.udp(first), [64]), p.fragments4(p.udp(second), [64]), strict=True))
    vlans = [p.ethernet(each, vlans=(number,)) for pair in pairs for number, each in enumerate(pair, 1)]
    assert Decoded(vlans).payloads == [first, second]
    tunnels = [
        p.ethernet(p.ip4(p.udp(p.vxlan(p.ethernet(each), number), 1, p.VXLAN_PORT)))
        for pair in pairs
        for number, each in enumerate(pair)
    ]
    assert Decoded(tunnels).payloads == [first, second]


def test_pieces_that_wait_too_long_are_given_up_while_packets_come() -> None:
    """The time of the packets decides, and ``expire`` for who has none."""
    stats, skipped = Counters(), Counter[str]()
    decoder = PacketDecoder(stats, skipped)
    link = LINK_TYPES[p.ETHERNET]
    first, second = (p.ethernet(each) for each in p.fragments4(p.udp(sip()), [64]))
    late_us = BASE_TS_US + FRAGMENT_TIMEOUT_US + 1
    assert decoder.decode([(BASE_TS_US, first, link)]) == []
    assert decoder.decode([(late_us, p.ethernet(b"", ether_type=0x806), link)]) == []
    assert stats.rejected == {"fragment": 1}
    assert decoder.decode([(late_us, second, link)]) == []
    assert decoder.expire(late_us) == []
    assert skipped == {"arp": 1}
    assert decoder.expire(late_us + FRAGMENT_TIMEOUT_US + 1) == []
    assert skipped == {"arp": 1, "fragment": 1}
    assert (stats.received, stats.packets) == (1, 3)


def test_fragments_in_two_batches_are_one_message() -> None:
    """What waits outlives the batch, and the message has the time of the packet that made it whole."""
    decoder = PacketDecoder(Counters(), Counter())
    link = LINK_TYPES[p.ETHERNET]
    first, second = (p.ethernet(each) for each in p.fragments4(p.udp(sip()), [64]))
    assert decoder.decode([(BASE_TS_US, first, link)]) == []
    (message,) = decoder.decode([(BASE_TS_US + 5, second, link)])
    assert (message.payload, message.ts_us) == (sip(), BASE_TS_US + 5)
    assert decoder.packet_times == [BASE_TS_US + 5]


def test_a_flood_of_first_fragments_loses_none_uncounted() -> None:
    """Each message that has to go for want of memory is a rejected one."""
    frames = [
        p.ethernet(p.fragments4(p.udp(sip()), [64], source=f"10.0.{number >> 8}.{number & 255}")[0])
        for number in range(MAX_FRAGMENTED_PACKETS + 100)
    ]
    decoded = Decoded(frames)
    assert decoded.stats.rejected == {"fragment_memory": 100, "fragment": MAX_FRAGMENTED_PACKETS}
