"""Captures as a source of messages."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipcap.errors import BadFilterError, InputError
from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.sources.pcap_reader import BATCH_PACKETS
from sipcap.wire.message import Message
from tests.support import packets as p
from tests.support.messages import BASE_TS_US, chunk, hep3, hep3_datagram, hep12, sip, sip_message, usual_chunks
from tests.support.rtcp import sender_report
from tests.support.tshark import read_all

CORPUS = Path(__file__).resolve().parents[2].parent / "shared" / "corpus" / "pcap"
RTP = b"\x80\x00" + b"\xd5" * 160


def frame(payload: bytes, source: int = 5060, destination: int = 5062) -> bytes:
    """A payload over UDP, IPv4 and Ethernet."""
    return p.ethernet(p.ip4(p.udp(payload, source, destination)))


def read(
    *paths: Path | str, ports: range | None = None, bpf: str | None = None, loops: int = 1
) -> tuple[list[Message], PcapSource]:
    """All messages of captures, and the source they came from."""
    source = PcapSource(PcapOptions([str(path) for path in paths], ports, bpf, loops))
    messages = read_all(source)
    source.close()  # for the second time
    return messages, source


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Where a capture may be written."""
    return tmp_path / "test.pcap"


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """A named pipe and the descriptor of its writing end."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    yield str(path), writer
    try:
        os.close(writer)
    except OSError:
        pass  # the test has closed it


@pytest.mark.parametrize("form", ["pcap", "pcap big endian", "pcapng"])
def test_sip_has_its_packets_time_to_the_microsecond(capture: Path, form: str) -> None:
    """No microsecond is lost, in any form of file, until the end of 32 bits."""
    times = [1, 999_999, 1_000_000, BASE_TS_US, 1_999_999_999_999_999, 2**31 * 1_000_000 + 1, 4_294_967_295_999_999]
    packets = [(ts_us, frame(sip())) for ts_us in times]
    capture.write_bytes(p.pcapng(packets) if form == "pcapng" else p.pcap(packets, order=">" if "big" in form else "<"))
    messages, source = read(capture)
    assert [message.ts_us for message in messages] == times
    assert source.stats.packets == len(times)


def test_sip_has_the_envelope_of_its_packet(capture: Path) -> None:
    """Addresses, ports and protocol are those of the datagram, and nothing says HEP."""
    capture.write_bytes(p.pcap([(BASE_TS_US, frame(sip()))]))
    (message,), _ = read(capture)
    assert message == Message(
        sip(), BASE_TS_US, p.SOURCE, 5060, p.DESTINATION, 5062, 17, 2,
        extra={"source_mac": "02:00:00:00:00:01", "destination_mac": "02:00:00:00:00:02", "tos": 0},
    )  # fmt: skip


def test_hep_is_unwrapped_to_the_message_in_it(capture: Path) -> None:
    """HEP on any port gives the inner message with its own time, addresses and fields."""
    capture.write_bytes(p.pcap([(BASE_TS_US + 5_000_000, frame(hep3_datagram(0), 40_000, 1_234))]))
    (message,), _ = read(capture)
    assert message.payload == sip_message(0)
    assert (message.ts_us, message.hep_version, message.capture_id) == (BASE_TS_US, 3, 2_001)
    assert message.source_ip.startswith("10.")
    assert message.extra is None


def test_hep_without_a_time_has_its_packets(capture: Path) -> None:
    """HEPv1 knows no time; the packet's is the best there is."""
    capture.write_bytes(p.pcap([(BASE_TS_US, frame(hep12(sip(), version=1)))]))
    (message,), _ = read(capture)
    assert message.ts_us == BASE_TS_US


def test_packets_without_a_message_are_counted_by_reason_only(capture: Path) -> None:
    """RTP, ARP and ICMP are packets; they are neither received nor rejected."""
    frames = [frame(RTP), p.ethernet(b"", ether_type=0x0806), p.ethernet(p.ip4(b"icmp....", 1)), frame(sip())]
    capture.write_bytes(p.pcap((BASE_TS_US, each) for each in frames))
    messages, source = read(capture)
    assert len(messages) == 1
    assert source.skipped == {"other": 1, "arp": 1, "icmp": 1}
    assert (source.stats.packets, source.stats.received) == (4, 1)
    assert source.stats.bytes == sum(map(len, frames))
    assert not source.stats.trouble()


