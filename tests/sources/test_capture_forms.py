"""Captures in every form in which they lie around: packed, of several interfaces, from pipes, cut short."""

from __future__ import annotations

import gzip
import os
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sipcap.errors import BadFilterError, InputError
from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.sources.pcap_reader import BATCH_PACKETS
from sipcap.sources.unpacking import _zstd_module
from sipcap.wire.message import Message
from tests.support import packets as p
from tests.support.capture_files import Section
from tests.support.messages import BASE_TS_US, sip, sip_message
from tests.support.programs import need, run_tool

zstd = _zstd_module()
COUNT = 40


def frame(payload: bytes) -> bytes:
    """A payload over UDP, IPv4 and Ethernet."""
    return p.ethernet(p.ip4(p.udp(payload)))


def calls(first: int = 0, count: int = COUNT) -> bytes:
    """A pcap of so many messages."""
    return p.pcap((BASE_TS_US + number, frame(sip_message(number))) for number in range(first, first + count))


def read(path: str | Path, bpf: str | None = None) -> tuple[list[Message], PcapSource, str]:
    """All messages of a capture, the source, and what was wrong with it."""
    source = PcapSource(PcapOptions([str(path)], bpf=bpf))
    messages: list[Message] = []
    try:
        source.open()
        for batch in source:
            messages += batch
    except InputError as error:
        return messages, source, str(error)
    finally:
        source.close()
    return messages, source, ""


def numbers(messages: list[Message]) -> list[int]:
    """Which messages these are."""
    return [message.ts_us - BASE_TS_US for message in messages]


def in_parts(pack: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """A packer that packs each kilobyte by itself."""
    return lambda data: b"".join(pack(data[at : at + 999]) for at in range(0, len(data), 999))


def skippable(data: bytes) -> bytes:
    """A zstd frame without data in front, as parallel compressors write it."""
    return b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + bytes(zstd.compress(data))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip of several members": in_parts(gzip.compress),
    "gzip with zeros behind": lambda data: gzip.compress(data) + bytes(512),
    "zstd": zstd.compress,
    "zstd of several frames": in_parts(zstd.compress),
    "zstd of a parallel compressor": skippable,
}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("form", ["pcap", "pcapng"])
def test_capture_packed_gives_what_is_in_it(tmp_path: Path, packer: str, form: str) -> None:
    """Gzip and zstd, of one part or many, are unpacked, by their first bytes and not by the name of the file."""
    path = tmp_path / "capture"
    packets = [(BASE_TS_US + number, frame(sip_message(number))) for number in range(COUNT)]
    path.write_bytes(PACKERS[packer](p.pcap(packets) if form == "pcap" else p.pcapng(packets)))
    messages, source, trouble = read(path)
    assert not trouble
    assert numbers(messages) == list(range(COUNT))
    assert source.used_bytes == path.stat().st_size


@pytest.mark.parametrize("packer", PACKERS)
def test_capture_packed_comes_through_a_pipe(tmp_path: Path, packer: str) -> None:
    """A pipe may be packed, too, and come in any pieces."""
    path, data = tmp_path / "pipe", PACKERS[packer](calls())
    os.mkfifo(path)

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            for at in range(0, len(data), 777):
                pipe.write(data[at : at + 777])

    writer = threading.Thread(target=write)
    writer.start()
    messages, _, trouble = read(path)
    writer.join(30)
    assert not trouble
    assert numbers(messages) == list(range(COUNT))


@pytest.mark.parametrize("packer", PACKERS)
def test_capture_packed_and_cut_gives_what_is_whole_and_says_so(tmp_path: Path, packer: str) -> None:
    """Wherever a packed file is cut, nothing but whole messages comes out, in order, and the cut is an error."""
    path, data = tmp_path / "capture", PACKERS[packer](calls())
    whole = {len(calls(count=count)) for count in range(COUNT)} if packer == "plain" else set()
    end = len(data.rstrip(b"\0")) - 4 if packer == "gzip with zeros behind" else len(data)
    for size in [1, 2, 3, *range(4, end, 211), end - 1]:
        path.write_bytes(data[:size])
        messages, _, trouble = read(path)
        assert numbers(messages) == list(range(len(messages)))
        if "several" not in packer and size not in whole:
            assert trouble


