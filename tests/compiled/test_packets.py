"""The twin of packet decoding does what its reference does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.counters import Counters
from sipcap.sources import pcap_reader
from sipcap.sources.packet_decoder import Packet, PacketDecoder
from sipcap.sources.passed_over import TcpCounts
from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.wire import media_reports, packet, pcap, pcapng
from sipcap.wire.link import LINK_TYPES
from sipcap.wire.message import Message
from tests.conftest import ROOT
from tests.support import packets as p
from tests.support.layered import CASES, SEGMENT_CASES, two_segments
from tests.support.messages import BASE_TS_US, hep3_datagram, sip, sip_message
from tests.support.rtcp import sender_report
from tests.support.twins import need_twins

CORPUS: Final = ROOT.parent / "shared" / "corpus" / "pcap"
FILTERS: Final[tuple[Container[int] | None, ...]] = (None, range(5_060, 5_062), frozenset({5_062, 9}), range(0))
LONG_LINE: Final = b"INVITE sip:" + b"a" * 2_030

PAYLOADS: Final = (
    sip(), sip_message(0), sip_message(1), b"\r\n" + sip(), b"", b"\0", b"\r\n\r\n", b" ", b"\0\0x",
    b"SIP/2.0 ", b"SIP/2.0 1", b"SIP/2.0 200 OK\r\n", b"SIP/2.0 20x", b"SIP/2.0 2x0", b"SIP/2.0 \xb2\xb3\xb9",
    b"INVITE ", b"INVITE sip:a SIP/2.0", b"INVITE SIP/2.0\r\n", b"INVITE sip:a SIP/2.", b"INVITE sip:a\n SIP/2.0",
    b"NOTIFY * HTTP/1.1\r\nA: SIP/2.0\r\n", b"FOO sip:a SIP/2.0\r\n\r\n", b"\nINVITE sip:a SIP/2.0",
    b"INVITE \nSIP/2.0", b"INVITE SIP/2.0 SIP/2.0", LONG_LINE, LONG_LINE + b" SIP/2.0\r\n",
    *(b"INVITE sip:".ljust(size, b"a") + b" SIP/2.0\r\n" for size in range(2_036, 2_050)),
    b"\x80\x08" + bytes(20), b"\x80", b"\xbf\xc1" + bytes(20), b"\x80\xc8\0\1" + bytes(8), sender_report(),
    b"\xc0" * 30, hep3_datagram(3), b"HEP3", b"EEP1\0", b"Huh", b"E SIP/2.0", b"\1\x10\2\x11" + bytes(40), b"\2",
    b"\x16\x03\x01\x02",
)  # fmt: skip


def _frames(payload: bytes) -> list[tuple[int, bytes]]:
    """Link types with a usual frame of each kind around a payload, and others that nearly are."""
    packet, packet6 = p.ip4(p.udp(payload)), p.ip6(p.udp(payload))
    return [
        (p.ETHERNET, p.ethernet(packet)),
        (p.ETHERNET, p.ethernet(packet) + b"\0" * 6),
        (p.ETHERNET, p.ethernet(packet, vlans=(100,))),
        (p.ETHERNET, p.ethernet(packet, vlans=(7, 100))),
        (p.ETHERNET, p.ethernet(packet, vlans=(0, 7, 100))),
        (p.ETHERNET, p.ethernet(packet, ether_type=p.IP6_TYPE)),
        (p.ETHERNET, p.ethernet(packet6)),
        (p.ETHERNET, p.ethernet(p.ip4(p.udp(payload), tos=0xB8))),
        (p.ETHERNET, p.ethernet(p.ip4(p.udp(payload, length=8 + len(payload) // 2)))),
        (p.ETHERNET, p.ethernet(p.ip4(p.udp(payload, 50_000, p.VXLAN_PORT)))),
        (p.ETHERNET, p.ethernet(p.ip4(p.udp(payload, p.GENEVE_PORT, 4)))),
        (p.ETHERNET, p.ethernet(p.ip4(p.udp(payload), 136))),
        (p.ETHERNET, p.ethernet(p.fragments4(p.udp(payload + bytes(16)), [16])[0])),
        (p.COOKED1, p.cooked1(packet)),
        (p.COOKED1, p.cooked1(packet, vlan=9)),
        (p.COOKED2, p.cooked2(packet)),
        (p.COOKED2, p.cooked2(packet, vlan=9)),
        (p.RAW, packet),
        (p.NULL, p.loopback(packet)),
        (p.PPP, p.ppp(packet)),
    ]


def _decoded(packets: Sequence[Packet], ports: Container[int] | None, *, twins: bool, batch: int = 7) -> Any:
    """What comes of packets in all that one can see, and how many the twin took."""
    stats, skipped, tcp = Counters(), Counter[str](), TcpCounts()
    decoder = PacketDecoder(stats, skipped, ports, tcp)
    usual = decoder._usual
    assert usual is not None
    if not twins:
        decoder._usual = None
    messages: list[Message] = []
    times: list[int] = []
    for begin in range(0, len(packets), batch):
        messages += decoder.decode(packets[begin : begin + batch])
        times += decoder.packet_times
    messages += decoder.finish()
    return (messages, times, stats.as_dict(), skipped, vars(tcp), decoder.last_us), usual.taken


def _assert_equal(packets: Sequence[Packet], ports: Container[int] | None = None) -> int:
    """Decode with and without the twin; returns how many packets the twin took."""
    found, taken = _decoded(packets, ports, twins=True)
    expected, none = _decoded(packets, ports, twins=False)
    assert found == expected
    assert none == 0
    types = [(type(message.extra), type(message.payload), type(message.ts_us)) for message in found[0]]
    assert types == [(type(message.extra), type(message.payload), type(message.ts_us)) for message in expected[0]]
    return int(taken)


def _packets(frames: Iterable[tuple[int, bytes]]) -> list[Packet]:
    return [(BASE_TS_US + 1_000 * number, frame, LINK_TYPES[link]) for number, (link, frame) in enumerate(frames)]


@pytest.mark.parametrize("ports", FILTERS, ids=repr)
def test_twin_every_kind_of_payload_gives_what_the_reference_gives(ports: Container[int] | None) -> None:
    """Whatever a datagram carries, in whatever frame."""
    need_twins()
    packets = _packets(each for payload in PAYLOADS for each in _frames(payload))
    assert _assert_equal(packets, ports) >= 24


@pytest.mark.parametrize("name", CASES)
def test_twin_every_layer_gives_what_the_reference_gives(name: str) -> None:
    """Packets through all layers, between usual ones."""
    need_twins()
    case = CASES[name]
    frames = [(case.link, each) for each in case.frames(sip())]
    packets = _packets([(p.ETHERNET, CASES["ethernet"].frames(sip())[0]), *frames, (p.RAW, p.ip4(p.udp(sip())))])
    assert _assert_equal(packets) >= 2


@pytest.mark.parametrize("name", SEGMENT_CASES)
def test_twin_segments_between_datagrams_give_what_the_reference_gives(name: str) -> None:
    """Each message has the time of the packet that completed it, and all their order."""
    need_twins()
    frames = [frame for each in two_segments(name, sip_message(7)) for frame in (each, p.ethernet(p.ip4(p.udp(sip()))))]
    assert _assert_equal(_packets((p.ETHERNET, frame) for frame in frames)) == len(frames) // 2


@pytest.mark.parametrize("at", range(20))
def test_twin_frames_cut_anywhere_give_what_the_reference_gives(at: int) -> None:
    """A capture may end a frame at any byte."""
    need_twins()
    link, frame = _frames(sip_message(2)[:200])[at]
    _assert_equal(_packets((link, frame[:size]) for size in range(len(frame) + 1)))


@pytest.mark.parametrize("at", [0, 2, 13, 15, 17, 18])
@pytest.mark.parametrize("ports", FILTERS[:2], ids=repr)
def test_twin_changed_bytes_give_what_the_reference_gives(at: int, ports: Container[int] | None) -> None:
    """Any one bit of a usual frame is another."""
    need_twins()
    link, frame = _frames(b"OPTIONS sip:a SIP/2.0\r\nA: b\r\n\r\n")[at]
    changed = [
        frame[:byte] + bytes((frame[byte] ^ 1 << bit,)) + frame[byte + 1 :]
        for byte in range(len(frame))
        for bit in range(8)
    ]
    assert _assert_equal(_packets((link, each) for each in changed), ports) > len(frame)


@given(st.lists(st.tuples(st.sampled_from([0, 1, 9, 101, 113, 276]), st.binary(max_size=90)), max_size=4))
def test_twin_any_bytes_give_what_the_reference_gives(frames: list[tuple[int, bytes]]) -> None:
    """Whatever is captured."""
    need_twins()
    _assert_equal(_packets(frames))


@given(st.binary(max_size=70), st.integers(0, 19), st.sampled_from(FILTERS))
def test_twin_any_payload_gives_what_the_reference_gives(payload: bytes, at: int, ports: Container[int] | None) -> None:
    """Whatever is in a datagram."""
    need_twins()
    _assert_equal(_packets([_frames(payload)[at]]), ports)


@pytest.mark.parametrize(
    "ts_us", [0, -1, 1, (1 << 32) * 1_000_000 - 1, (1 << 32) * 1_000_000, 1 << 62, 1 << 63, 1 << 90, -(1 << 90)]
)
def test_twin_any_time_gives_what_the_reference_gives(ts_us: int) -> None:
    """Times that no row can hold are rejected by both."""
    need_twins()
    frame = p.ethernet(p.ip4(p.udp(sip())))
    _assert_equal([(ts_us, frame, LINK_TYPES[1]), (BASE_TS_US, frame, LINK_TYPES[1])])


def test_twin_many_addresses_and_headers_keep_theirs() -> None:
    """What it remembers of addresses, cards and VLANs never becomes that of another packet."""
    need_twins()
    numbers = random.Random(5)
    frames = []
    for _ in range(6_000):
        source, destination = (".".join(str(numbers.randrange(1, 250)) for _ in range(4)) for _ in range(2))
        datagram = p.udp(sip(), numbers.randrange(65_536))
        packet = p.ip4(datagram, tos=numbers.randrange(4), source=source, destination=destination)
        frame = p.ethernet(packet, vlans=[numbers.randrange(4_096)] * numbers.randrange(3))
        frames.append((p.ETHERNET, numbers.randbytes(12) + frame[12:] if numbers.randrange(2) else frame))
    assert _assert_equal(_packets([*frames, *frames])) == 12_000


def test_twin_messages_do_not_share_what_can_change() -> None:
    """Who writes into one message's fields writes into no other's."""
    need_twins()
    frame = p.ethernet(p.ip4(p.udp(sip())))
    one, other = PacketDecoder(Counters(), Counter()).decode(_packets([(p.ETHERNET, frame)] * 2))
    assert one.extra is not None
    one.extra["node_name"] = "x"
    assert other.extra is not None
    assert "node_name" not in other.extra


def test_twin_is_not_used_for_ports_that_cannot_be_listed() -> None:
    """A container that can only be asked is asked, by the reference."""

    class Odd:
        def __contains__(self, port: object) -> bool:
            return port == 5_060

    assert PacketDecoder(Counters(), Counter(), Odd())._usual is None


def _read(path: Path) -> Any:
    source = PcapSource(PcapOptions([str(path)]))
    source.open()
    messages = [message for each in source for message in each]
    return messages, source.stats.as_dict(), source.skipped


def _reference_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what the modules chose as they were imported."""
    monkeypatch.setattr(pcap, "_cut", pcap.cut_records)
    monkeypatch.setattr(pcapng, "_cut", pcapng.cut_blocks)
    monkeypatch.setattr(pcap_reader, "_packets", pcap_reader.packets_of)
    monkeypatch.setattr(media_reports, "_relate", media_reports.relate)
    monkeypatch.setattr(packet, "twins", lambda: None)


