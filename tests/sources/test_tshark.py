"""Captures through tshark: the same as the native reader, and what that cannot open."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import BadFilterError, CannotStart, DecodeError, InputError
from sipcap.sources.tshark import TsharkOptions, TsharkSource
from sipcap.sources.tshark_lines import decode_line
from sipcap.wire.message import Message
from tests.support import packets as p
from tests.support.capture_files import Section
from tests.support.layered import CASES, SEGMENT_CASES, two_segments
from tests.support.messages import BASE_TS_US, hep3_datagram, sip, sip_message
from tests.support.programs import need
from tests.support.tls import self_signed
from tests.support.tls_capture import capture_tls
from tests.support.tshark import native, seen

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus" / "pcap"


@pytest.fixture(autouse=True)
def tshark_is_here() -> None:
    """These tests need the program."""
    need("tshark")


@pytest.mark.parametrize("name", ["hep3-homer.pcap", "ipip-heplify.pcap", "sngrep-aaa.pcap"])
def test_tshark_of_a_corpus_capture_gives_the_native_messages(name: str) -> None:
    """Bytes, times and envelopes are those of the native reader, in the same order."""
    if not (CORPUS / name).exists():
        pytest.skip("corpus is not here")
    messages, _ = seen(CORPUS / name)
    assert messages
    assert messages == native(CORPUS / name)


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "Ethernet": (p.ETHERNET, p.ethernet),
    "VLAN": (p.ETHERNET, lambda packet: p.ethernet(packet, vlans=(100,))),
    "QinQ": (p.ETHERNET, lambda packet: p.ethernet(packet, vlans=(200, 100))),
    "cooked": (p.COOKED1, p.cooked1),
    "cooked v2": (p.COOKED2, p.cooked2),
    "raw": (p.RAW, bytes),
    "loopback": (p.NULL, p.loopback),
}


@pytest.mark.parametrize("link", LINKS)
def test_tshark_of_a_generated_capture_gives_the_native_messages(tmp_path: Path, link: str) -> None:
    """On every link layer, over IPv4 and IPv6, SIP and HEP are the same messages to both."""
    number, build = LINKS[link]
    path = tmp_path / "calls.pcap"
    payloads = [*(sip_message(each) for each in range(6)), sip(body=bytes(range(1, 256))), hep3_datagram(0)]
    datagrams = [p.udp(each, 5060, 5062) for each in payloads]
    packets = [p.ip4(each, tos=0x60) for each in datagrams] + [p.ip6(each, tos=0x60) for each in datagrams]
    path.write_bytes(p.pcap(((BASE_TS_US + at, build(each)) for at, each in enumerate(packets)), number))
    messages, _ = seen(path)
    assert messages == native(path)
    assert len(messages) == 16


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.blind and not case.options])
def test_tshark_of_a_layer_gives_the_native_message(tmp_path: Path, name: str) -> None:
    """In every tunnel and in fragments, the message and its envelope are the same to both."""
    path = tmp_path / "layer.pcap"
    frames = CASES[name].frames(sip())
    path.write_bytes(p.pcap(((BASE_TS_US, frame) for frame in frames), CASES[name].link))
    messages, _ = seen(path)
    assert len(messages) == 1
    assert messages == native(path)


@pytest.mark.parametrize("name", SEGMENT_CASES)
def test_tshark_of_segments_gives_the_native_message(tmp_path: Path, name: str) -> None:
    """A message in two segments is one to both, whatever the segments are in."""
    path = tmp_path / "segments.pcap"
    path.write_bytes(p.pcap((BASE_TS_US, frame) for frame in two_segments(name, sip(), 1)))
    messages, _ = seen(path)
    assert len(messages) == 1
    assert messages == native(path)


def test_tshark_with_ports_takes_what_is_on_them(tmp_path: Path) -> None:
    """SIP on a port that tshark does not know is found if the port is named, and other ports are left out."""
    path = tmp_path / "ports.pcap"
    path.write_bytes(p.pcap((BASE_TS_US, p.ethernet(p.ip4(p.udp(sip(), port, 9)))) for port in (5060, 7_001, 7_002)))
    messages, _ = seen(path, ports=range(7_001, 7_003))
    assert [message.source_port for message in messages] == [7_001, 7_002]
    assert messages == native(path, ports=range(7_001, 7_003))


def test_tshark_with_a_display_filter_takes_what_matches(tmp_path: Path) -> None:
    """A filter of Wireshark's chooses among the messages."""
    path = p.sip_capture(tmp_path / "calls.pcap", [sip(), sip(headers={"CSeq": "7 BYE"})], first_us=BASE_TS_US)
    messages, source = seen(path, display_filter="sip.CSeq.seq == 7 or frame.number == 99")
    assert [message.ts_us for message in messages] == [BASE_TS_US + 1_000]
    assert source.stats.packets == 1