@pytest.mark.parametrize("packer", ["gzip", "zstd"])
def test_capture_packed_and_damaged_is_an_error_of_one_line(tmp_path: Path, packer: str) -> None:
    """Bytes that are not what the packer wrote are named as such; what came before has come out."""
    path, data = tmp_path / "capture", bytearray(PACKERS[packer](os.urandom(64) + calls()))
    choice = random.Random(3)
    path.write_bytes(PACKERS[packer](calls()) + b"garbage behind it")
    messages, _, trouble = read(path)
    assert len(messages) == COUNT
    assert f"damaged {packer}" in trouble
    for _ in range(30):
        broken = bytearray(PACKERS[packer](calls()))
        broken[choice.randrange(4, len(broken))] ^= 0xFF
        path.write_bytes(broken)
        assert "\n" not in read(path)[2]
    assert data


def test_capture_packed_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte of gzip ends at its first record, and a huge skipped block is not kept."""
    zeros = bytes(1 << 20)
    for name, pack in (("gz", _gzip_stream), ("zst", _zstd_stream)):
        path = tmp_path / name
        s = Section("<")
        head = s.header() + s.interface(1) + b"\xad\x0b\0\0" + ((1 << 30) + 12).to_bytes(4, "little")
        pack(path, [head, *[zeros] * 1_024])
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        messages, _, trouble = read(path)
        assert not messages
        assert "cut short" in trouble
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50_000


def _gzip_stream(path: Path, pieces: list[bytes]) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        for piece in pieces:
            file.write(piece)


def _zstd_stream(path: Path, pieces: list[bytes]) -> None:
    with zstd.open(path, "wb") as file:
        for piece in pieces:
            file.write(piece)


LINKS: dict[int, Callable[[bytes], bytes]] = {
    p.ETHERNET: p.ethernet, p.RAW: bytes, p.COOKED1: p.cooked1, p.COOKED2: p.cooked2, p.NULL: p.loopback
}  # fmt: skip


def _of_each_link(folder: Path, *, count: int = 6) -> list[Path]:
    """One pcap for each link type, their messages taking turns."""
    paths = []
    for place, (link, build) in enumerate(LINKS.items()):
        paths.append(folder / f"{link}.pcap")
        packets = [
            (BASE_TS_US + number, build(p.ip4(p.udp(sip_message(number), 5060 + place))))
            for number in range(place, count * len(LINKS), len(LINKS))
        ]
        paths[-1].write_bytes(p.pcap(packets, link, snaplen=65_535 + place))
    return paths


def test_capture_of_several_link_types_as_mergecap_writes_it(tmp_path: Path) -> None:
    """Interfaces of different link types and snap lengths in one file, which libpcap refuses, are read."""
    merged = tmp_path / "merged.pcapng"
    run_tool(need("mergecap"), "-w", str(merged), *map(str, _of_each_link(tmp_path)))
    messages, source, trouble = read(merged)
    assert not trouble
    assert numbers(messages) == list(range(30))
    assert [message.payload for message in messages] == [sip_message(number) for number in range(30)]
    assert source.stats.packets == 30


def test_capture_of_several_sections(tmp_path: Path) -> None:
    """Pcapng files that are written one behind the other are one capture, also in the other byte order."""
    merged, path = tmp_path / "merged.pcapng", tmp_path / "both"
    run_tool(need("mergecap"), "-w", str(merged), *map(str, _of_each_link(tmp_path)))
    other = Section(">")
    more = other.header() + other.interface(p.RAW, resolution=9)
    more += other.packet(0, (BASE_TS_US + 99) * 1_000, p.ip4(p.udp(sip())))
    path.write_bytes(merged.read_bytes() + more + merged.read_bytes())
    messages, _, trouble = read(path)
    assert not trouble
    assert numbers(messages) == [*range(30), 99, *range(30)]


@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "pcapng", "modpcap"])
def test_capture_as_editcap_writes_it(tmp_path: Path, form: str) -> None:
    """The forms that Wireshark's tools write are the same messages."""
    path, written = tmp_path / "calls.pcap", tmp_path / "written"
    path.write_bytes(calls())
    run_tool(need("editcap"), "-F", form, str(path), str(written))
    messages, _, trouble = read(written)
    assert not trouble
    assert numbers(messages) == list(range(COUNT))


def test_bpf_is_compiled_for_each_link_type(tmp_path: Path) -> None:
    """A filter finds the same ports behind link headers of any size, and counts what it leaves out."""
    merged = tmp_path / "merged.pcapng"
    run_tool(need("mergecap"), "-w", str(merged), *map(str, _of_each_link(tmp_path)))
    for place in range(len(LINKS)):
        messages, source, trouble = read(merged, bpf=f"udp src port {5060 + place}")
        assert not trouble
        assert [message.source_port for message in messages] == [5060 + place] * 6
        assert source.skipped == {"bpf": 24}
        assert source.stats.packets == 30
    assert len(read(merged, bpf="src host 192.0.2.1")[0]) == 30
    assert not read(merged, bpf="src host 192.0.2.9")[0]


