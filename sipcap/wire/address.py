"""Packed IP addresses and MACs to text, without a socket module."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address


@lru_cache(maxsize=65_536)
def ip_text(packed: bytes) -> str:
    """Write a packed address of 4 or 16 bytes as ``inet_ntop`` does (spec 2.7).

    The cache is bounded; a capture node sees few addresses, so that most look-ups hit.
    """
    if len(packed) == 4:
        return "%d.%d.%d.%d" % tuple(packed)
    address = IPv6Address(packed)
    mapped = address.ipv4_mapped
    # Python before 3.13 writes the last 32 bits of a mapped address in hexadecimal, inet_ntop does not.
    return f"::ffff:{mapped}" if mapped is not None else str(address)


def ip_packed(text: str) -> bytes:
    """Pack an IPv4 or IPv6 text address; brackets and a zone are dropped, ValueError if it is none."""
    address: IPv4Address | IPv6Address = ip_address(text.strip("[]").partition("%")[0])
    return address.packed


def mac_text(packed: bytes) -> str:
    """Write 6 bytes, or the lower 6 of HEP's 8, as ``aa:bb:cc:dd:ee:ff``."""
    return packed[-6:].hex(":")


def mac_packed(text: str) -> bytes:
    """Pack ``aa:bb:cc:dd:ee:ff`` into 6 bytes; ValueError if it is not that."""
    packed = bytes.fromhex(text.replace(":", ""))
    if len(packed) != 6:
        raise ValueError(f"not a MAC address: {text!r}")
    return packed
