"""HEP of any version: which one it is, several in a datagram, compressed payloads."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import DecodeError
from sipcap.limits import MAX_HEP_PER_DATAGRAM, MAX_INFLATED_BYTES
from sipcap.wire.hep import decode_datagram, looks_like_hep
from sipcap.wire.hep3 import inflate
from sipcap.wire.message import Message
from tests.support.decoding import TRAILING, message_of, messages_of, outcome, reason_of
from tests.support.messages import chunk, hep3, hep3_datagram, hep3_with, hep12, sip, sip_message, usual_chunks

NO_HEP = {
    b"": "empty",
    b"H": "short",
    b"\0": "short",
    b"\3\x10\2": "short",
    b"HEP2\0\6": "magic",
    b"EEP2\0\6": "magic",
    b"hep3\0\6": "magic",
    b"\0\0\0\0\0\0": "magic",
    b"INVITE sip:bob@biloxi.com SIP/2.0\r\n\r\n": "magic",
}


@pytest.mark.parametrize("data", NO_HEP)
def test_datagram_that_is_no_hep_is_refused(data: bytes) -> None:
    """What is neither version 1, 2 nor 3 has a reason of its own."""
    assert reason_of(data) == NO_HEP[data]
    assert not looks_like_hep(data)


def test_datagram_of_several_frames_gives_all_messages() -> None:
    """Agents such as voipmonitor pack HEPv3 messages one behind the other."""
    frames = [hep3_datagram(number) for number in range(5)]
    messages = messages_of(b"".join(frames))
    assert messages == [message_of(frame) for frame in frames]
    assert [m.payload for m in messages] == [sip_message(number) for number in range(5)]


@pytest.mark.parametrize("trailing", TRAILING)
def test_datagram_of_several_frames_ignores_bytes_behind(trailing: bytes) -> None:
    """Junk behind the last frame loses nothing."""
    assert len(messages_of(hep3_datagram(1) + hep3_datagram(2) + trailing)) == 2


@pytest.mark.parametrize(
    ("broken", "reason"), [(b"HEP3\0", "short"), (b"HEP3\0\0", "length"), (hep3(chunk(9, b"")), "chunk_size")]
)
def test_datagram_with_a_broken_frame_behind_keeps_those_before(broken: bytes, reason: str) -> None:
    """One frame is lost and counted, not the ones before it."""
    messages: list[Message] = []
    with pytest.raises(DecodeError, match=reason):
        decode_datagram(hep3_datagram(1) + broken, messages)
    assert [m.payload for m in messages] == [sip_message(1)]


def test_datagram_of_frames_up_to_the_bound_is_whole_and_beyond_is_refused() -> None:
    """The bound itself is allowed, one more frame is one rejection."""
    frame = hep3(*usual_chunks(), chunk(15, b"x"))
    assert len(messages_of(frame * MAX_HEP_PER_DATAGRAM)) == MAX_HEP_PER_DATAGRAM
    messages: list[Message] = []
    with pytest.raises(DecodeError, match="too_many"):
        decode_datagram(frame * (MAX_HEP_PER_DATAGRAM + 9), messages)
    assert len(messages) == MAX_HEP_PER_DATAGRAM


@pytest.mark.parametrize("length", [16, 26, 28])
def test_looks_like_hep_head_of_version_1_or_2_is_told(length: int) -> None:
    """The byte called length counts the addresses, with some senders HEPv2's time block as well."""
    data = hep12(sip(), version=2)
    assert looks_like_hep(data[:1] + bytes((length,)) + data[2:])


@pytest.mark.parametrize(("at", "value"), [(0, 3), (1, 15), (2, 10), (3, 1)])
def test_looks_like_hep_head_wrong_in_any_field_is_not(at: int, value: int) -> None:
    """Without a magic, every field that can be wrong must be right."""
    data = bytearray(hep12(b"", version=1))
    assert looks_like_hep(bytes(data))
    data[at] = value
    assert not looks_like_hep(bytes(data))


@given(data=st.binary(max_size=60))
def test_looks_like_hep_any_bytes_are_told(data: bytes) -> None:
    """Total, and what decodes with a magic also looks like it."""
    assert looks_like_hep(data) in (True, False)
    assert looks_like_hep(b"HEP3" + data)


def _raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "raw deflate": _raw_deflate,
}


@pytest.mark.parametrize("how", COMPRESSORS)
def test_payload_compressed_any_way_is_inflated(how: str) -> None:
    """The specification says gzip/inflate, captagent sends zlib (spec 2.5)."""
    data = hep3(*usual_chunks(), chunk(0x10, COMPRESSORS[how](sip_message(3))))
    assert message_of(data).payload == sip_message(3)


@pytest.mark.parametrize("how", COMPRESSORS)
def test_payload_compressed_but_cut_or_broken_is_refused(how: str) -> None:
    """A part of a compressed payload is never taken for the whole."""
    whole = COMPRESSORS[how](sip_message(3))
    for end in range(len(whole)):
        seen = outcome(inflate, whole[:end])
        # The trailer of gzip and zlib is a check sum; raw deflate ends where it says.
        assert seen == "inflate", end
    assert reason_of(hep3(*usual_chunks(), chunk(0x10, b"no deflate at all"))) == "inflate"


@pytest.mark.parametrize("how", COMPRESSORS)
def test_payload_compressed_inflates_up_to_the_bound_only(how: str) -> None:
    """A bomb of 64 KB would take 64 MB; it stops at the bound, which itself is allowed."""
    assert len(inflate(COMPRESSORS[how](bytes(MAX_INFLATED_BYTES)))) == MAX_INFLATED_BYTES
    for size in (MAX_INFLATED_BYTES + 1, 50 * MAX_INFLATED_BYTES):
        assert outcome(inflate, COMPRESSORS[how](bytes(size))) == "inflate"


def test_payload_given_plain_and_compressed_is_the_plain_one() -> None:
    """Nothing is inflated that is not needed, so that a broken copy does no harm."""
    assert message_of(hep3_with(b"plain", chunk(0x10, b"broken"))).payload == b"plain"


def test_datagram_of_many_bombs_inflates_to_what_one_may() -> None:
    """The bound of one payload holds for all of a datagram, or 60 bombs of 1 KB would take 60 MB."""
    bomb = hep3(*usual_chunks(), chunk(0x10, zlib.compress(b"a" * (MAX_INFLATED_BYTES // 3))))
    messages: list[Message] = []
    with pytest.raises(DecodeError, match="inflate"):
        decode_datagram(bomb * 9, messages)
    assert len(messages) == 3


@given(data=st.binary(max_size=100))
def test_inflate_any_bytes_give_bytes_or_a_reason(data: bytes) -> None:
    """Total."""
    outcome(inflate, data)
    assert inflate(_raw_deflate(data)) == inflate(zlib.compress(data)) == data
