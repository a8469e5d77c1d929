"""Captures with SIP and HEP over TCP, read as a user reads them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from sipcap.counters import Counters
from sipcap.errors import InputError
from sipcap.sources.packet_decoder import PacketDecoder
from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.wire.hep_encode import encode_hep
from sipcap.wire.link import LINK_TYPES
from sipcap.wire.message import Message
from tests.conftest import RunSipcap
from tests.support import packets as p
from tests.support.tcp import FIRST_US, MASK, SWITCHED, TLS_DATA, TLS_HELLO, UPGRADE, Side, Talk, cut, tcp, ws_frame

A = b"INVITE sip:b@example.com SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nCall-ID: 1\r\nContent-Length: 4\r\n\r\nbody"
R = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP h\r\nCall-ID: 1\r\nl: 0\r\n\r\n"


def read(path: Path, *talks: Talk, ports: range | None = None) -> tuple[list[Message], PcapSource]:
    """The messages of these connections in one capture."""
    path.write_bytes(p.pcap(sorted(frame for talk in talks for frame in talk.frames())))
    source = PcapSource(PcapOptions([str(path)], ports))
    source.open()
    messages = []
    for batch in source:
        assert len(source.packet_times) == len(batch)
        messages += batch
    return messages, source


def test_capture_of_connections_adds_up(tmp_path: Path) -> None:
    """Messages, losses and what is no message are counted as for UDP; TLS once a connection."""
    talks = [
        Talk().open().ask(A, A[:30]).answer(R).close(),
        Talk(Side("192.0.2.7", 1, 1)).open().ask(TLS_HELLO).answer(*[TLS_DATA] * 9).close(),
        Talk(Side("192.0.2.8", 1, 1)).open().ask(b"SSH-2.0-x\r\n" + b"x" * 9_000).close(),
        Talk(Side("192.0.2.9", 1, 1)).open().ask(A[:-2]),
    ]
    messages, source = read(tmp_path / "x.pcap", *talks)
    stats = source.stats
    assert Counter(message.payload for message in messages) == {A: 1, R: 1, A[:-2]: 1}
    assert stats.rejected == {"incomplete": 1}
    assert (stats.received, stats.truncated) == (4, 1)
    assert not source.skipped
    assert source.tcp.without_sip == {"tls": 1, "tcp": 1}
    assert stats.packets == source.tcp.packets == sum(len(talk.segments) for talk in talks)


def test_capture_with_hep_over_tcp_gives_what_is_in_it(tmp_path: Path) -> None:
    """HEP is unwrapped, and the time of each packet is beside it, for a replay at the captured pace."""
    frame = encode_hep(Message(A, 5_000_000, "198.51.100.1", 7, "198.51.100.2", 8, 17, 2, hep_version=3))
    talk = Talk(server=Side("192.0.2.2", 9060, 1)).open().ask(*cut(frame * 3, 100, len(frame) + 5)).close()
    messages, source = read(tmp_path / "x.pcap", talk)
    assert [(each.payload, each.ts_us, each.source_port) for each in messages] == [(A, 5_000_000, 7)] * 3
    assert source.stats.received == 3


@pytest.mark.parametrize(("ports", "wanted"), [(range(5060, 5061), 2), (range(5061, 5062), 0)])
def test_capture_read_with_ports_has_streams_on_them(tmp_path: Path, ports: range, wanted: int) -> None:
    """The port filter takes connections as it takes datagrams."""
    messages, source = read(tmp_path / "x.pcap", Talk().open().ask(A).answer(R).close(), ports=ports)
    assert len(messages) == source.stats.received == wanted
    assert not source.skipped
    assert source.tcp.without_sip == ({} if wanted else {"ports": 1})


def write(path: Path, frames: list[p.Captured]) -> str:
    """A capture with these frames."""
    path.write_bytes(p.pcap(frames))
    return str(path)


def payloads(*paths: str, loops: int = 1) -> list[bytes]:
    """What captures that are read together give; one that is broken is told at the end."""
    source = PcapSource(PcapOptions(paths, loops=loops))
    source.open()
    found: list[bytes] = []
    try:
        for batch in source:
            assert len(source.packet_times) == len(batch)
            found += [message.payload for message in batch]
    except InputError:
        found.append(b"broken")
    assert source.stats.imbalance() == len(found) - found.count(b"broken")
    return found


@pytest.mark.parametrize("at", range(1, 8))
def test_captures_rotated_within_a_message_give_it_whole(tmp_path: Path, at: int) -> None:
    """A file ends where it is full, not where a message ends."""
    frames = Talk().open().ask(*cut(A, 20, 40)).answer(R).frames()
    both = write(tmp_path / "1.pcap", frames[:at]), write(tmp_path / "2.pcap", frames[at:])
    assert payloads(*both) == [A, R]


def test_captures_that_do_not_follow_each_other_are_read_alone(tmp_path: Path) -> None:
    """The same capture twice, or one from before, has its messages again; nothing is joined to it."""
    frames = Talk().ask(A[:60], A[60:]).answer(R).frames()
    one, two = write(tmp_path / "1.pcap", frames[:1]), write(tmp_path / "2.pcap", frames[1:])
    whole = write(tmp_path / "whole.pcap", frames)
    assert payloads(whole, whole) == [A, R, A, R]
    assert payloads(whole, loops=3) == [A, R] * 3
    assert payloads(one, two, loops=2) == [A, R] * 2
    assert payloads(two, one)[0] == R


def test_captures_of_which_the_last_is_none_lose_nothing(tmp_path: Path) -> None:
    """What waits is handed on, whatever is wrong with the captures behind it."""
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(b"no capture")
    one = write(tmp_path / "1.pcap", Talk().ask(A).frames())
    assert payloads(one, str(broken)) == [A, b"broken"]
    assert payloads(str(broken), one) == [A, b"broken"]


def test_decoder_gives_the_same_for_usual_and_unusual_frames() -> None:
    """VLANs, IP options and TCP options change the way through the code, and no message."""
    seen = []
    for vlans, ip_options, tcp_options in (
        ((), b"", b""),
        ((7,), b"", b""),
        ((), b"\1\1\1\1", b""),
        ((), b"", b"\1\1\1\1"),
    ):
        decoder = PacketDecoder(Counters(), Counter())
        packets = []
        for number, (flags, payload) in enumerate(((2, b""), (24, A[:30]), (24, A[30:] + R))):
            sequence = 1_000 + (0, 1, 31)[number]
            segment = tcp(payload, sequence=sequence, flags=flags, options=tcp_options)
            frame = p.ethernet(p.ip4(segment, 6, options=ip_options), vlans=vlans)
            packets.append((FIRST_US + number, frame + b"\0" * 3, LINK_TYPES[1]))
        messages = decoder.decode(packets)
        assert decoder.packet_times == [FIRST_US + 2] * 2
        assert all((each.extra or {}).get("vlan") == (vlans or (None,))[0] for each in messages)
        seen.append([(each.payload, each.ts_us, each.source_ip, each.source_port) for each in messages])
    expected = [(A, FIRST_US + 1, p.SOURCE, 40_000), (R, FIRST_US + 2, p.SOURCE, 40_000)]
    assert seen == [expected] * 4


def test_decoder_hands_out_what_waits_when_time_goes_on() -> None:
    """A live capture that has no packets says what time it is, and gets what waited."""
    decoder = PacketDecoder(Counters(), Counter())
    ((ts_us, frame),) = Talk().ask(A).frames()
    assert decoder.decode([(ts_us, frame, LINK_TYPES[1])]) == []
    (message,) = decoder.expire(ts_us + 200_000)
    assert (message.payload, message.ts_us, decoder.packet_times) == (A, ts_us, [ts_us + 200_000])
    assert decoder.finish() == []


def test_replay_writes_streams_as_records(sipcap: RunSipcap, tmp_path: Path) -> None:
    """SIP over TCP is proto 2 and over WebSocket 5; both have the times of their first bytes."""
    websocket = Talk(Side("192.0.2.7", 1, 1)).wait(1).open().ask(UPGRADE).answer(SWITCHED).ask(ws_frame(A, mask=MASK))
    path = tmp_path / "x.pcap"
    path.write_bytes(p.pcap(Talk().open().ask(*cut(A, 50)).answer(R).close().frames() + websocket.frames()))
    done = sipcap("replay", str(path))
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [(each["method"], each["proto"], each["source_ip"], each["micro_ts"]) for each in records] == [
        ("INVITE", 2, "192.0.2.1", FIRST_US + 3_000),
        ("200", 2, "192.0.2.2", FIRST_US + 5_000),
        ("INVITE", 5, "192.0.2.7", FIRST_US + 1_005_000),
    ]
    assert [each["msg"] for each in records] == [A.decode(), R.decode(), A.decode()]


def test_replay_of_a_message_that_is_cut_exits_1(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A message that the capture has only the beginning of is lost, and said."""
    path = tmp_path / "x.pcap"
    path.write_bytes(p.pcap(Talk().open().ask(A, R[:20]).frames()))
    done = sipcap("replay", str(path))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert b"incomplete 1" in done.stderr
