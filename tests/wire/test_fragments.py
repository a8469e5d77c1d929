"""Fragments to whole IP packets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import FRAGMENT_TIMEOUT_US, MAX_FRAGMENT_BYTES, MAX_FRAGMENTED_PACKETS, MAX_FRAGMENTS
from sipcap.wire.fragments import PACKET_COST, Fragments, Lost
from sipcap.wire.ip import decode_ip
from sipcap.wire.packet import Carried
from tests.support import packets as p
from tests.support.sizes import held_bytes

PAYLOAD = bytes(range(256)) * 3
MORE = 0x2000


def add(fragments: Fragments, packet: bytes, ts_us: int = 1, scope: bytes = b"") -> Carried | None:
    """Add an IP packet, as Unwrapper does."""
    ip = decode_ip(packet, 0)
    data = packet[ip.begin : ip.end]
    carried = Carried(ip.protocol, ip.source, ip.destination, ip.tos, data, ip.missing, b"", scope, 0)
    return fragments.add(carried, ip, ts_us)


def wholes(packets: list[bytes], fragments: Fragments | None = None) -> list[Carried]:
    """What comes of packets."""
    into = Fragments() if fragments is None else fragments
    return [whole for packet in packets if (whole := add(into, packet)) is not None]


def lost_of(packets: list[bytes]) -> list[Lost]:
    """What is lost in packets, of which none becomes whole."""
    fragments = Fragments()
    assert wholes(packets, fragments) == []
    fragments.finish()
    assert fragments.held_bytes == 0
    return fragments.lost


def piece(begin: int, end: int, data: bytes = PAYLOAD) -> bytes:
    """A fragment of an IPv4 packet."""
    return p.ip4(data[begin:end], fragment=begin // 8 | (MORE if end < len(data) else 0))


def piece6(begin: int, end: int, data: bytes = PAYLOAD) -> bytes:
    """A fragment of an IPv6 packet."""
    return p.ip6(p.fragment6(17, begin, more=end < len(data)) + data[begin:end], 44)


cuts = st.lists(st.integers(1, len(PAYLOAD) // 8 - 1).map(lambda n: n * 8), unique=True, max_size=12).map(sorted)


@given(cuts=cuts, is_ip6=st.booleans(), data=st.data())
def test_fragments_in_any_order_and_repeated_give_the_packet_once(
    cuts: list[int], is_ip6: bool, data: st.DataObject
) -> None:
    """However a packet is cut, in whatever order its pieces come, and some twice before the last, it is the same."""
    pieces = (p.fragments6 if is_ip6 else p.fragments4)(PAYLOAD, cuts)
    if len(pieces) == 1:
        return
    *before, last = data.draw(st.permutations(pieces))
    again = data.draw(st.lists(st.sampled_from(before), max_size=4))
    fragments = Fragments()
    got = wholes([*data.draw(st.permutations(before + again)), last], fragments)
    assert [(each.data, each.protocol, each.missing) for each in got] == [(PAYLOAD, 17, 0)]
    fragments.finish()
    assert fragments.lost == []
    assert fragments.held_bytes == 0


@given(first=cuts, second=cuts, data=st.data())
def test_fragments_cut_in_two_ways_give_the_ip4_packet(
    first: list[int], second: list[int], data: st.DataObject
) -> None:
    """Pieces that overlap and agree, as of a packet that took two ways, are the packet; nothing is said."""
    pieces = [*p.fragments4(PAYLOAD, first or [400]), *p.fragments4(PAYLOAD, second or [80])]
    mixed = data.draw(st.permutations(pieces))
    fragments = Fragments()
    got = wholes(mixed, fragments)
    assert got
    assert {each.data for each in got} == {PAYLOAD}
    assert fragments.lost == []


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(0, 64), st.booleans(), st.booleans(), st.integers(0, 3)), max_size=40
    )
)
def test_any_fragments_give_packets_or_reasons_and_leave_nothing(
    pieces: list[tuple[int, int, bool, bool, int]],
) -> None:
    """Whatever offsets and lengths come, every packet ends as whole, lost or refused, and the books close."""
    fragments = Fragments()
    for number, (offset, size, more, is_ip6, identification) in enumerate(pieces):
        data = bytes([number]) * size
        if is_ip6:
            packet = p.ip6(p.fragment6(17, offset * 8, more=more, identification=identification) + data, 44)
        else:
            packet = p.ip4(data, fragment=offset | (MORE if more else 0), identification=identification)
        try:
            add(fragments, packet)
        except DecodeError as error:
            assert error.reason == "fragment_length"
    fragments.finish()
    assert fragments.held_bytes == 0


def test_other_packets_between_do_not_mix() -> None:
    """Identification, addresses, protocol and scope each tell packets apart."""
    others: list[dict[str, Any]] = [
        {"identification": 8}, {"source": "192.0.2.9"}, {"destination": "192.0.2.9"}, {"protocol": 6},
    ]  # fmt: skip
    firsts = [p.fragments4(PAYLOAD, [8], **each)[0] for each in [{}, *others]]
    fragments = Fragments()
    assert wholes(firsts, fragments) == []
    last = p.fragments4(PAYLOAD, [8])[1]
    assert add(fragments, last, scope=b"other") is None
    whole = add(fragments, last)
    assert whole is not None
    assert whole.data == PAYLOAD
    fragments.finish()
    assert len(fragments.lost) == 5


def test_a_missing_fragment_is_lost_with_its_beginning() -> None:
    """What is given up says how many pieces came, and what the first one carries."""
    (lost,) = lost_of([piece(0, 80), piece(160, len(PAYLOAD))])
    assert (lost.reason, lost.pieces) == ("fragment", 2)
    assert lost.beginning is not None
    assert lost.beginning.data == PAYLOAD[:80]
    (lost,) = lost_of([piece(80, 160), piece(160, len(PAYLOAD))])
    assert (lost.reason, lost.pieces, lost.beginning) == ("fragment", 2, None)


def test_ip4_fragments_that_contradict_keep_what_came_first() -> None:
    """Of two fragments for the same bytes the first wins, and the other is noted."""
    evil = b"\xff" * len(PAYLOAD)
    fragments = Fragments()
    (whole,) = wholes([piece(0, 160), piece(80, 240, evil), piece(240, len(PAYLOAD))], fragments)
    assert whole.data == PAYLOAD[:160] + evil[160:240] + PAYLOAD[240:]
    assert fragments.lost == [Lost("fragment_overlap", 1, None)]


def test_ip6_fragments_that_overlap_lose_the_packet() -> None:
    """RFC 5722: the whole packet, and what comes of it later; an exact copy is no overlap."""
    (lost,) = lost_of([piece6(0, 160), piece6(0, 160), piece6(80, 240), piece6(160, 240), piece6(240, len(PAYLOAD))])
    assert (lost.reason, lost.pieces) == ("fragment_overlap", 5)
    assert lost.beginning is not None
    assert lost.beginning.data == PAYLOAD[:160]
    (lost,) = lost_of([piece6(80, 240), piece6(160, 320), piece6(0, 80)])
    assert lost.beginning is not None  # although it came when all was over


@pytest.mark.parametrize(
    "packets",
    [
        [p.ip4(PAYLOAD[80:160], fragment=10), p.ip4(PAYLOAD[160:240], fragment=20), piece(0, 80)],
        [piece(0, 80), p.ip4(PAYLOAD[160:240], fragment=20), p.ip4(PAYLOAD[80:160], fragment=10)],
        [piece(0, 160), p.ip4(PAYLOAD[80:88], fragment=10)],
    ],
)
def test_fragments_with_two_ends_are_no_packet(packets: list[bytes]) -> None:
    """Two last fragments, or one before others, contradict each other."""
    (lost,) = lost_of(packets)
    assert (lost.reason, lost.pieces) == ("fragment", len(packets))


@pytest.mark.parametrize(
    "packet",
    [
        p.ip4(b"", fragment=MORE),
        p.ip4(b"1234567", fragment=MORE),
        p.ip4(b"x" * 16, fragment=0x1FFF),
        p.ip6(p.fragment6(17, more=True) + b"x" * 9, 44),
        p.ip6(p.fragment6(17, 8) + b"", 44),
        p.ip6(p.fragment6(17, 65_528) + b"x" * 8, 44),
    ],
)
def test_fragments_of_impossible_length_are_refused(packet: bytes) -> None:
    """Nothing, less than 8 bytes in the middle, or more than 65,535 in all ("ping of death")."""
    with pytest.raises(DecodeError, match="fragment_length"):
        add(Fragments(), packet)


def test_the_longest_packet_is_put_together() -> None:
    """65,515 bytes over links of 576 bytes, which are 119 fragments."""
    data = bytes(65_515)
    (whole,) = wholes(p.fragments4(data, range(552, len(data), 552)))
    assert whole.data == data


def test_too_many_fragments_are_no_packet() -> None:
    """A packet in more pieces than any link makes is lost."""
    data = bytes(8 * (MAX_FRAGMENTS + 1))
    (lost,) = lost_of(p.fragments4(data, range(8, len(data), 8)))
    assert lost.reason == "fragment"
    data = bytes(8 * MAX_FRAGMENTS)
    assert len(wholes(p.fragments4(data, range(8, len(data), 8)))) == 1


@pytest.mark.parametrize("first", [0, 1])
def test_fragments_that_the_capture_has_cut_give_the_beginning(first: int) -> None:
    """With a snap length, the packet ends where the first byte is missing, and says how many are."""
    pieces = p.fragments4(PAYLOAD, [400])
    pieces[first] = pieces[first][:120]
    (whole,) = wholes(pieces)
    size = 100 if not first else 500
    assert (whole.data, whole.missing) == (PAYLOAD[:size], len(PAYLOAD) - size)


def test_expire_gives_up_what_is_older_than_the_timeout() -> None:
    """In the packets' own time; a clock that jumps back ends it, too."""
    fragments = Fragments()
    add(fragments, piece(0, 80), 1_000_000)
    fragments.expire(1_000_000 + FRAGMENT_TIMEOUT_US)
    assert fragments.lost == []
    fragments.expire(1_000_001 + FRAGMENT_TIMEOUT_US)
    assert len(fragments.lost) == 1
    assert add(fragments, piece(80, len(PAYLOAD)), 1_000_002 + FRAGMENT_TIMEOUT_US) is None
    fragments.expire(1)
    assert len(fragments.lost) == 2


