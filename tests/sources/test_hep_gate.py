"""Received bytes to messages: counted, with the right key and a plausible clock."""

from __future__ import annotations

import hmac
import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.counters import Counters
from sipcap.sources.hep_gate import HepGate
from sipcap.wire.message import Message
from tests.support.messages import (
    BASE_TS_US,
    chunk,
    hep3,
    hep3_datagram,
    hep3_with,
    hep12,
    sip,
    time_block,
    usual_chunks,
)

KEY = b"s3cret"
YEAR_US = 365 * 86_400 * 1_000_000


def decode(*datagrams: bytes, key: bytes | None = None) -> tuple[list[Message], Counters]:
    """What a gate makes of datagrams, and what it counted; the sum must be right."""
    stats = Counters()
    messages = HepGate(stats, key).decode(list(datagrams))
    assert stats.received == len(messages) + stats.rejected.total()
    assert stats.datagrams == len(datagrams)
    assert stats.bytes == sum(map(len, datagrams))
    return messages, stats


def timed(ts_us: int) -> bytes:
    """A packet that says it was captured then."""
    return hep3(*usual_chunks(ts_us=ts_us), chunk(15, b"x"))


def test_decode_counts_messages_not_datagrams() -> None:
    """Three HEP messages in one datagram are three."""
    messages, stats = decode(b"".join(map(hep3_datagram, range(3))), hep3_datagram(3))
    assert (len(messages), stats.received, stats.datagrams) == (4, 4, 2)


def test_decode_keeps_what_stands_before_an_error() -> None:
    """A broken second message costs one message, not two."""
    messages, stats = decode(hep3_datagram(0) + hep3(chunk(15, b"x", length=99)))
    assert (len(messages), stats.received, stats.rejected) == (1, 2, {"chunk_length": 1})


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "empty"),
        (b"I", "short"),
        (b"INVITE sip:a@b SIP/2.0\r\n\r\n", "magic"),
        (b"\x80\x00" + bytes(170), "magic"),
        (b"HEP3", "short"),
        (b"HEP3\0\5", "length"),
        (hep3_datagram(0)[:-1], "length"),
        (hep3(chunk(0, b"")), "chunk_type"),
        (hep3(chunk(9, b"\0")), "chunk_size"),
        (hep3(chunk(16, b"\x78\x9c junk")), "inflate"),
        (hep12(b"x", family=9), "family"),
        (hep12(b"x")[:15], "short"),
        (hep12(b"", version=2), "short"),
    ],
)
def test_decode_rejects_by_reason(datagram: bytes, reason: str) -> None:
    """What is no HEP, or broken, is counted under the reason, and the next datagram is decoded."""
    messages, stats = decode(datagram, hep3_datagram(0))
    assert (len(messages), dict(stats.rejected)) == (1, {reason: 1})


@pytest.mark.parametrize("missing", [(2,), (11,), (2, 11), (1, 7, 8)])
def test_decode_takes_packets_that_end_kamailio(missing: tuple[int, ...]) -> None:
    """Without chunk 2 or 11 Kamailio dereferences null (spec 2.5); here they are messages like others."""
    chunks = [each for each in usual_chunks() if each[3] not in missing]
    messages, stats = decode(hep3(*chunks, chunk(15, b"OPTIONS sip:a@b SIP/2.0\r\n\r\n")))
    assert (len(messages), stats.rejected) == (1, {})


@given(st.lists(st.binary(max_size=200) | st.builds(bytes.__add__, st.just(b"HEP3"), st.binary(max_size=80))))
def test_decode_counts_any_bytes(datagrams: list[bytes]) -> None:
    """Random bytes become messages or counted rejections, nothing else."""
    decode(*datagrams)


def test_key_is_demanded_of_every_message() -> None:
    """Only messages with exactly the key pass; HEPv1 and v2 cannot carry one."""
    bad = [
        hep3_with(b"none"),
        hep3_with(b"wrong", chunk(14, b"S3cret")),
        hep3_with(b"shorter", chunk(14, KEY[:-1])),
        hep3_with(b"longer", chunk(14, KEY + b"!")),
        hep3_with(b"empty", chunk(14, b"")),
        hep12(b"version 1"),
        hep12(b"version 2", version=2, block=time_block(1_700_000_000, 0, 1)),
    ]
    messages, stats = decode(*bad, hep3_with(b"good", chunk(14, KEY)), key=KEY)
    assert [message.payload for message in messages] == [b"good"]
    assert stats.rejected == {"auth_key": len(bad)}


