"""Call-IDs that Kamailio's topoh module has masked.

Source: spec/sipcapture.md 10, verified with the module in both directions.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from typing import Final

from sipcap.errors import DecodeError

DEFAULT_KEY: Final = b"aL9.n8~Hm]Z"
DEFAULT_PREFIX: Final = "!!:"
"""topoh's own defaults for ``mask_key`` and ``callid_prefix``."""

_START: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-"
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PADDING: Final = "*"


def shuffled_alphabet(key: bytes) -> bytes:
    """The 64 characters that this key encodes with, in the order of their values (spec 10.3).

    Raises:
        ValueError: the key is empty.
    """
    if not key:
        raise ValueError("the key of topoh is empty")
    words = struct.unpack("<4I", hashlib.md5(key + key, usedforsecurity=False).digest())
    signed = struct.unpack(f"{len(key)}b", key)
    begin = crc16(key) + len(key)
    letters = bytearray(_START)
    for left in range(len(letters), 1, -1):
        step = begin + left
        other = (words[step % 4] + signed[step % len(key)]) % 2**32 % left
        letters[other], letters[left - 1] = letters[left - 1], letters[other]
    return bytes(letters)


def crc16(data: bytes) -> int:
    """CRC-16/X-25: polynomial 0x8408 reflected, begun with and complemented by 0xFFFF."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x8408 if value & 1 else 0)
    return value ^ 0xFFFF


class CallIdMask:
    """Takes the mask off Call-IDs.

    Args:
        key: topoh's ``mask_key``, not empty.
        prefix: topoh's ``callid_prefix``; with an empty one every value counts as masked.
    """

    def __init__(self, key: bytes = DEFAULT_KEY, prefix: str = DEFAULT_PREFIX) -> None:
        alphabet = shuffled_alphabet(key).decode()
        self._letters = frozenset(alphabet)
        self._as_base64 = str.maketrans(alphabet, _BASE64)
        self._prefix = prefix

    def unmask(self, callid: str) -> str:
        """The Call-ID that was masked; one that is not, or not with this key, is given back as it is.

        Bytes that are no UTF-8, and NULs, become U+FFFD, as in every column.
        """
        prefix = self._prefix
        if prefix and (len(callid) <= len(prefix) or not callid.startswith(prefix)):
            return callid
        try:
            plain = self.decode(callid[len(prefix) :])
        except DecodeError:
            return callid
        return plain.decode("utf-8", "replace").replace("\0", "\ufffd")

    def decode(self, text: str) -> bytes:
        """Decode what stands behind the prefix (spec 10.5).

        Raises:
            DecodeError: ``topoh_length``, there is nothing left; ``topoh_character``, one that is not of the alphabet.
        """
        letters = text.rstrip(_PADDING)
        size = len(text) * 6 // 8 - (len(text) - len(letters))
        if size <= 0:
            raise DecodeError("topoh_length")
        if not self._letters.issuperset(letters):
            raise DecodeError("topoh_character")
        # Base64 with another alphabet; what a last group lacks counts as zeros.
        return binascii.a2b_base64(letters.translate(self._as_base64) + "A" * (-len(letters) % 4))[:size]