@pytest.mark.parametrize("name", ["hep3-homer.pcap", "ipip-heplify.pcap", "sngrep-aaa.pcap"])
def test_corpus_reads_the_same_with_and_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other projects' captures."""
    need_twins()
    if not (CORPUS / name).exists():
        pytest.skip("corpus is not here")
    found = _read(CORPUS / name)
    _reference_only(monkeypatch)
    assert found == _read(CORPUS / name)


@pytest.mark.parametrize("make", [p.pcap, p.pcapng])
def test_usual_capture_goes_through_the_twins_alone(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIP and RTP need the references for nothing; with the references alone, the same comes out."""
    need_twins()
    path = tmp_path / "x.pcap"
    payloads = [sip_message(number) if number % 2 else b"\x80\x08" + bytes(160) for number in range(1_000)]
    path.write_bytes(make((BASE_TS_US + 7 * at, p.ethernet(p.ip4(p.udp(each)))) for at, each in enumerate(payloads)))
    with monkeypatch.context() as patch:
        patch.setattr(PacketDecoder, "_decode_one", None)
        patch.setattr(pcap_reader, "packets_of", None)
        patch.setattr(pcapng, "cut_blocks", None)
        patch.setattr(pcap, "cut_records", None)
        found = _read(path)
    assert [message.payload for message in found[0]] == payloads[1::2]
    assert found[2] == {"other": 500}
    _reference_only(monkeypatch)
    assert _read(path) == found


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1, 5, 100]),
            st.binary(max_size=40) | st.sampled_from([b"v=0", b"av=0", b"v=", b"v=v=0b", b"=0v=0", sip_message(0)]),
        )
    )
)
def test_relate_twin_finds_the_same_sdp_in_the_same_order(told: list[tuple[int, bytes]]) -> None:
    """Notes and reports come in the order of their messages."""
    need_twins()
    messages = [Message(payload, payload_type=kind) for kind, payload in told]
    orders = []
    for relate in (media_reports.relate, media_reports._relate):
        noted: list[tuple[int, bytes]] = []
        reported: list[tuple[int, bytes]] = []
        order = 0

        def put(told: list[tuple[int, Any]], each: Any) -> None:
            nonlocal order
            order += 1
            told.append((order, each))

        relate(messages, 1, b"v=0", partial(put, noted), partial(put, reported))
        orders.append((noted, reported))
    assert orders[0] == orders[1]
