"""pcap and pcapng files of every form, in any pieces, to frames."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import MAX_BLOCK_BYTES, MAX_CAPTURED_BYTES, MAX_INTERFACES
from sipcap.wire.capture_framer import CaptureFramer
from sipcap.wire.capture_frames import Frame
from tests.support import capture_files as f

FRAMES = [b"first", b"", b"the third one", b"x" * 60]
TIME_US = 1_700_000_000_123_456


def frames_of(pieces: list[bytes], limit: int = 256) -> tuple[list[Frame], str, CaptureFramer]:
    """All frames of a file in pieces, and the reason if it breaks off."""
    framer = CaptureFramer()
    frames: list[Frame] = []
    try:
        for piece in pieces:
            framer.receive_data(piece)
            while got := framer.frames(limit):
                assert len(got) <= limit
                frames += got
    except DecodeError as error:
        return frames, error.reason, framer
    return frames, "", framer


def plain(frames: list[Frame]) -> list[tuple[int, bytes, int, int]]:
    """Frames with the link type in place of the interface."""
    return [(ts_us, data, length, interface.link_type) for ts_us, data, length, interface in frames]


def _pcap_forms() -> Iterator[tuple[str, bytes, list[tuple[int, bytes, int, int]]]]:
    records = [(TIME_US + number, frame, len(frame) + number) for number, frame in enumerate(FRAMES)]
    for order in "<>":
        for form in ("micro", "nano", "kuznetzov"):
            expected = [(ts_us, frame, length, 1) for ts_us, frame, length in records]
            yield f"pcap {order} {form}", f.pcap_file(records, order=order, form=form), expected


def _pcapng_forms() -> Iterator[tuple[str, bytes, list[tuple[int, bytes, int, int]]]]:
    for order in "<>":
        s = f.Section(order)
        data = s.header() + s.interface(1) + s.interface(101, snaplen=10, resolution=9)
        data += s.unknown(0x0BAD, b"skip me") + s.packet(0, TIME_US, FRAMES[0]) + s.names()
        data += s.packet(1, TIME_US * 1_000 + 999, FRAMES[2], length=99) + s.old_packet(0, TIME_US, FRAMES[3])
        data += s.simple_packet(FRAMES[0])
        expected = [
            (TIME_US, FRAMES[0], 5, 1), (TIME_US, FRAMES[2], 99, 101), (TIME_US, FRAMES[3], 60, 1), (0, FRAMES[0], 5, 1)
        ]  # fmt: skip
        yield f"pcapng {order}", data, expected
        other = f.Section(">" if order == "<" else "<")
        data += other.header() + other.interface(113) + other.packet(0, TIME_US, FRAMES[3], options=b"\0\2\0\4abcd")
        yield f"pcapng {order}, two sections", data, [*expected, (TIME_US, FRAMES[3], 60, 113)]


FORMS = [*_pcap_forms(), *_pcapng_forms()]
forms = pytest.mark.parametrize(("data", "expected"), [form[1:] for form in FORMS], ids=[form[0] for form in FORMS])


@forms
def test_capture_whole_gives_all_frames(data: bytes, expected: list[tuple[int, bytes, int, int]]) -> None:
    """Times, bytes, lengths on the wire and link types are those of the file, in its order."""
    frames, reason, framer = frames_of([data])
    assert plain(frames) == expected
    assert not reason
    assert not framer.pending
    assert framer.buffered == 0


@forms
def test_capture_byte_by_byte_gives_the_same(data: bytes, expected: list[tuple[int, bytes, int, int]]) -> None:
    """Where the pieces end makes no difference, nor how many frames are taken at a time."""
    assert plain(frames_of([data[at : at + 1] for at in range(len(data))], limit=1)[0]) == expected
    choice = random.Random(7)
    for _ in range(20):
        cuts = sorted(choice.sample(range(len(data)), 5))
        pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert plain(frames_of(pieces, limit=choice.choice((1, 2, 256)))[0]) == expected


@forms
def test_capture_cut_at_every_offset_gives_what_is_whole(
    data: bytes, expected: list[tuple[int, bytes, int, int]]
) -> None:
    """Cut anywhere, the frames before come out, and the framer knows that something is missing, or that it cannot."""
    given_before = 0
    for size in range(len(data)):
        frames, reason, framer = frames_of([data[:size]])
        assert not reason
        assert plain(frames) == expected[: len(frames)]
        assert len(frames) >= given_before
        if len(frames) > given_before:
            assert not framer.pending
        given_before = len(frames)
    assert given_before == len(expected) - 1


def test_capture_cut_between_blocks_is_no_cut() -> None:
    """A file that ends behind a whole record is whole; one without its header is not."""
    records = [(TIME_US, b"x", 1)]
    assert not frames_of([f.pcap_file(records)])[2].pending
    for size in range(1, 24):
        assert frames_of([f.pcap_file(records)[:size]])[2].pending
    assert frames_of([f.pcap_file([])[:24]])[2].pending is False


@pytest.mark.parametrize(
    ("resolution", "units", "micros"),
    [
        (0, 5, 5_000_000), (3, 1_234, 1_234_000), (6, 7, 7), (9, 1_999, 1), (12, 2_000_001, 2), (20, 10**18, 10_000),
        (0x80, 3, 3_000_000), (0x80 | 10, 512, 500_000), (0x80 | 20, 1, 0), (0x80 | 32, 1 << 31, 500_000),
        (0x80 | 63, 1 << 62, 500_000),
    ],
)  # fmt: skip
def test_pcapng_every_resolution_gives_microseconds(resolution: int, units: int, micros: int) -> None:
    """Powers of ten and of two, coarse and fine, are whole microseconds, rounded down."""
    s = f.Section("<")
    frames, _, _ = frames_of([s.header() + s.interface(1, resolution=resolution) + s.packet(0, units, b"x")])
    assert frames[0][0] == micros


@pytest.mark.parametrize("offset_s", [1_700_000_000, -5])
def test_pcapng_time_offset_is_added(offset_s: int) -> None:
    """Seconds that an interface adds to its times are added, below zero, too."""
    s = f.Section(">")
    data = s.header() + s.interface(1, offset_s=offset_s) + s.packet(0, 10_000_000, b"x")
    assert frames_of([data])[0][0][0] == 10_000_000 + offset_s * 1_000_000


def test_pcap_link_type_is_told_without_its_upper_bits() -> None:
    """The bits that tell of a frame check sequence are no part of the link type."""
    data = bytearray(f.pcap_file([(TIME_US, b"x", 1)]))
    data[20:24] = struct.pack("<I", 0x1400_0001)
    assert frames_of([bytes(data)])[0][0][3].link_type == 1


def _bad() -> Iterator[tuple[str, bytes, str]]:
    s = f.Section("<")
    head, packet = s.header() + s.interface(1), s.packet(0, TIME_US, b"abcd")
    yield "no capture", b"root:x:0:0", "magic"
    yield "pcap of another version", f.pcap_file([])[:4] + b"\1\0" + f.pcap_file([])[6:], "version"
    yield "pcap record too long", f.pcap_file([]) + struct.pack("<IIII", 1, 1, MAX_CAPTURED_BYTES + 1, 1), "length"
    yield "pcapng without byte order", struct.pack("<IIII", 0x0A0D0D0A, 28, 7, 0) + bytes(12), "order"
    yield "pcapng of version 2", s.header(major=2), "version"
    yield "section too short", struct.pack("<IIII", 0x0A0D0D0A, 16, 0x1A2B3C4D, 16), "length"
    yield "length 0", head + struct.pack("<II", 6, 0) + bytes(40), "length"
    yield "length not a multiple of 4", head + struct.pack("<II", 0x0BAD, 13) + bytes(40), "length"
    yield "block too long", head + struct.pack("<II", 6, MAX_BLOCK_BYTES + 4) + bytes(40), "length"
    yield "lengths that differ", head + packet[:-4] + struct.pack("<I", 40), "length"
    yield "lengths of a skipped block that differ", head + struct.pack("<III", 0x0BAD, 12, 16), "length"
    yield "captured more than the block", head + s.packet(0, TIME_US, b"abcd", captured=5), "length"
    yield "packet without room", head + s.unknown(6, bytes(8)), "length"
    yield "old packet without room", head + s.unknown(2, bytes(8)), "length"
    yield "simple packet without room", head + s.unknown(3, b""), "length"
    yield "simple packet longer than its block", head + s.unknown(3, struct.pack("<I", 9) + bytes(8)), "length"
    yield "unknown interface", head + s.packet(1, TIME_US, b"abcd"), "interface"
    yield "simple packet without interface", s.header() + s.simple_packet(b"abcd"), "interface"
    yield "too many interfaces", s.header() + s.interface(1) * (MAX_INTERFACES + 1), "interface"
    yield "interface without room", s.header() + s.unknown(1, bytes(4)), "length"
    yield "options that do not fit", s.header() + s.unknown(1, bytes(8) + struct.pack("<HH", 9, 77)), "options"
    yield "half an option", s.header() + s.unknown(1, bytes(8) + struct.pack("<HHHH", 2, 9, 0, 0)), "options"


BAD = list(_bad())


@pytest.mark.parametrize(("data", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_capture_broken_gives_what_is_before_and_the_reason(data: bytes, reason: str) -> None:
    """Frames before the damage come out first; then, and at every further call, the reason."""
    s = f.Section("<")
    before = s.header() + s.interface(1) + s.packet(0, TIME_US, b"good") if data[:4] == b"\x0a\x0d\x0d\x0a" else b""
    frames, found, framer = frames_of([before + data])
    assert found == reason
    assert [frame[1] for frame in frames if frame[1] != b"good"] == []
    assert len(frames) == bool(before)
    with pytest.raises(DecodeError, match=reason):
        framer.frames(1)


def test_pcapng_huge_unknown_block_is_skipped_without_being_kept() -> None:
    """A block of a gigabyte that holds no packet costs no memory."""
    s = f.Section("<")
    size = 1 << 30
    framer = CaptureFramer()
    framer.receive_data(s.header() + s.interface(1) + struct.pack("<II", 0x0BAD, size))
    left = size - 12
    while left:
        piece = bytes(min(left, 1 << 24))
        framer.receive_data(piece)
        assert framer.frames(9) == []
        assert framer.buffered == 0
        assert framer.pending
        left -= len(piece)
    framer.receive_data(struct.pack("<I", size) + s.packet(0, TIME_US, b"behind"))
    assert [frame[1] for frame in framer.frames(9)] == [b"behind"]


@given(st.binary(max_size=300), st.sampled_from([form[1] for form in FORMS]), st.integers(0, 400))
def test_any_bytes_give_frames_or_a_reason(noise: bytes, data: bytes, at: int) -> None:
    """Whatever stands in a file, there are frames of it or a DecodeError, and an end."""
    whole = data[:at] + noise + data[at + len(noise) :]
    frames, reason, framer = frames_of([whole[:50], whole[50:]])
    assert all(len(frame[1]) <= len(whole) for frame in frames)
    assert reason in {"", "magic", "length", "version", "order", "interface", "options"}
    assert framer.buffered <= len(whole)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**63), st.binary(max_size=70)), max_size=12),
    st.sampled_from("<>"),
    st.lists(st.sampled_from([1, 101, 113, 147, 276]), min_size=3, max_size=3),
)
def test_pcapng_any_packets_come_back(packets: list[tuple[int, int, bytes]], order: str, links: list[int]) -> None:
    """What was written into a section comes out of it."""
    s = f.Section(order)
    data = s.header() + b"".join(s.interface(link) for link in links)
    data += b"".join(s.packet(number, units, frame) for number, units, frame in packets)
    frames, reason, _ = frames_of([data], limit=5)
    assert not reason
    assert plain(frames) == [(units, frame, len(frame), links[number]) for number, units, frame in packets]
