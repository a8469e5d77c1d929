"""SCTP packets to user messages."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address
from itertools import accumulate, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import MAX_FRAGMENT_BYTES, MAX_FRAGMENTED_PACKETS, SCTP_TIMEOUT_US
from sipcap.wire.ip import SCTP
from sipcap.wire.packet import Carried
from sipcap.wire.sctp import SctpMessages
from tests.support import packets as p
from tests.support.messages import sip
from tests.support.sizes import held_bytes

BEGIN, MIDDLE, END, WHOLE = 2, 0, 1, 3


def carried(packet: bytes, missing: int = 0, source: str = p.SOURCE) -> Carried:
    """An SCTP packet in IPv4."""
    addresses = ip_address(source).packed, ip_address(p.DESTINATION).packed
    return Carried(SCTP, *addresses, 0, packet, missing, b"", b"\0\0", 0)


def payloads(messages: SctpMessages, *packets: bytes) -> list[bytes]:
    """What comes of packets."""
    return [each.payload for packet in packets for each in messages.receive(carried(packet), 1)]


def reason(packet: bytes, messages: SctpMessages | None = None, missing: int = 0) -> str:
    """Why nothing comes of a packet."""
    with pytest.raises(DecodeError) as caught:
        (messages or SctpMessages()).receive(carried(packet, missing), 1)
    return caught.value.reason


def test_whole_messages_come_out_with_their_envelope() -> None:
    """Every DATA chunk of a bundle is a message; ports are the packet's."""
    packet = p.sctp(p.sctp_sack(), p.sctp_data(b"one", 5), p.sctp_data(b"two2", 6))
    first, second = SctpMessages().receive(carried(packet), 1)
    assert (first.payload, second.payload) == (b"one", b"two2")
    assert (first.source_port, first.destination_port, first.protocol) == (5060, 5062, 132)
    assert (first.missing, second.missing) == (0, 0)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=8), first=st.sampled_from([1, 2**32 - 3]), data=st.data()
)
def test_parts_in_any_order_and_repeated_give_the_message_once(
    sizes: list[int], first: int, data: st.DataObject
) -> None:
    """A message in parts, its numbers perhaps running over, comes once, whatever the order of its packets."""
    whole = sip()
    edges = [0, *accumulate(sizes[:-1]), len(whole)]
    flags = [BEGIN, *[MIDDLE] * (len(sizes) - 2), END]
    packets = [
        p.sctp(p.sctp_data(whole[begin:end], (first + at) % 2**32, flags[at]))
        for at, (begin, end) in enumerate(pairwise(edges))
    ]
    order = data.draw(st.permutations(packets))
    messages = SctpMessages()
    got = []
    for packet in [*order, *order[:2]]:
        try:
            got += payloads(messages, packet)
        except DecodeError as error:
            assert error.reason == "sctp_again"
    assert got == [whole]
    messages.finish()
    assert messages.lost == []
    assert messages.held_bytes == 0


def test_messages_next_to_each_other_do_not_mix() -> None:
    """The end of one message is no part of the next, nor of another association."""
    messages = SctpMessages()
    assert payloads(messages, p.sctp(p.sctp_data(b"a1", 1, BEGIN)), p.sctp(p.sctp_data(b"b1", 3, BEGIN))) == []
    assert payloads(messages, p.sctp(p.sctp_data(b"x2", 2, END), tag=9)) == []
    assert payloads(messages, p.sctp(p.sctp_data(b"b2", 4, END))) == [b"b1b2"]
    assert payloads(messages, p.sctp(p.sctp_data(b"a2", 2, END))) == [b"a1a2"]


def test_a_chunk_sent_again_is_left_out() -> None:
    """What SCTP repeats is not what SIP repeats: it comes once, the other chunks of the packet do come."""
    messages = SctpMessages()
    one, two = p.sctp_data(b"one", 1), p.sctp_data(b"two", 2)
    assert payloads(messages, p.sctp(one)) == [b"one"]
    assert reason(p.sctp(one), messages) == "sctp_again"
    assert payloads(messages, p.sctp(one, two)) == [b"two"]
    assert payloads(messages, p.sctp(p.sctp_data(b"one", 1), tag=78)) == [b"one"]  # another association


def test_numbers_far_away_begin_anew() -> None:
    """An association that starts again with the same tag is not taken for old chunks."""
    messages = SctpMessages()
    numbers = [5_000, 3, 5_000, 5_001, 4_500, 4_500 + 2**31]
    assert len(payloads(messages, *(p.sctp(p.sctp_data(b"x", number)) for number in numbers))) == len(numbers)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (p.sctp(), "sctp"),
        (p.sctp(p.sctp_sack()), "sctp"),
        (p.sctp()[:11], "sctp_length"),
        (p.sctp(b"\0\3\0\3"), "sctp_length"),
        (p.sctp(b"\0\3\0\x10" + bytes(12)), "sctp_length"),
        (p.sctp(p.sctp_data(b"abcd", 1)[:-1]), "sctp_length"),
    ],
)
def test_packets_without_a_message_are_named(packet: bytes, expected: str) -> None:
    """Control chunks alone, and lengths that cannot be."""
    assert reason(packet) == expected