def test_key_is_demanded_of_each_message_in_a_datagram() -> None:
    """A good message does not vouch for the one behind it."""
    messages, stats = decode(hep3_with(b"good", chunk(14, KEY)) + hep3_with(b"bad"), key=KEY)
    assert ([message.payload for message in messages], stats.rejected) == ([b"good"], {"auth_key": 1})


def test_key_may_be_any_bytes() -> None:
    """Keys are octets, not text."""
    key = bytes(range(256))
    assert len(decode(hep3_with(b"x", chunk(14, key)), key=key)[0]) == 1


def test_key_without_need_is_ignored() -> None:
    """Agents may send a key that nobody asks for."""
    assert len(decode(hep3_with(b"x", chunk(14, KEY)))[0]) == 1


def test_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a comparison takes does not tell how much of a guess was right."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return first == second

    monkeypatch.setattr(hmac, "compare_digest", compare)
    decode(hep3_with(b"x", chunk(14, b"S3cret")), key=KEY)
    assert compared == [(b"S3cret", KEY)]


def version_2(ts_us: int) -> bytes:
    """The same in HEPv2."""
    return hep12(b"x", version=2, block=time_block(ts_us // 1_000_000, ts_us % 1_000_000, 1))


@pytest.mark.parametrize("make", [timed, version_2])
@pytest.mark.parametrize("ts_us", [631_152_000_000_001, 2_208_988_800_000_002, 0xFFFFFFFF * 1_000_000 + 7])
def test_clock_that_is_absurd_gives_the_arrival_time(make: Callable[[int], bytes], ts_us: int) -> None:
    """1990, 2040 and 2106 are no times of live traffic; the sender's own time stays in the envelope."""
    before_us = time.time_ns() // 1_000
    (message,), stats = decode(make(ts_us))
    assert before_us <= message.ts_us <= time.time_ns() // 1_000
    assert (message.extra, stats.clock_skew) == ({"original_ts_us": ts_us}, 1)


@pytest.mark.parametrize("off_us", [-20 * YEAR_US, -86_400_000_000, 0, 3_600_000_000, 86_000_000_000])
def test_clock_that_is_plausible_is_believed(off_us: int) -> None:
    """Old captures, and clocks that are hours ahead, keep their time."""
    ts_us = time.time_ns() // 1_000 + off_us
    (message,), stats = decode(timed(ts_us))
    assert (message.ts_us, message.extra, stats.clock_skew) == (ts_us, None, 0)


@pytest.mark.parametrize(("ts_us", "skewed"), [(946_684_799_999_999, 1), (946_684_800_000_000, 0)])
def test_clock_begins_with_the_year_2000(ts_us: int, skewed: int) -> None:
    """The first second of 2000 is believed, the one before it is not."""
    assert decode(timed(ts_us))[1].clock_skew == skewed


def test_clock_that_is_not_sent_is_no_skew() -> None:
    """HEPv1 has no time, and zero seconds mean none: nothing is wrong with that."""
    no_time = [each for each in usual_chunks() if each[3] not in (9, 10)]
    messages, stats = decode(hep12(b"x"), hep3(*no_time, chunk(15, b"x")), timed(0))
    assert ([message.ts_us for message in messages], stats.clock_skew) == ([0, 0, 0], 0)


def test_clock_with_more_than_a_million_microseconds_is_added() -> None:
    """Microseconds are not checked by the module, and simply added (spec 2.5)."""
    odd = [*usual_chunks(), chunk(10, struct.pack(">I", 3_500_000)), chunk(15, b"x")]
    (message,), _ = decode(hep3(*odd))
    assert message.ts_us == BASE_TS_US // 1_000_000 * 1_000_000 + 3_500_000


def test_clock_skew_keeps_the_rest_of_the_envelope() -> None:
    """The original time stands beside what was there."""
    (message,), _ = decode(hep3(*usual_chunks(ts_us=5_000_000), chunk(0x12, b"\0\7"), chunk(15, b"x")))
    assert message.extra == {"vlan": 7, "original_ts_us": 5_000_000}


def test_messages_know_the_packet_that_they_came_in() -> None:
    """Whoever forwards sends it once: all messages of a datagram have the same object, also before an error."""
    datagrams = [hep3_with(sip()), hep3_with(sip()) * 2 + b"x", hep12(sip()), hep3_with(sip()) + b"HEP3\0\1"]
    messages = HepGate(Counters()).decode(datagrams)
    assert [message.frame for message in messages] == [datagrams[0], datagrams[1], datagrams[1], *datagrams[2:]]
    assert messages[1].frame is messages[2].frame
    assert [message.frame_at for message in messages] == [0, 0, len(datagrams[0]), 0, 0]