def test_bpf_sees_the_length_on_the_wire(tmp_path: Path) -> None:
    """``greater`` is about the packet, not about what was kept of it."""
    path = tmp_path / "cut.pcap"
    path.write_bytes(p.pcap([(BASE_TS_US, frame(sip_message(0)))], snaplen=100))
    assert len(read(path, bpf="greater 300")[0]) == 1
    assert not read(path, bpf="less 300")[0]


def test_bpf_that_one_of_the_link_types_does_not_know_is_refused(tmp_path: Path) -> None:
    """A filter for Ethernet is none for a loopback interface in the same file."""
    s = Section("<")
    path = tmp_path / "two.pcapng"
    path.write_bytes(s.header() + s.interface(p.ETHERNET) + s.interface(p.NULL))
    with pytest.raises(BadFilterError, match="BSD loopback"):
        read(path, bpf="ether host 02:00:00:00:00:01")


def test_interface_without_ip_is_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Packets of a link type that is not known are counted; without any other, that is an error."""
    s = Section("<")
    wireless = s.interface(127) + s.packet(0, BASE_TS_US, b"radio")
    path = tmp_path / "mixed.pcapng"
    path.write_bytes(s.header() + wireless + s.interface(1) + s.packet(1, BASE_TS_US + 1, frame(sip())))
    messages, source, trouble = read(path)
    assert not trouble
    assert numbers(messages) == [1]
    assert source.skipped == {"link_type": 1}
    assert source.stats.packets == 2
    path.write_bytes(s.header() + wireless)
    messages, source, trouble = read(path)
    assert "link type 127 (radiotap" in trouble
    assert source.skipped == {"link_type": 1}


def test_a_pipe_without_ip_or_with_a_bad_filter_is_refused_while_it_is_open(tmp_path: Path) -> None:
    """Whoever watches a wire is told at once, not when the writer ends."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    for link, bpf, error, text in (
        (127, None, InputError, "link type 127"), (1, "no filter", BadFilterError, "no filter")
    ):  # fmt: skip
        os.write(writer, p.pcap([], link))
        source = PcapSource(PcapOptions([str(path)], bpf=bpf))
        source.open()
        with pytest.raises(error, match=text):
            for batch in source:
                assert batch == []
        source.close()
    os.close(writer)


def test_simple_packets_are_of_the_first_microsecond(tmp_path: Path) -> None:
    """A packet without a time is not given that of reading."""
    s = Section("<")
    path = tmp_path / "simple.pcapng"
    path.write_bytes(s.header() + s.interface(1) + s.simple_packet(frame(sip())))
    (message,), _, _ = read(path)
    assert message.ts_us == 1


def test_used_bytes_go_from_nothing_to_all(tmp_path: Path) -> None:
    """What a progress bar shows grows with every batch and ends at the size of the files, whatever is packed."""
    paths = [tmp_path / "a", tmp_path / "b"]
    paths[0].write_bytes(calls(count=4 * BATCH_PACKETS))
    paths[1].write_bytes(gzip.compress(calls(count=4 * BATCH_PACKETS)))
    source = PcapSource(PcapOptions([str(path) for path in paths], loops=2))
    source.open()
    seen = [source.used_bytes for _ in source]
    source.close()
    assert seen == sorted(seen)
    assert 0 < seen[0] < paths[0].stat().st_size / 2
    assert source.used_bytes == 2 * sum(path.stat().st_size for path in paths)


def test_memory_is_the_same_for_a_file_of_any_size(tmp_path: Path) -> None:
    """The whole command takes as much memory for a hundred megabytes as for ten."""
    peaks = []
    for times in (1, 10):
        path = tmp_path / f"{times}.pcap"
        with path.open("wb") as file:
            piece = p.pcap((BASE_TS_US, frame(b"\x80\0" + bytes(1_200))) for _ in range(8_000))
            file.write(piece)
            for _ in range(times - 1):
                file.write(piece[24:])
        program = (
            "import sys\nfrom sipcap.cli.main import run\ncode = run(['-qq', 'replay', sys.argv[1]])\n"
            "print(*[line.split()[1] for line in open('/proc/self/status') if line[:5] == 'VmHWM'])\nsys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, check=True, timeout=100
        )
        peaks.append(int(done.stdout))
    assert max(peaks) < 150_000
    assert peaks[1] - peaks[0] < 5_000