def test_chunks_before_a_broken_one_are_kept() -> None:
    """Half a packet is better than none."""
    assert payloads(SctpMessages(), p.sctp(p.sctp_data(b"good", 1), b"\0\3\0\1")) == [b"good"]


def test_a_packet_cut_anywhere_gives_the_beginning_or_a_reason() -> None:
    """What the capture has cut off is told."""
    packet = p.sctp(p.sctp_data(b"first", 1), p.sctp_data(b"second", 2))
    for size in range(len(packet)):
        try:
            got = SctpMessages().receive(carried(packet[:size], len(packet) - size), 1)
        except DecodeError as error:
            assert error.reason == "short"
            continue
        for each, whole in zip(got, (b"first", b"second"), strict=False):
            assert whole.startswith(each.payload)
            assert len(each.payload) + each.missing == len(whole)


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(0, 50))
def test_any_bytes_give_messages_or_a_reason(packets: list[bytes], missing: int) -> None:
    """No bytes make it fail in any other way, and the books close."""
    messages = SctpMessages()
    for packet in packets:
        for each in (packet, p.sctp(packet)):
            try:
                messages.receive(carried(each, missing), 1)
            except DecodeError as error:
                assert error.reason in ("short", "sctp", "sctp_again", "sctp_length")
    messages.finish()
    assert messages.held_bytes == 0


def test_parts_that_stay_alone_are_lost() -> None:
    """After the time-out, or at the end; the first part says what it was."""
    messages = SctpMessages()
    assert payloads(messages, p.sctp(p.sctp_data(b"INVITE", 1, BEGIN)), p.sctp(p.sctp_data(b"x", 3, MIDDLE))) == []
    messages.expire(1 + SCTP_TIMEOUT_US)
    assert messages.lost == []
    messages.expire(2 + SCTP_TIMEOUT_US)
    first, other = messages.lost
    assert first.beginning is not None
    assert (first.reason, first.beginning.payload) == ("fragment", b"INVITE")
    assert (other.reason, other.beginning) == ("fragment", None)


@pytest.mark.parametrize("size", [1, 1_400])
def test_a_flood_of_first_parts_keeps_memory_bounded(size: int) -> None:
    """What is held, measured, stays below the bound, for chunks and for what is known of associations."""
    messages = SctpMessages()
    for number in range(40_000):
        source = f"10.1.{number >> 8}.{number & 255}"
        packet = p.sctp(p.sctp_data(bytes([number & 255]) * size, number, BEGIN))
        assert messages.receive(carried(packet, source=source), 1) == []
    assert messages.held_bytes <= MAX_FRAGMENT_BYTES
    assert {lost.reason for lost in messages.lost} == {"fragment_memory"}
    messages.lost.clear()
    assert held_bytes(messages) <= MAX_FRAGMENT_BYTES + 1_000 * MAX_FRAGMENTED_PACKETS


def test_a_number_that_comes_again_while_it_waits_gives_up_the_first() -> None:
    """A flow that begins anew repeats its numbers: what waited under one is counted as lost, and held no more."""
    messages = SctpMessages()
    for number in (5, 5 + 2**31) * 3:
        messages.receive(carried(p.sctp(p.sctp_data(b"x" * 100, number, MIDDLE))), 1)
    messages.finish()
    assert messages.held_bytes == 0
    assert len(messages.lost) == 6


def test_parts_without_beginning_or_end_are_not_walked_along_for_each() -> None:
    """The work for one more part does not grow with those that wait beside it."""
    messages = SctpMessages()
    asked = 0

    class Counting(OrderedDict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            nonlocal asked
            asked += 1
            return super().get(key, default)

    messages._waiting = Counting()
    for number in range(5_000):
        assert payloads(messages, p.sctp(p.sctp_data(b"x", number, MIDDLE))) == []
    assert asked < 6 * 5_000
    messages.finish()
    assert (messages.held_bytes, len(messages.lost), messages._row_ends) == (0, 5_000, {})


def test_giving_up_one_part_gives_up_those_beside_it() -> None:
    """Without one part the message is lost: its others wait no longer, and those of other messages do."""
    messages = SctpMessages()
    parts = [(1, BEGIN), (2, MIDDLE), (4, BEGIN), (5, MIDDLE)]
    for at, (number, flags) in enumerate(parts):
        assert payloads(messages, p.sctp(p.sctp_data(b"part%d" % number, number, flags))) == [], at
    key = next(iter(messages._waiting))
    messages._give_up(key, "fragment_memory")
    assert [lost.beginning is not None for lost in messages.lost] == [True, False]
    assert payloads(messages, p.sctp(p.sctp_data(b"end", 6, END))) == [b"part4part5end"]