def test_non_sip_hep_is_a_message(capture: Path) -> None:
    """RTCP and logs in HEP are messages like SIP."""
    packet = hep3(*usual_chunks(payload_type=5), chunk(15, b'{"ssrc":1}'))
    capture.write_bytes(p.pcap([(BASE_TS_US, frame(packet))]))
    (message,), _ = read(capture)
    assert (message.payload_type, message.payload) == (5, b'{"ssrc":1}')


def test_broken_hep_is_rejected_by_reason(capture: Path) -> None:
    """A HEP datagram that cannot be decoded is a message that is lost."""
    capture.write_bytes(p.pcap([(BASE_TS_US, frame(hep3_datagram(0)[:-1])), (BASE_TS_US, frame(sip()))]))
    messages, source = read(capture)
    assert len(messages) == 1
    assert source.stats.rejected == {"length": 1}


def test_a_message_with_a_missing_fragment_is_rejected_and_its_other_fragments_skipped(capture: Path) -> None:
    """Half a message is not guessed at, and not forgotten either."""
    whole = p.udp(sip())
    first, second, last = p.fragments4(whole, [64, 128])
    rtp = p.fragments4(p.udp(RTP), [64], identification=8)[0]
    capture.write_bytes(p.pcap((BASE_TS_US, p.ethernet(each)) for each in (first, second, rtp)))
    messages, source = read(capture)
    assert messages == []
    assert source.stats.rejected == {"fragment": 1}
    assert source.skipped == {"fragment": 2}
    capture.write_bytes(p.pcap((BASE_TS_US, p.ethernet(each)) for each in (first, second, rtp, last)))
    messages, source = read(capture)
    assert [message.payload for message in messages] == [sip()]
    assert source.stats.rejected == {}
    assert source.skipped == {"fragment": 1}


def test_a_message_cut_by_the_snap_length_is_kept_and_counted(capture: Path) -> None:
    """What was captured of a message comes out, and is counted as truncated."""
    capture.write_bytes(p.pcap([(BASE_TS_US, frame(sip()))], snaplen=200))
    (message,), source = read(capture)
    assert sip().startswith(message.payload)
    assert len(message.payload) == 200 - 42
    assert source.stats.truncated == 1


def test_ports_take_whatever_is_on_them(capture: Path) -> None:
    """With a range of ports, all on them is SIP, but what only keeps a binding open."""
    frames = [
        frame(b"not SIP at all", 5060, 9),
        frame(b"\r\n\r\n", 5060, 9),
        frame(sip(), 9, 5070),
        frame(sip(), 9, 5071),
        frame(sip(), 5059, 5058),
    ]
    capture.write_bytes(p.pcap((BASE_TS_US, each) for each in frames))
    messages, source = read(capture, ports=range(5060, 5071))
    assert [message.payload for message in messages] == [b"not SIP at all", sip()]
    assert source.skipped == {"ports": 3}


def test_ports_let_the_rtcp_of_a_call_pass_whose_sdp_is_just_before_it(capture: Path) -> None:
    """In the same batch of packets, too; one that comes before the SDP, and one of nobody's call, do not pass."""
    body = b"v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n"
    invites = [sip(headers={"Content-Type": "application/sdp", "Call-ID": str(at)}, body=body) for at in range(2)]
    payloads = [
        (sender_report(), 4001), (invites[0], 5060), (sender_report(), 4001), (sender_report(), 6001),
        (invites[1], 5060), (sender_report(), 4001),
    ]  # fmt: skip
    capture.write_bytes(p.pcap(
        (BASE_TS_US + at, p.ethernet(p.ip4(p.udp(payload, port, port), source="10.0.0.1")))
        for at, (payload, port) in enumerate(payloads)
    ))  # fmt: skip
    messages, source = read(capture, ports=range(5060, 5061))
    assert [message.payload_type for message in messages] == [1, 5, 1, 5]
    assert [message.correlation_id for message in messages] == [None, "0", None, "1"]
    assert source.skipped == {"ports": 2}


def test_ports_look_into_hep(capture: Path) -> None:
    """A HEP message passes if its packet's or its own ports are in the range; others are filtered."""
    frames = [frame(hep3_datagram(0), 40_000, 9_060)]
    capture.write_bytes(p.pcap((BASE_TS_US, each) for each in frames))
    assert len(read(capture, ports=range(9_060, 9_061))[0]) == 1
    assert len(read(capture, ports=range(5_060, 5_061))[0]) == 1
    messages, source = read(capture, ports=range(1, 2))
    assert messages == []
    assert source.stats.filtered == {"ports": 1}


