"""BINRPC, which ``kamcmd`` speaks (spec/control.md 1): packets and values; bytes in, values out.

A packet is a header and a row of values, big endian. Integers are signed and of 32 bits in Kamailio's clients: a
larger one is written as a string of its digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sipcap.errors import DecodeError
from sipcap.limits import BINRPC_VALUES, CONTROL_REQUEST_BYTES

REQUEST: Final = 0
REPLY: Final = 1
FAULT: Final = 3

_MAGIC: Final = 0xA1  # magic 0xA, version 1
_INT, _STR, _DOUBLE, _STRUCT, _, _NAME, _BYTES = range(7)
_LONG: Final = 0x80  # the size field tells how many bytes tell the size
_END: Final = _LONG  # a struct of size 0 in the long form
_MAX_INLINE: Final = 7
_MAX_INT: Final = 2**31 - 1
_MAX_SIZE_BYTES: Final = 4


@dataclass(frozen=True)
class Packet:
    """One packet; ``cookie`` goes back as it came, 1 to 4 bytes."""

    kind: int
    cookie: bytes
    payload: bytes


class BinrpcFramer:
    """Cuts a byte stream into packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_inside(self) -> bool:
        """Whether a packet has begun that has not ended."""
        return bool(self._buffer)

    def receive_data(self, data: bytes) -> Iterator[Packet]:
        """Take bytes, give the packets that are whole.

        Raises:
            DecodeError: ``magic`` or ``length``; nothing more can be taken from this stream.
        """
        self._buffer += data
        while packet := self._next():
            yield packet

    def _next(self) -> Packet | None:
        buffer = self._buffer
        if buffer and buffer[0] != _MAGIC:
            raise DecodeError("magic")
        if len(buffer) < 2:
            return None
        length_size, cookie_size = (buffer[1] >> 2 & 3) + 1, (buffer[1] & 3) + 1
        start = 2 + length_size + cookie_size
        if len(buffer) < 2 + length_size:
            return None
        length = int.from_bytes(buffer[2 : 2 + length_size], "big")
        if length > CONTROL_REQUEST_BYTES:
            raise DecodeError("length")
        if len(buffer) < start + length:
            return None
        packet = Packet(buffer[1] >> 4, bytes(buffer[2 + length_size : start]), bytes(buffer[start : start + length]))
        del buffer[: start + length]
        return packet


def encode_packet(kind: int, cookie: bytes, payload: bytes) -> bytes:
    """Make a packet; *cookie* has 1 to 4 bytes."""
    length = _size_bytes(len(payload)) or b"\0"
    flags = kind << 4 | (len(length) - 1) << 2 | len(cookie) - 1
    return bytes((_MAGIC, flags)) + length + cookie + payload


def decode_values(payload: bytes) -> list[int | str | float | bytes]:
    """Read the values of a request: a name and parameters, no structs or arrays.

    Strings are text up to their NUL; bytes that are no UTF-8 become U+FFFD.

    Raises:
        DecodeError: ``short``, ``type``, ``size`` or ``values``.
    """
    values: list[int | str | float | bytes] = []
    at = 0
    while at < len(payload):
        if len(values) == BINRPC_VALUES:
            raise DecodeError("values")
        value, at = _decode_value(payload, at)
        values.append(value)
    return values


def _decode_value(payload: bytes, at: int) -> tuple[int | str | float | bytes, int]:
    head = payload[at]
    size, at = head >> 4 & 7, at + 1
    if head & _LONG:
        if size > _MAX_SIZE_BYTES:
            raise DecodeError("size")
        if at + size > len(payload):
            raise DecodeError("short")
        size, at = int.from_bytes(payload[at : at + size], "big"), at + size
    end = at + size
    if end > len(payload):
        raise DecodeError("short")
    return _read(head & 0x0F, payload[at:end]), end


def _read(kind: int, data: bytes) -> int | str | float | bytes:
    if kind == _STR:
        return data.partition(b"\0")[0].decode(errors="replace")
    if kind == _BYTES:
        return data
    if kind not in {_INT, _DOUBLE}:
        raise DecodeError("type")
    if len(data) > 4:
        raise DecodeError("size")
    # Four bytes have a sign; fewer are what a client shortened, as kamcmd does with 200.
    number = int.from_bytes(data, "big", signed=len(data) == 4)
    return number if kind == _INT else number / 1000


def encode_values(values: Sequence[Any]) -> bytes:
    """Write values: what JSON can express, nested as deep as it is."""
    return b"".join(map(_encode_value, values))


def _encode_value(value: Any) -> bytes:
    if isinstance(value, str):
        return _with_head(_STR, _c_string(value))
    if isinstance(value, int):  # bool too
        return _with_head(_INT, _int_bytes(value)) if abs(value) <= _MAX_INT else _encode_value(str(value))
    if isinstance(value, float):
        thousandths = round(value * 1000) if abs(value) < _MAX_INT else _MAX_INT + 1  # inf and nan, too
        fits = abs(thousandths) <= _MAX_INT
        return _with_head(_DOUBLE, _int_bytes(thousandths)) if fits else _encode_value(str(value))
    if isinstance(value, dict):
        return _encode_struct((str(name), each) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return _encode_struct((str(number), each) for number, each in enumerate(value))
    return _encode_value("" if value is None else str(value))


def _encode_struct(members: Iterable[tuple[str, Any]]) -> bytes:
    """A struct; a list in it is a row of members of the same name, as Kamailio writes one: kamcmd reads no arrays."""
    parts = [bytes((_STRUCT,))]
    for name, value in members:
        head = _with_head(_NAME, _c_string(name))
        parts += (head + _encode_value(each) for each in (value if isinstance(value, (list, tuple)) else [value]))
    parts.append(bytes((_END | _STRUCT,)))
    return b"".join(parts)


def _c_string(text: str) -> bytes:
    """Text as C reads it: a NUL inside would end it."""
    return text.encode(errors="replace").replace(b"\0", "\ufffd".encode()) + b"\0"


def _int_bytes(number: int) -> bytes:
    return _size_bytes(number) if number >= 0 else number.to_bytes(4, "big", signed=True)


def _size_bytes(number: int) -> bytes:
    """As few bytes as hold it, none for 0."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _with_head(kind: int, data: bytes) -> bytes:
    if len(data) <= _MAX_INLINE:
        return bytes((len(data) << 4 | kind,)) + data
    size = _size_bytes(len(data))
    return bytes((_LONG | len(size) << 4 | kind,)) + size + data
