"""Packed IP addresses and MACs to text, without a socket module."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

_COMPATIBLE: Final = bytes(12)
_MAPPED: Final = bytes(10) + b"\xff\xff"


@lru_cache(maxsize=65_536)
def ip_text(packed: bytes) -> str:
    """Write a packed address of 4 or 16 bytes as ``inet_ntop`` does (spec 2.7).

    The cache is bounded; a capture node sees few addresses, so that most look-ups hit.
    """
    if len(packed) == 4:
        return "{}.{}.{}.{}".format(*packed)
    # inet_ntop writes the last 32 bits of mapped and of IPv4-compatible addresses as IPv4, ipaddress does not
    # (mapped ones it does from Python 3.13 on).
    if packed.startswith(_MAPPED):
        return "::ffff:{}.{}.{}.{}".format(*packed[12:])
    if packed.startswith(_COMPATIBLE) and packed[12:14] != b"\0\0":
        return "::{}.{}.{}.{}".format(*packed[12:])
    return str(IPv6Address(packed))


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