def test_bpf_filters_packets(capture: Path) -> None:
    """Packets that do not pass the filter are skipped."""
    capture.write_bytes(p.pcap([(BASE_TS_US, frame(sip(), 1)), (BASE_TS_US, frame(sip(), 2))]))
    messages, source = read(capture, bpf="udp src port 2")
    assert [message.source_port for message in messages] == [2]
    assert source.skipped == {"bpf": 1}
    assert source.stats.packets == 2


def test_a_bad_filter_is_refused_at_open(capture: Path) -> None:
    """A filter that libpcap cannot compile is named with libpcap's reason."""
    capture.write_bytes(p.pcap([]))
    source = PcapSource(PcapOptions([str(capture)], bpf="no such thing"))
    with pytest.raises(BadFilterError, match=r"no such thing.*syntax error"):
        source.open()
    source.close()


def test_several_files_and_loops_come_in_order(tmp_path: Path) -> None:
    """All files are read, one behind the other, as many times as asked."""
    paths = [
        p.sip_capture(tmp_path / name, [sip(headers={"Call-ID": name})], first_us=BASE_TS_US) for name in ("b", "a")
    ]
    messages, source = read(*paths, loops=2)
    assert [b"Call-ID: b" in message.payload for message in messages] == [True, False, True, False]
    assert source.stats.packets == 4


def test_many_packets_come_in_bounded_batches(capture: Path) -> None:
    """A large file does not become one list."""
    count = 3 * BATCH_PACKETS + 7
    p.sip_capture(capture, (sip_message(number) for number in range(count)), first_us=BASE_TS_US)
    source = PcapSource(PcapOptions([str(capture)]))
    source.open()
    sizes = [len(batch) for batch in source]
    assert sum(sizes) == count
    assert max(sizes) == BATCH_PACKETS


def test_stop_ends_a_file_at_the_next_batch(capture: Path) -> None:
    """After ``stop`` nothing new is read."""
    p.sip_capture(capture, (sip() for _ in range(3 * BATCH_PACKETS)), first_us=BASE_TS_US)
    source = PcapSource(PcapOptions([str(capture), str(capture)]))
    source.open()
    sizes = []
    for batch in source:
        sizes.append(len(batch))
        source.stop()
    assert sizes == [BATCH_PACKETS]


@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_a_file_cut_short_gives_what_is_whole_and_then_says_so(capture: Path, form: str) -> None:
    """Wherever a file is cut, all whole packets come out before the error."""
    packets = [(BASE_TS_US + number, frame(sip_message(number))) for number in range(3)]
    make = p.pcapng if form == "pcapng" else p.pcap
    whole = make(packets)
    ends = [len(make(packets[:count])) for count in range(4)]
    for size in [*range(ends[0] + 1, len(whole), 97), len(whole) - 1]:
        if size in ends:
            continue
        capture.write_bytes(whole[:size])
        source = PcapSource(PcapOptions([str(capture)]))
        source.open()
        messages: list[Message] = []
        with pytest.raises(InputError, match="cut short after"):
            for batch in source:
                messages += batch
        source.close()
        assert len(messages) == sum(end <= size for end in ends[1:])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty"),
        (b"root:x:0:0:root:/root:/bin/bash\n", "unknown file format"),
        (p.pcap([])[:20], "cut short after 0 packets"),
        (p.pcap([(1, b"x")], link=127), r"link type 127 \(radiotap"),
        (p.pcap([(1, b"x")], link=4_321), "link type 4321"),
    ],
)
def test_what_is_no_capture_of_ip_is_refused_in_one_line(capture: Path, content: bytes, text: str) -> None:
    """The error names the file and the reason."""
    capture.write_bytes(content)
    source = PcapSource(PcapOptions([str(capture)]))
    with pytest.raises(InputError, match=text) as caught:
        source.open()
    source.close()
    assert str(capture) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_second_file_ends_the_replay_behind_the_first(tmp_path: Path) -> None:
    """What comes before a file that is no capture has come out."""
    good = p.sip_capture(tmp_path / "good", [sip()], first_us=BASE_TS_US)
    bad = tmp_path / "bad"
    bad.write_bytes(b"nonsense")
    source = PcapSource(PcapOptions([str(good), str(bad)]))
    source.open()
    batches = iter(source)
    assert len(next(batches)) == 1
    with pytest.raises(InputError, match="bad"):
        next(batches)
    source.close()