def test_fragments_from_another_time_are_another_packets() -> None:
    """An identification that comes round before anybody called ``expire`` mixes nothing."""
    fragments = Fragments()
    later_us = 2 + FRAGMENT_TIMEOUT_US
    other = b"B" * len(PAYLOAD)
    assert add(fragments, piece(80, len(PAYLOAD)), 1) is None
    assert add(fragments, piece(0, 80, other), later_us) is None
    (lost,) = fragments.lost
    assert (lost.reason, lost.pieces) == ("fragment", 1)
    whole = add(fragments, piece(80, len(PAYLOAD), other), later_us)
    assert whole is not None
    assert whole.data == other


def test_a_second_copy_that_is_not_whole_is_no_loss() -> None:
    """The packet was there; of pieces that come once more, none tells of a message that is missing."""
    fragments = Fragments()
    assert len(wholes([piece(0, 80), piece(80, len(PAYLOAD)), piece(0, 80)], fragments)) == 1
    assert len(wholes([piece(80, len(PAYLOAD)), piece(0, 80)], fragments)) == 1
    fragments.finish()
    (lost,) = fragments.lost
    assert lost == Lost("fragment", 1, None)


def test_another_packet_with_the_same_identification_is_a_loss() -> None:
    """An identification comes round: what is not whole then is missing, although its number was there before."""
    fragments = Fragments()
    assert len(wholes([piece(0, 80), piece(80, len(PAYLOAD)), piece(0, 80, b"B" * 90)], fragments)) == 1
    fragments.finish()
    assert fragments.lost[0].beginning is not None


