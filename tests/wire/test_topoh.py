"""Call-IDs behind topoh's mask: all vectors of spec/sipcapture.md 10."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.wire.topoh import DEFAULT_KEY, CallIdMask, crc16, shuffled_alphabet
from tests.support.decoding import cut_everywhere, outcome
from tests.support.topoh import ALPHABETS, masked

CRCS = {"aL9.n8~Hm]Z": 0x6609, "secret": 0x1E13, "x": 0x0FB7, "123456789": 0x906E}
VECTORS = (
    ("a", "!!:3P**", "!!:xL**"),
    ("ab", "!!:3RV*", "!!:x1r*"),
    ("abc", "!!:3ReB", "!!:x13U"),
    ("abc123@host", "!!:3ReBM.VlPSr5NwP*", "!!:x13Uw5rPLYtIh6L*"),
    (
        "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "!!:gBcfgxaE3Rj1W6aI3L4fMRPAORFwWBj1Mx0rMSMsMRj63E36",
        "!!:QU4EQ2d7x1DvCudAxFJEw1LWO1l6CUDvw2qtwYwaw1Dux7xu",
    ),
)


@pytest.mark.parametrize("key", CRCS)
def test_crc_of_the_spec(key: str) -> None:
    """The checksum is CRC-16/X-25, whose check value is 906e."""
    assert crc16(key.encode()) == CRCS[key]


@pytest.mark.parametrize("key", ALPHABETS)
def test_alphabet_of_the_spec(key: str) -> None:
    """The key shuffles the alphabet as in the module."""
    assert shuffled_alphabet(key.encode()).decode() == ALPHABETS[key]


@pytest.mark.parametrize(("plain", "default", "secret"), VECTORS)
def test_unmask_vectors_of_the_spec(plain: str, default: str, secret: str) -> None:
    """What the module has masked with either key comes out as it was."""
    assert CallIdMask().unmask(default) == plain
    assert CallIdMask(b"secret").unmask(secret) == plain
    assert masked(plain.encode()) == default


@pytest.mark.parametrize("callid", ["plain@x", "!!:", "!!:****", "!!:bad$chars", "", "!!", "a!!:3P**", "!!:3P**\u00e9"])
def test_unmask_of_what_is_not_masked_changes_nothing(callid: str) -> None:
    """A Call-ID without the prefix, or with what cannot be decoded behind it, stays."""
    assert CallIdMask().unmask(callid) == callid


@pytest.mark.parametrize(("prefix", "callid", "plain"), [
    ("***", "***3P**", "a"), ("", "3ReB", "abc"), ("", "no mask", "no mask"), ("TH", "th3ReB", "th3ReB"),
])  # fmt: skip
def test_unmask_with_another_prefix(prefix: str, callid: str, plain: str) -> None:
    """The prefix is compared exactly; with an empty one, every value counts as masked."""
    assert CallIdMask(prefix=prefix).unmask(callid) == plain


def test_unmask_with_another_key_gives_another_text() -> None:
    """Nothing tells a wrong key, as in the module; but nothing fails, and the column stays text."""
    assert CallIdMask(b"secret").unmask(masked(b"abc123@host")) != "abc123@host"


def test_unmask_of_bytes_that_are_no_text_gives_replacements() -> None:
    """A column is always text without NUL (design 1.5)."""
    assert CallIdMask().unmask(masked(b"a\xff\0b")) == "a\ufffd\ufffdb"


@pytest.mark.parametrize(("text", "size"), [("3P", 1), ("3", 0), ("3Re", 2), ("3ReB3", 3), ("3ReB***", 2)])
def test_decode_of_odd_lengths_keeps_whole_bytes(text: str, size: int) -> None:
    """Missing characters count as zeros, and each star takes a byte off (spec 10.5)."""
    found = outcome(CallIdMask().decode, text)  # type: ignore[arg-type]  # text, where others decode bytes
    assert found == (b"abc"[:size] if size else "topoh_length")


def test_empty_key_is_refused() -> None:
    """The module would divide by zero."""
    with pytest.raises(ValueError, match="empty"):
        CallIdMask(b"")


@given(st.binary(min_size=1, max_size=200), st.sampled_from(sorted(ALPHABETS)))
def test_unmask_is_the_way_back(callid: bytes, key: str) -> None:
    """Whatever is masked comes back, byte for byte."""
    mask = CallIdMask(key.encode())
    assert mask.decode(masked(callid, key=key, prefix="")) == callid


@given(st.text(max_size=80), st.binary(min_size=1, max_size=30))
def test_decode_of_any_text_is_bytes_or_a_decode_error(text: str, key: bytes) -> None:
    """Captured text is hostile."""
    mask = CallIdMask(key)
    found = outcome(mask.decode, text)  # type: ignore[arg-type]
    assert len(found) <= len(text) or isinstance(found, str)
    assert isinstance(mask.unmask(text), str)


def test_decode_of_what_is_cut_anywhere() -> None:
    """A cut value gives what is there, or a reason."""
    found = cut_everywhere(
        lambda data: CallIdMask(DEFAULT_KEY).decode(data.decode()), masked(b"abc123@host")[3:].encode()
    )
    assert found[-1] == b"abc123@host"
    assert all(isinstance(each, str) or b"abc123@host".startswith(each.rstrip(b"\0")) for each in found)