def test_a_time_that_no_row_can_hold_is_rejected(capture: Path) -> None:
    """A pcapng file may date a packet thousands of years ahead."""
    capture.write_bytes(p.pcapng([(2**60, frame(sip())), (BASE_TS_US, frame(sip()))]))
    messages, source = read(capture)
    assert len(messages) == 1
    assert source.stats.rejected == {"time": 1}


def test_the_very_first_microsecond_is_told_as_the_second(capture: Path) -> None:
    """0 would say that there is no time, and the time of reading would take its place."""
    capture.write_bytes(p.pcap([(0, frame(sip()))]))
    (message,), _ = read(capture)
    assert message.ts_us == 1


def test_a_pipe_gives_each_packet_while_it_is_still_open(pipe: tuple[str, int]) -> None:
    """Messages come out soon after their packets, not when the writer ends; between them there are ticks."""
    path, writer = pipe
    source = PcapSource(PcapOptions([path]))
    source.open()
    assert source.is_live
    batches = iter(source)
    assert next(batches) == []
    whole = p.pcap((BASE_TS_US, frame(sip_message(number))) for number in range(5))
    header, record = whole[:24], p.pcap([(BASE_TS_US, frame(sip_message(0)))])[24:]
    os.write(writer, header + record)
    _take_one(batches)
    for size in (1, 16, 30, len(record) - 1):
        os.write(writer, record[:size])
        assert next(batches) == []
        os.write(writer, record[size:])
        _take_one(batches)
    os.close(writer)
    assert list(batches) == []
    assert source.stats.received == 5


def _take_one(batches: Iterator[list[Message]]) -> None:
    """Wait for one message: ticks may come before it."""
    until_s = time.monotonic() + 10
    while not (batch := next(batches)):
        assert time.monotonic() < until_s
    assert len(batch) == 1


def test_a_pipe_full_of_packets_comes_whole(pipe: tuple[str, int], tmp_path: Path) -> None:
    """More packets than wait at a time all come, in their order."""
    path, writer = pipe
    count = 4_096
    content = p.sip_capture(
        tmp_path / "file", (sip_message(number) for number in range(count)), first_us=BASE_TS_US, step_us=1
    ).read_bytes()
    if os.fork() == 0:
        view = memoryview(content)
        while view:
            view = view[os.write(writer, view) :]
        os._exit(0)
    source = PcapSource(PcapOptions([path]))
    source.open()
    times: list[int] = []
    for batch in source:
        times += [message.ts_us for message in batch]
        if len(times) == count:
            os.close(writer)
    os.wait()
    assert times == list(range(BASE_TS_US, BASE_TS_US + count))


def test_a_pipe_that_breaks_off_says_so_behind_its_messages(pipe: tuple[str, int]) -> None:
    """A writer that dies in the middle of a packet leaves an error, and the packets before it."""
    path, writer = pipe
    source = PcapSource(PcapOptions([path]))
    source.open()
    batches = iter(source)
    os.write(writer, p.pcap([(BASE_TS_US, frame(sip())), (BASE_TS_US, frame(sip()))])[:-1])
    _take_one(batches)
    os.close(writer)
    with pytest.raises(InputError, match="cut short after 1 packets"):
        list(batches)


def test_stop_ends_a_pipe_that_says_nothing(pipe: tuple[str, int]) -> None:
    """A silent writer does not keep the replay from ending."""
    source = PcapSource(PcapOptions([pipe[0]]))
    source.open()
    for batch in source:
        assert batch == []
        source.stop()
    source.close()


@pytest.mark.parametrize(
    ("name", "packets", "types"),
    [
        ("hep3-homer.pcap", 8, {1: 6, 100: 1, 5: 1}),
        ("ipip-heplify.pcap", 8, {1: 8}),
        ("sngrep-aaa.pcap", 691, {1: 81, 5: 1}),
    ],
)
def test_corpus_captures_hold_what_their_readme_says(name: str, packets: int, types: dict[int, int]) -> None:
    """Other projects' captures are read whole."""
    path = CORPUS / name
    if not path.exists():
        pytest.skip("corpus is not here")
    messages, source = read(path)
    assert source.stats.packets == packets
    found: dict[int, int] = {}
    for message in messages:
        found[message.payload_type] = found.get(message.payload_type, 0) + 1
    assert found == types
