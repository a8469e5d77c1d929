"""The twins that cut captures into frames do what their references do."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.sources import pcap_reader
from sipcap.wire import pcap, pcapng
from sipcap.wire.capture_frames import Frame, Interface
from tests.support.twins import need_twins

ETHERNET: Final = Interface.of(1, 0)
INTERFACES: Final = (
    ETHERNET,
    Interface.of(1, 0, divisor=1_000),
    Interface.of(147, 0, multiplier=1_000_000, divisor=1 << 20),
    Interface.of(1, 0, offset_us=-5_000_000),
    Interface.of(1, 0, offset_us=((1 << 63) - 1) * 1_000_000),
    Interface.of(1, 0, offset_us=-(1 << 62)),
    Interface.of(1, 0, offset_us=1 - (1 << 62)),
    Interface.of(1, 0, divisor=10**121),
    Interface.of(1, 0, divisor=(1 << 62) - 1),
    Interface.of(1, 0, multiplier=1_000_000, divisor=1),
)
TIMES: Final = (0, 1, 1_700_000_000_123_456, (1 << 62) - 1, 1 << 62, 1 << 63, (1 << 64) - 1)


def _both(reference: Callable[..., Any], twin: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
    """What a function returns and appends, of both."""
    found = []
    for function in (reference, twin):
        frames: list[Frame] = []
        found.append((function(*args, frames=frames, **kwargs), frames))
    return found


def _records(data: bytes, at: int, room: int, **kwargs: Any) -> Any:
    usual = {"interface": ETHERNET, "little": True, "header_bytes": 16, "units": 1, "bound": 100} | kwargs
    names = ("data", "at", "room", "frames", "interface", "little", "header_bytes", "units", "bound")

    def by_position(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **given: function(*(given[name] for name in names))

    expected, found = _both(by_position(pcap.cut_records), by_position(pcap._cut), data=data, at=at, room=room, **usual)
    assert found == expected
    return found


def _blocks(data: bytes, at: int, room: int, interfaces: list[Interface], *, little: bool) -> Any:
    def by_position(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda frames: function(data, at, room, frames, interfaces, little)

    expected, found = _both(by_position(pcapng.cut_blocks), by_position(pcapng._cut))
    assert found == expected
    return found


def _record(order: str, header_bytes: int, payload: bytes, kept: int | None = None) -> bytes:
    kept = len(payload) if kept is None else kept
    head = struct.pack(f"{order}IIII", 0xFFFF_FFFF, 999_999_999, kept, 0xFFFF_FFFE)
    return head.ljust(header_bytes, b"\1") + payload


def _block(order: str, number: int, time: int, payload: bytes, kept: int | None = None) -> bytes:
    kept = len(payload) if kept is None else kept
    body = payload + b"\0" * (-len(payload) % 4)
    size = 32 + len(body)
    return (
        struct.pack(f"{order}7I", 6, size, number, time >> 32, time & 0xFFFF_FFFF, kept, 77)
        + body
        + struct.pack(f"{order}I", size)
    )


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("header_bytes", "units"), [(16, 1), (16, 1_000), (24, 1)])
def test_records_twin_cuts_as_the_reference(order: str, header_bytes: int, units: int) -> None:
    """Every form of pcap, cut anywhere, with room for all or fewer."""
    need_twins()
    data = b"x" + b"".join(_record(order, header_bytes, payload) for payload in (b"", b"a", b"b" * 50, b"c" * 99))
    form = {"little": order == "<", "header_bytes": header_bytes, "units": units}
    for size in range(len(data) + 1):
        _records(data[:size], 1, 9, **form)
    assert len(_records(data, 1, 9, **form)[1]) == 4
    for room in (-1, 0, 1, 2, 4):
        _records(data, 1, room, **form)
    for at in range(len(data) + 3):
        _records(data, at, 9, **form)


@pytest.mark.parametrize("kept", [99, 100, 101, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
def test_records_twin_stops_at_the_same_length(kept: int) -> None:
    """A length that cannot be is told to the caller, as one whose bytes are not there yet."""
    need_twins()
    data = _record("<", 16, b"ab") + _record("<", 16, b"x" * min(kept, 120), kept)
    assert _records(data, 0, 9)[0][1] == (0 if kept <= 100 else kept)


@given(st.binary(max_size=120), st.integers(0, 130), st.integers(-1, 5), st.booleans(), st.sampled_from([16, 24]))
def test_records_twin_any_bytes_give_the_same(data: bytes, at: int, room: int, little: bool, header: int) -> None:
    """Whatever a file holds."""
    need_twins()
    _records(data, at, room, little=little, header_bytes=header, units=1_000)


@pytest.mark.parametrize("order", "<>")
def test_blocks_twin_cuts_as_the_reference(order: str) -> None:
    """Interfaces of every kind, and every time."""
    need_twins()
    little = order == "<"
    data = b"".join(
        _block(order, number, time, b"p" * ((number + time) % 9)) for number in range(len(INTERFACES)) for time in TIMES
    )
    count = len(INTERFACES) * len(TIMES)
    assert len(_blocks(data, 0, 1_000, list(INTERFACES), little=little)[1]) == count
    for room in (-1, 0, 1, count - 1, count):
        _blocks(data, 0, room, list(INTERFACES), little=little)
    _blocks(data, 0, 1_000, list(INTERFACES[:3]), little=little)
    _blocks(data, 0, 1_000, [], little=little)
    _blocks(data, 0, 1_000, list(INTERFACES), little=not little)


def test_blocks_twin_cut_or_changed_anywhere_gives_the_same() -> None:
    """A block is taken if it is whole and its lengths agree."""
    need_twins()
    data = _block("<", 0, 5, b"abcdef") + _block("<", 1, 6, b"") + _block("<", 0, 7, b"x" * 40)
    interfaces = [ETHERNET, INTERFACES[2]]
    for at in range(len(data) + 3):
        _blocks(data[:at], 0, 9, interfaces, little=True)
        _blocks(data, at, 9, interfaces, little=True)
        for bit in range(8):
            changed = data[:at] + bytes(byte ^ 1 << bit for byte in data[at : at + 1]) + data[at + 1 :]
            _blocks(changed, 0, 9, interfaces, little=True)


@given(st.binary(max_size=90), st.integers(0, 100), st.integers(-1, 4), st.booleans())
def test_blocks_twin_any_bytes_give_the_same(data: bytes, at: int, room: int, little: bool) -> None:
    """Whatever a file holds."""
    need_twins()
    _blocks(data, at, room, [ETHERNET], little=little)


@given(st.lists(st.tuples(st.integers(), st.binary(max_size=3), st.integers(), st.sampled_from(INTERFACES))))
def test_packets_twin_leaves_out_the_same(frames: list[Frame]) -> None:
    """Frames without IP are left out, and no time is 0."""
    need_twins()
    assert pcap_reader._packets(frames) == pcap_reader.packets_of(frames)
