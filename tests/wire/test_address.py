"""Addresses as text."""

from __future__ import annotations

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sipcap.wire.address import ip_packed, ip_text, mac_packed, mac_text

# Words that make runs of zeros, mapped and IPv4-compatible addresses likely.
_word = st.sampled_from([0, 0, 0, 1, 0xFF, 0xFFFF, 0x0DB8]) | st.integers(0, 0xFFFF)
_ip6 = st.lists(_word, min_size=8, max_size=8).map(lambda words: b"".join(w.to_bytes(2, "big") for w in words))


@given(packed=st.binary(min_size=4, max_size=4))
def test_ip_text_of_ipv4_is_as_inet_ntop_writes_it(packed: bytes) -> None:
    """Four bytes make a dotted quad."""
    assert ip_text(packed) == socket.inet_ntop(socket.AF_INET, packed)


@given(packed=_ip6)
@example(bytes(16))
@example(bytes(15) + b"\1")
@example(bytes(12) + b"\1\2\3\4")
@example(bytes(12) + b"\0\1\3\4")
@example(bytes(12) + b"\0\0\3\4")
@example(bytes(10) + b"\xff\xff\1\2\3\4")
@example(bytes(10) + b"\xff\xff\0\0\0\0")
def test_ip_text_of_ipv6_is_as_inet_ntop_writes_it(packed: bytes) -> None:
    """Compressed, small letters, IPv4 at the end of mapped and compatible addresses (spec 2.7)."""
    assert ip_text(packed) == socket.inet_ntop(socket.AF_INET6, packed)


@given(packed=st.binary(min_size=4, max_size=4) | _ip6)
def test_ip_packed_of_any_text_gives_the_bytes_back(packed: bytes) -> None:
    """Text and packed form are two ways to write one address."""
    assert ip_packed(ip_text(packed)) == packed


@pytest.mark.parametrize(
    ("text", "packed"),
    [
        ("[2001:db8::1]", b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"),
        ("fe80::1%eth0", b"\xfe\x80" + bytes(13) + b"\1"),
        ("10.0.0.1", b"\x0a\0\0\1"),
    ],
)
def test_ip_packed_with_brackets_or_zone_drops_them(text: str, packed: bytes) -> None:
    """Addresses are taken as URIs and tools write them."""
    assert ip_packed(text) == packed


@pytest.mark.parametrize("text", ["", "host", "10.0.0", "10.0.0.256", "1:2", "[]", "::1::"])
def test_ip_packed_of_no_address_is_a_value_error(text: str) -> None:
    """Names and broken addresses are no addresses."""
    with pytest.raises(ValueError, match=r"."):
        ip_packed(text)


@given(packed=st.binary(min_size=6, max_size=6))
def test_mac_text_and_mac_packed_are_inverse(packed: bytes) -> None:
    """Six bytes survive the way through text; HEP's leading two zero bytes are left out."""
    assert mac_packed(mac_text(packed)) == packed
    assert mac_text(b"\0\0" + packed) == mac_text(packed)


def test_mac_text_is_small_hex_with_colons() -> None:
    """The form that tools print."""
    assert mac_text(b"\0\0\xaa\xbb\xcc\x01\x02\x03") == "aa:bb:cc:01:02:03"


@pytest.mark.parametrize("text", ["", "aa:bb:cc:dd:ee", "aa:bb:cc:dd:ee:ff:00", "zz:bb:cc:dd:ee:ff"])
def test_mac_packed_of_no_mac_is_a_value_error(text: str) -> None:
    """Anything but six bytes of hexadecimal is refused."""
    with pytest.raises(ValueError, match=r"."):
        mac_packed(text)