@pytest.mark.parametrize("expression", ["sip.nonsense == 1", "sip &&", "(((", ") || (frame"])
def test_tshark_refuses_a_bad_display_filter(tmp_path: Path, expression: str) -> None:
    """What is no filter is said before anything is read."""
    source = TsharkSource(TsharkOptions([str(tmp_path / "none")], display_filter=expression))
    with pytest.raises(BadFilterError, match="no display filter"):
        source.open()


def test_tshark_missing_says_what_to_install(tmp_path: Path) -> None:
    """Without the program there is no start, and the error says how to get it."""
    source = TsharkSource(TsharkOptions([str(tmp_path / "none")], program="no-such-tshark"))
    with pytest.raises(CannotStart, match="apt install"):
        source.open()


def test_tshark_decrypts_tls_with_its_keys(tmp_path: Path) -> None:
    """Several messages in one record, and one in several, come out byte by byte; without keys there is nothing."""
    if os.geteuid():
        pytest.skip("capturing on loopback needs root")
    body = bytes(range(1, 256)) * 100
    calls = [sip_message(number) for number in range(6)]
    calls.append(sip(headers={"Content-Length": str(len(body))}, body=body))
    sent = [calls[0], calls[1] + calls[2], calls[3][:100], calls[3][100:] + b"\r\n\r\n", calls[4], calls[5], calls[6]]
    capture = capture_tls(tmp_path, self_signed(tmp_path, "server"), sent)
    ports = range(capture.server_port, capture.server_port + 1)
    messages, _ = seen(capture.path, keylog=str(capture.keylog), ports=ports)
    assert [message.payload for message in messages] == calls
    for message in messages:
        assert (message.source_ip, message.source_port) == ("127.0.0.1", capture.client_port)
        assert (message.destination_ip, message.destination_port) == ("127.0.0.1", capture.server_port)
        assert (message.ip_protocol, message.family) == (22, 2)
    assert seen(capture.path, ports=ports)[0] == []


def test_tshark_of_a_cut_capture_gives_what_is_whole_and_an_error(tmp_path: Path) -> None:
    """A capture that breaks off is not taken for one that is over."""
    path = p.sip_capture(tmp_path / "cut.pcap", [sip_message(0), sip_message(1)], first_us=BASE_TS_US)
    path.write_bytes(path.read_bytes()[:-1])
    source = TsharkSource(TsharkOptions([str(path)]))
    source.open()
    messages: list[Message] = []
    with pytest.raises(InputError, match="cut short"):
        for batch in source:
            messages += batch
    assert [message.payload for message in messages] == [sip_message(0)]


def test_tshark_of_what_is_no_capture_is_an_error(tmp_path: Path) -> None:
    """Tshark's own words say what is wrong."""
    path = tmp_path / "x"
    path.write_bytes(b"root:x:0:0")
    source = TsharkSource(TsharkOptions([str(path)]))
    source.open()
    with pytest.raises(InputError, match=r"x: tshark: .*isn't a capture file"):
        list(source)


