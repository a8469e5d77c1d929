"""Runs a decoder whole, cut at every offset and with bytes behind: it gives a value or DecodeError, never more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sipcap.errors import DecodeError
from sipcap.wire.hep import decode_datagram
from sipcap.wire.message import Message

T = TypeVar("T")
TRAILING = (b"\0", b"\r\n", b"HEP", b"\xff" * 7)
"""Bytes that begin no HEP message."""


def outcome(decode: Callable[[bytes], T], data: bytes) -> T | str:
    """The value, or the reason of the DecodeError, which is a token fit for a counter's label."""
    try:
        return decode(data)
    except DecodeError as error:
        assert error.reason.replace("_", "").isalpha(), error.reason
        assert error.reason.islower(), error.reason
        return error.reason


def cut_everywhere(decode: Callable[[bytes], T], data: bytes) -> list[T | str]:
    """The outcome for the first 0, 1, 2 ... bytes of ``data`` and for all of it."""
    return [outcome(decode, data[:end]) for end in range(len(data) + 1)]


def messages_of(data: bytes, received_us: int = 0) -> list[Message]:
    """The messages of a datagram; those before an error are lost here."""
    messages: list[Message] = []
    decode_datagram(data, messages, received_us)
    return messages


def message_of(data: bytes) -> Message:
    """The one message of a datagram."""
    (message,) = messages_of(data)
    return message


def reason_of(data: bytes) -> str:
    """Why a datagram is refused."""
    reason = outcome(messages_of, data)
    assert isinstance(reason, str), reason
    return reason
