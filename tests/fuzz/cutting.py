"""How a fuzzer's bytes become what a target takes: pieces, frames, numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sipcap.errors import DecodeError

_SIZES = (1, 2, 3, 7, 16, 61, 250, 1_460, 65_536)


def reason_of(error: DecodeError) -> None:
    """The reason of a DecodeError is a token fit for a counter's label."""
    assert error.reason.replace("_", "").isalpha(), error.reason
    assert error.reason.islower(), error.reason


def pieces(data: bytes) -> tuple[int, list[bytes]]:
    """One number, and a stream in pieces of the size that its first byte says; 65,536 single bytes take too long."""
    if len(data) < 2:
        return 0, [data[1:]]
    size = max(_SIZES[data[0] % len(_SIZES)], len(data) // 512)
    return data[0] // len(_SIZES), [data[begin : begin + size] for begin in range(1, len(data), size)]


def packed(parts: Iterable[bytes]) -> bytes:
    """Parts behind each other, each with two bytes of length before it: what ``parts_of`` takes apart."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


def parts_of(data: bytes) -> Iterator[bytes]:
    """The parts; the last one may be shorter than it says."""
    while len(data) > 2:
        size = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + size]
        data = data[2 + size :]


def records_of(data: bytes, size: int) -> Iterator[bytes]:
    """Records of a fixed size; what is left over is dropped."""
    return (data[begin : begin + size] for begin in range(0, len(data) - size + 1, size))


def drained(take: Callable[[], Any], bound: int) -> list[Any]:
    """Everything that is there now, reasons of errors among it.

    Args:
        take: gives the next value, or None.
        bound: more values than this come of no such input: the loop would not end.
    """
    seen: list[Any] = []
    while True:
        assert len(seen) <= bound, "this does not end"
        try:
            value = take()
        except DecodeError as error:
            reason_of(error)
            seen.append(error.reason)
            continue
        if value is None:
            return seen
        seen.append(value)


def text_of(data: bytes) -> str:
    """Text as it comes from a file or a command line: UTF-8, and U+FFFD for what is not."""
    return data.decode("utf-8", "replace")


def one_of(values: Sequence[Any], byte: int) -> Any:
    """The value that a byte chooses."""
    return values[byte % len(values)]
