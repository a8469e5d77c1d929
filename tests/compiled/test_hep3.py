"""The twin of HEPv3 decoding does what its reference does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.counters import Counters
from sipcap.sources import hep_gate
from sipcap.sources.hep_gate import HepGate
from sipcap.wire import hep3 as hep3_module
from sipcap.wire.hep3 import decode_hep3
from tests.support.decoding import outcome
from tests.support.messages import chunk, hep3, hep3_datagram, hep3_with, sip, usual_chunks
from tests.support.twins import need_twins

IP6: Final = bytes(range(0x20, 0x30)), 5_060
FURTHER: Final = (
    chunk(14, b"secret"), chunk(14, b""), chunk(17, b"call@host"), chunk(17, b"c\0rest"), chunk(17, b"\xff\xfe"),
    chunk(18, b"\x01\x23"), chunk(18, b"\x07"), chunk(18, b""), chunk(18, b"\1\2\3"), chunk(19, b"node"),
    chunk(19, b""), chunk(19, b"n\xe9\0x"), chunk(20, b"\1\2\3\4\5\6"), chunk(24, b"\xb8"), chunk(32, b"\1\2"),
    chunk(35, b"\1\2\3\4\5"), chunk(13, b"\0\x1e"), chunk(1, b"\x0a"), chunk(3, b"\1\2\3\4"), chunk(9, b"\0\0\0\1"),
    chunk(10, b"\0\0\0\7"), chunk(12, b"\0\1"), chunk(15, b"first"), chunk(16, b"junk"), chunk(0, b""),
    chunk(77, b"odd"), chunk(2, b"v", vendor=2), chunk(17, b"x", vendor=5), chunk(15, b"", length=5),
    chunk(15, b"", length=9_999), b"\0\0\0", b"",
)  # fmt: skip


@contextmanager
def _without_twin() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hep3_module, "USUAL", None)
        patch.setattr(hep_gate, "USUAL", None)
        yield


def _assert_equal(data: bytes, offset: int = 0) -> int:
    """Decode a frame with and without the twin; returns how many the twin took."""
    usual = hep3_module.USUAL
    assert usual is not None
    before = usual.taken
    found = outcome(lambda frame: decode_hep3(frame, offset), data)
    taken = usual.taken - before
    with _without_twin():
        assert found == outcome(lambda frame: decode_hep3(frame, offset), data)
    return taken


def _frames() -> Iterator[bytes]:
    for further in FURTHER:
        for payload in (chunk(15, sip()), chunk(15, b""), b""):
            yield hep3(*usual_chunks(), further, payload)
            yield hep3(*usual_chunks(), payload, further)
            yield hep3(*usual_chunks(source=IP6, destination=IP6), chunk(14, b"k"), further, payload)
    yield hep3(*usual_chunks(ts_us=0), chunk(15, b"x"))
    yield hep3(*usual_chunks(ts_us=999_999), chunk(15, b"x"))
    yield hep3(*usual_chunks(ts_us=0xFFFF_FFFF * 1_000_000, capture_id=0xFFFF_FFFF, protocol=255, payload_type=255))
    yield hep3(*usual_chunks(source=IP6), chunk(15, b"x"))
    yield hep3(*usual_chunks()[::-1], chunk(15, b"x"))
    yield from (hep3(*usual_chunks()[:count]) for count in range(11))


def test_twin_further_chunks_give_what_the_reference_gives() -> None:
    """Chunks of every kind behind the usual ones, right and wrong."""
    need_twins()
    assert sum(_assert_equal(data) for data in _frames()) > 100


def test_twin_frames_cut_or_changed_anywhere_give_what_the_reference_gives() -> None:
    """Any byte of a frame may be the last one, or another."""
    need_twins()
    taken = 0
    for data in (hep3_with(b"abc", chunk(17, b"c")), hep3(*usual_chunks(source=IP6, destination=IP6), chunk(15, b"x"))):
        for at in range(len(data)):
            taken += _assert_equal(data[:at])
            taken += _assert_equal(data[:4] + at.to_bytes(2, "big") + data[6:])
            for bit in range(8):
                taken += _assert_equal(data[:at] + bytes((data[at] ^ 1 << bit,)) + data[at + 1 :])
    assert taken > 500


def test_twin_frame_behind_others_gives_what_the_reference_gives() -> None:
    """A frame that begins and ends within the datagram."""
    need_twins()
    frame = hep3_datagram(1)
    assert _assert_equal(b"HEP" + frame + frame, 3) == 1
    assert _assert_equal(frame + frame[:-1], len(frame)) == 0


@given(
    st.lists(st.tuples(st.integers(0, 50), st.binary(max_size=20), st.sampled_from([0, 0, 0, 7])), max_size=5),
    st.binary(max_size=9),
)
def test_twin_any_chunks_give_what_the_reference_gives(chunks: list[tuple[int, bytes, int]], tail: bytes) -> None:
    """Whatever stands behind the usual chunks."""
    need_twins()
    further = [chunk(number, data, vendor=vendor) for number, data, vendor in chunks]
    _assert_equal(hep3(*usual_chunks(), *further, tail))


@given(st.binary(max_size=150))
def test_twin_any_bytes_give_what_the_reference_gives(data: bytes) -> None:
    """Whatever is received."""
    need_twins()
    _assert_equal(b"HEP3" + len(data).to_bytes(2, "big") + data)


def _gated(datagrams: list[bytes], auth_key: bytes | None) -> Any:
    stats = Counters()
    messages = HepGate(stats, auth_key).decode(datagrams)
    for message in messages:  # the time of now differs between two runs
        if message.extra is not None and "original_ts_us" in message.extra:
            message.ts_us = 0
    return messages, stats.as_dict()


@pytest.mark.parametrize("auth_key", [None, b"k"])
def test_gate_with_twin_gives_what_it_gives_without(auth_key: bytes | None) -> None:
    """Single frames, several in one datagram, other versions, and what is none of them; frames are kept, and counts."""
    need_twins()
    one = hep3_datagram(0)
    odd = [
        b"", b"HEP3", b"junk", one + one, one[:-1], one + b"\0",
        b"EEP1" + one[4:], b"EEP3" + one[4:], b"EEP2" + one[4:],
        b"\1\x10\2\x11" + bytes(12) + b"x", b"HEP3\0\6", b"HEP3\0\5", b"HEP3\0",
    ]  # fmt: skip
    usual = hep3_module.USUAL
    assert usual is not None
    before = usual.taken
    found = _gated([*_frames(), *odd], auth_key)
    assert usual.taken - before > 100
    with _without_twin():
        assert _gated([*_frames(), *odd], auth_key) == found


def test_usual_datagrams_go_through_the_twin_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What agents send needs the reference for nothing."""
    need_twins()
    monkeypatch.setattr(hep_gate, "decode_datagram", None)
    datagrams = [hep3_datagram(number) for number in range(100)]
    datagrams += [hep3_with(sip(), chunk(14, b"key"), chunk(17, b"call"), chunk(19, b"node"))]
    messages = HepGate(Counters()).decode(datagrams)
    assert [message.frame for message in messages] == datagrams
    assert messages[-1].extra is not None
    assert messages[-1].extra["node_name"] == "node"
