"""The twins that read a packet ring do what their references do."""

from __future__ import annotations

import mmap
import random
import struct
import sys
from typing import Any, Final

import pytest

from sipcap.compiled import twins
from sipcap.sources import packet_ring
from sipcap.wire.link import LINK_TYPES
from tests.support import packets as p
from tests.support.messages import sip
from tests.support.twins import need_twins

BEGIN: Final = 4_096
FIRST: Final = 48
OFFSET: Final = 82
LINK: Final = LINK_TYPES[1]
LITTLE: Final = sys.byteorder == "little"


def _ring(frames: list[tuple[bytes, int, bytes]]) -> mmap.mmap:
    """A ring whose second page has a block of frames, with their status and the protocol that the kernel tells."""
    memory = mmap.mmap(-1, 1 << 17)
    struct.pack_into("=II", memory, BEGIN + 12, len(frames), FIRST)
    at = BEGIN + FIRST
    for number, (frame, status, protocol) in enumerate(frames):
        step = (OFFSET + len(frame) + 15) // 16 * 16
        seconds, tag, kind = 1_700_000_000 + number, 0x2000 | number, 0x88A8
        header = seconds, 999_999_999 - number, len(frame), 2_000, status, OFFSET, OFFSET + 14, tag, kind
        struct.pack_into("=6IHH4xIH", memory, at, step, *header)
        address = bytes((2, 0, 0, 0, 0, number % 3, 0, 0))
        struct.pack_into("=2x2s4xHBB8s", memory, at + 48, protocol, 1 + number % 2, number % 5, 6, address)
        memory[at + OFFSET : at + OFFSET + len(frame)] = frame
        at += step
    return memory


def _frames(count: int) -> list[tuple[bytes, int, bytes]]:
    numbers = random.Random(count)
    return [
        (
            numbers.randbytes(numbers.choice((0, 1, 11, 12, 13, 60, 300))),
            numbers.choice((0, 0, 0x10, 0x50, 0x41)),
            b"\x08\0",
        )
        for _ in range(count)
    ]


def _module() -> Any:
    need_twins()
    return twins()


@pytest.mark.parametrize("count", [0, 1, 2, 200])
def test_framed_twin_gives_what_the_reference_gives(count: int) -> None:
    """Frames of any length, with tags taken off or not."""
    memory = _ring(_frames(count))
    expected = packet_ring.framed(memory, BEGIN, LINK)
    assert _module().framed(memory, BEGIN, LINK, LITTLE) == expected
    assert len(expected) == count


@pytest.mark.parametrize("with_header", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2, 200])
def test_cooked_twin_gives_what_the_reference_gives(count: int, with_header: bool) -> None:
    """Packets of several senders, with tags taken off or not."""
    memory = _ring(_frames(count))
    expected = packet_ring.cooked(memory, BEGIN, LINK, with_header)
    assert _module().cooked(memory, BEGIN, LINK, LITTLE, with_header) == expected
    assert len(expected) == count


def test_cooked_twin_leaves_what_may_begin_with_a_tag_to_the_reference() -> None:
    """An inner tag that the kernel has left there is told from IP by the reference alone."""
    tagged = b"\0\7\x08\0" + p.ip4(p.udp(sip()))
    memory = _ring([(tagged, 0, b"\x08\0")])
    assert _module().cooked(memory, BEGIN, LINK, LITTLE, True) is None
    assert packet_ring._cooked(memory, BEGIN, LINK, True) == packet_ring.cooked(memory, BEGIN, LINK, True)


@pytest.mark.parametrize("at", [16, FIRST, FIRST + 12, FIRST + 24])
def test_block_that_leads_out_of_the_ring_is_none(at: int) -> None:
    """No length or offset leads behind the memory."""
    memory = _ring(_frames(3))
    memory[BEGIN + at : BEGIN + at + 4] = b"\xff" * 4
    if at == FIRST + 24:
        memory[BEGIN + FIRST + 12 : BEGIN + FIRST + 16] = (1 << 17).to_bytes(4, sys.byteorder)
    assert _module().framed(memory, BEGIN, LINK, LITTLE) is None
    assert _module().cooked(memory, BEGIN, LINK, LITTLE, True) is None


def test_ring_uses_the_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a ring calls is compiled."""
    need_twins()
    memory = _ring([(b"x" * 40, 0, b"\x08\0")] * 5)
    monkeypatch.setattr(packet_ring, "framed", None)
    monkeypatch.setattr(packet_ring, "cooked", None)
    assert len(packet_ring._framed(memory, BEGIN, LINK)) == 5
    assert len(packet_ring._cooked(memory, BEGIN, LINK, True)) == 5