@pytest.mark.parametrize("size", [8, 1_480])
def test_a_flood_of_first_fragments_keeps_memory_bounded(size: int) -> None:
    """What is held, measured, stays below the bound; the oldest goes first, and is not forgotten."""
    fragments = Fragments()
    count = 3 * MAX_FRAGMENTED_PACKETS
    for number in range(count):
        source = f"10.1.{number >> 8}.{number & 255}"
        add(fragments, p.ip4(bytes([number & 255]) * size, fragment=MORE, source=source))
    held = MAX_FRAGMENTED_PACKETS
    assert fragments.held_bytes <= MAX_FRAGMENT_BYTES
    assert [lost.reason for lost in fragments.lost] == ["fragment_memory"] * (count - held)
    fragments.lost.clear()
    real = held_bytes(fragments)
    assert real <= fragments.held_bytes <= MAX_FRAGMENT_BYTES
    fragments.finish()
    assert len(fragments.lost) == held
    assert fragments.held_bytes == 0


def test_a_flood_of_long_packets_keeps_memory_bounded() -> None:
    """Few packets of many pieces count by their bytes."""
    fragments = Fragments()
    data = bytes(60_000)
    for number in range(600):
        for each in p.fragments4(data, range(1_000, 60_000, 1_000), identification=number)[:-1]:
            add(fragments, each)
    assert {lost.reason for lost in fragments.lost} == {"fragment_memory"}
    assert fragments.held_bytes <= MAX_FRAGMENT_BYTES
    fragments.lost.clear()
    assert held_bytes(fragments) <= MAX_FRAGMENT_BYTES


def test_what_is_known_of_complete_packets_is_bounded() -> None:
    """Of as many packets as may wait, the beginning is kept."""
    fragments = Fragments()
    for number in range(2 * MAX_FRAGMENTED_PACKETS):
        wholes(p.fragments4(PAYLOAD, [80], identification=number & 0xFFFF), fragments)
    known = held_bytes(fragments)
    assert known <= MAX_FRAGMENTED_PACKETS * PACKET_COST
    fragments.expire(FRAGMENT_TIMEOUT_US + 2)
    assert held_bytes(fragments) < known / 3  # an empty table