def test_tshark_that_dies_is_an_error(tmp_path: Path) -> None:
    """A tshark that is killed does not leave silence."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    os.write(writer, p.pcap([(BASE_TS_US, p.ethernet(p.ip4(p.udp(sip()))))]))
    source = TsharkSource(TsharkOptions([str(path)]))
    source.open()
    assert source.is_live
    batches = iter(source)
    assert next(batches) == []
    assert source._process is not None
    os.kill(source._process.pid, signal.SIGKILL)
    with pytest.raises(InputError, match="ended by signal 9"):
        list(batches)
    os.close(writer)


def test_tshark_reads_a_pipe_while_it_is_open(tmp_path: Path) -> None:
    """Messages of a live pipe come while its writer goes on, and a stop ends tshark, too."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    frame = p.ethernet(p.ip4(p.udp(sip())))
    os.write(writer, p.pcap([(BASE_TS_US, frame)]))
    source = TsharkSource(TsharkOptions([str(path)]))
    source.open()
    until_s = time.monotonic() + 30
    found = 0
    for batch in source:
        found += len(batch)
        assert time.monotonic() < until_s
        if found == 1:
            process = source._process
            source.stop()
    assert process is not None
    assert process.poll() is not None
    os.close(writer)


def test_tshark_cut_packets_are_counted(tmp_path: Path) -> None:
    """What the snap length has cut off is counted as truncated."""
    path = tmp_path / "cut.pcap"
    path.write_bytes(p.pcap([(BASE_TS_US, p.ethernet(p.ip4(p.udp(sip_message(0)))))], snaplen=300))
    messages, source = seen(path)
    assert [message.payload for message in messages] == [sip_message(0)[:258]]
    assert source.stats.truncated == 1


def test_tshark_of_times_that_no_row_can_hold_counts_them(tmp_path: Path) -> None:
    """Before 1970 and behind 2106, SIP and HEP are rejected, as by the native reader; what comes between is taken."""
    section = Section("<")
    datagrams = [p.udp(each, 5060, 5062) for each in (sip_message(0), hep3_datagram(1))]
    frames = [p.ethernet(p.ip4(each)) for each in datagrams]
    times_us = (500_000, 1_900_000, 2_000_000, 5_000_000, (1 << 32) * 1_000_000 + 2_000_000)
    blocks = [section.packet(0, units, frame) for units in times_us for frame in frames]
    path = tmp_path / "early.pcapng"
    path.write_bytes(section.header() + section.interface(p.ETHERNET, offset_s=-2) + b"".join(blocks))
    messages, source = seen(path)
    assert messages == native(path)
    assert [message.ts_us for message in messages if not message.hep_version] == [1, 3_000_000]
    assert source.stats.rejected == {"time": 6}


def test_line_of_any_newer_form_of_time() -> None:
    """The time is seconds to tshark 4.0, and a date to newer ones."""
    frame = (
        '{"layers":{"frame":{"frame_frame_time_epoch":"%s","frame_frame_protocols":"eth","frame_frame_cap_len":"1",'
        '"frame_frame_len":1}}}'
    )
    for text in ("1120469572.844249999", "2005-07-04T09:32:52.844249999Z"):
        packet = decode_line((frame % text).encode())
        assert packet is not None
        assert packet.ts_us == 1_120_469_572_844_249
    for text in ("-0.250000000", "1969-12-31T23:59:59.750000000Z"):
        packet = decode_line((frame % text).encode())
        assert packet is not None
        assert packet.ts_us == -250_000
    whole = decode_line((frame % "1120469572").encode())
    assert whole is not None
    assert whole.ts_us == 1_120_469_572_000_000


@given(st.binary() | st.text().map(str.encode) | st.just(b'{"layers":{"frame":{}}}'))
def test_line_of_any_bytes_is_a_packet_or_a_reason(line: bytes) -> None:
    """Whatever stands in a line, decoding ends."""
    try:
        decode_line(line)
    except DecodeError as error:
        assert error.reason == "tshark"
