"""Memory that processes share: it is made before a fork, and survives whoever wrote into it."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from mmap import mmap
from typing import Any, Final

import msgspec

_NUMBER: Final = struct.Struct("=Q")
_LENGTH: Final = struct.Struct("=I")
_SWITCHES: Final = 1_024  # capture modes that one service may ever have had


class SharedPage:
    """One JSON object, written by one process and read by others.

    Two halves are written in turn, and then the number of the writing, which tells the whole one: a writer
    that is killed leaves the previous values, and a reader notices that it was overtaken.

    Args:
        size: bytes of memory; what is not written takes none.
    """

    def __init__(self, size: int) -> None:
        self._page = mmap(-1, size)
        self._half = (size - _NUMBER.size) // 2

    def write(self, values: dict[str, Any]) -> bool:
        """Write the values as they are now; false if they do not fit, and then nothing has changed."""
        data = msgspec.json.encode(values)
        if len(data) > self._half - _LENGTH.size:
            return False
        number = self._number() + 1
        begin = self._begin_of(number)
        _LENGTH.pack_into(self._page, begin, len(data))
        begin += _LENGTH.size
        self._page[begin : begin + len(data)] = data
        _NUMBER.pack_into(self._page, 0, number)
        return True

    def read(self) -> dict[str, Any]:
        """The values that were written last; empty if none were."""
        while number := self._number():
            begin = self._begin_of(number)
            (size,) = _LENGTH.unpack_from(self._page, begin)
            begin += _LENGTH.size
            data = self._page[begin : begin + min(size, self._half)]
            if number == self._number():
                values: dict[str, Any] = msgspec.json.decode(data)
                return values
        return {}

    def _number(self) -> int:
        return int(_NUMBER.unpack_from(self._page)[0])

    def _begin_of(self, number: int) -> int:
        return _NUMBER.size + number % 2 * self._half


class Switches:
    """Whether capture is on, as a whole and for each capture mode; any process may ask at any time.

    A mode keeps its place for ever, so that processes which know it under that place go on.
    """

    def __init__(self, modes: Iterable[str] = (), *, on: bool = True) -> None:
        self._off = mmap(-1, _SWITCHES)  # 1 = off; the first is for all
        self._places: dict[str, int] = {}
        self.know(modes)
        self.set(None, on=on)

    def know(self, modes: Iterable[str]) -> None:
        """Add modes; they are on."""
        for mode in modes:
            if mode not in self._places and len(self._places) < _SWITCHES - 1:
                self._places[mode] = len(self._places) + 1

    @property
    def modes(self) -> dict[str, bool]:
        """Which modes are switched on."""
        return {mode: self.is_on(mode) for mode in self._places}

    def set(self, mode: str | None, *, on: bool) -> None:
        """Switch one mode, or all; KeyError if there is no such mode."""
        self._off[0 if mode is None else self._places[mode]] = not on

    def is_on(self, mode: str | None = None) -> bool:
        """Whether one mode, or capture as a whole, is switched on; KeyError if there is no such mode."""
        return not self._off[0 if mode is None else self._places[mode]]


class SharedCount:
    """A number that one process writes, at next to no cost, and others read."""

    def __init__(self) -> None:
        self._value = memoryview(mmap(-1, 8)).cast("Q")  # a number is written as a whole

    @property
    def value(self) -> int:
        """As it was written last; 0 at first."""
        return self._value[0]

    @value.setter
    def value(self, value: int) -> None:
        self._value[0] = value


class Pulse:
    """When a process has last shown that it lives."""

    def __init__(self) -> None:
        self._at_s = memoryview(mmap(-1, 8)).cast("d")  # a number is written as a whole
        self.beat()

    def beat(self) -> None:
        """Show it."""
        self._at_s[0] = time.monotonic()

    @property
    def age_s(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._at_s[0]
