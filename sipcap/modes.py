"""Capture modes: named databases with their tables (design 1.7), and the module's notation for them (spec 1.3).

Where the module's parser has defects, what its documentation promises is read here: a trailing ``;``, any order
of the keys, commas in URLs. What it passes over in silence (unknown and repeated keys) is an error that says where.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sipcap.errors import CannotStart
from sipcap.routing import HASH_SOURCES, MT_MODES, split_patterns
from sipcap.sinks.url import DEFAULT_URL

DEFAULT_MODE: Final = "default"
"""The name of the mode that is made of the parameters ``db_url``, ``table_name``, ``mt_mode`` and ``hash_source``."""

MODE_KEYS: Final[tuple[str, ...]] = ("db_url", "table_name", "mt_mode", "hash_source")

_KNOWN: Final = f" (known: {', '.join(MODE_KEYS)})"
_TOLD: Final = 20  # names in one line
_BLANKS: Final = " \t\r\n"
_QUOTES: Final = "\"'"


@dataclass(frozen=True)
class CaptureMode:
    """Where records go.

    Args:
        name: as routes and dead letters call it.
        db_url: may hold a password, so it is not shown.
        tables: patterns; none = those of the schema.
        mt_mode: how one of several tables is chosen.
        hash_source: what mode ``hash`` looks at.
    """

    name: str = DEFAULT_MODE
    db_url: str = field(default=DEFAULT_URL, repr=False)
    tables: tuple[str, ...] = ()
    mt_mode: str = "rand"
    hash_source: str = "call_id"


class BadMode(ValueError):
    """Text that defines no capture mode; it says why, without the values that may hold a password.

    Args:
        text: what is wrong.
        key: the key whose value is wrong; "" if it is not about a value.
    """

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word most like an unknown one; "" if none is."""
    spelled = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), spelled, n=1)
    return f"; did you mean {spelled[found[0]]}?" if found else ""


def unknown_mode(name: str, modes: Iterable[str]) -> str:
    """Say that no capture mode has this name, which one is most like it, and what the others are called."""
    names = list(modes)
    known = ", ".join(names[:_TOLD]) + (", …" if len(names) > _TOLD else "")
    return f"no capture mode has this name{nearest(name, names)} (known: {known})"


def make_mode(name: str, values: Mapping[str, str]) -> CaptureMode:
    """Make a mode of the values of its keys.

    Args:
        name: without blanks and ``=``, which the module's notation could not hold.
        values: of ``MODE_KEYS``; what is absent has its default, but a named mode needs its ``db_url``.

    Raises:
        BadMode: an unknown key, or a value that is not allowed.
    """
    if not name or any(character in "=;|" or character.isspace() for character in name):
        raise BadMode("the name of a capture mode is empty, or has a blank, = ; or | in it")
    for key in values:
        if key not in MODE_KEYS:
            raise BadMode(f"unknown key {key}{nearest(key, MODE_KEYS)}{_KNOWN}", key)
    if "db_url" not in values and name != DEFAULT_MODE:
        raise BadMode("db_url is missing")
    url = values.get("db_url", DEFAULT_URL)
    if not url or any(character.isspace() for character in url):
        raise BadMode("db_url is empty" if not url else "db_url has a blank; write %20", "db_url")
    tables = _tables(values["table_name"]) if "table_name" in values else ()
    mt_mode = _choice("mt_mode", values.get("mt_mode", "rand"), MT_MODES)
    hash_source = _choice("hash_source", values.get("hash_source", "call_id").lower(), HASH_SOURCES)
    return CaptureMode(name, url, tables, mt_mode, hash_source)


def _tables(text: str) -> tuple[str, ...]:
    if not text.replace("|", "").strip():
        raise BadMode("table_name is empty", "table_name")
    try:
        return split_patterns([text])
    except CannotStart as error:
        raise BadMode(f"table_name: {error}", "table_name") from None


def _choice(key: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadMode(f"{key} is {value!r}, must be one of {', '.join(allowed)}{nearest(value, allowed)}", key)
    return value


def parse_mode(text: str) -> CaptureMode:
    """Read ``name=>key=value;key=value``, the module's parameter ``capture_mode``.

    Blanks may stand around the name, ``=`` and ``;``. A value with blanks or ``;`` in it stands in quotes, double or
    single ones. No error shows a piece of the text: it may be one of a password with a ``;``.

    Raises:
        BadMode: with the column, from 1, if the notation is wrong.
    """
    scanner = _Scanner(text)
    name = scanner.word("=")
    if not name:
        raise BadMode("column 1: expected name=>key=value;key=value")
    scanner.expect("=>", "after the name")
    values: dict[str, str] = {}
    while not scanner.at_end or not values:
        column = scanner.column
        key = scanner.word("=;")
        if key not in MODE_KEYS:
            raise BadMode(f"column {column}: expected a key of a capture mode{nearest(key, MODE_KEYS)}{_KNOWN}")
        if key in values:
            raise BadMode(f"column {column}: {key} is given twice", key)
        scanner.expect("=", f"after {key}")
        values[key] = scanner.value(key)
        if not scanner.at_end:
            scanner.expect(";", f"after the value of {key}; a value with blanks or ; stands in quotes")
    return make_mode(name, values)


class _Scanner:
    """Reads words from a text; blanks before and behind them do not count."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._skip_blanks()

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._text)

    @property
    def column(self) -> int:
        return self._at + 1

    def _skip_blanks(self) -> None:
        while not self.at_end and self._text[self._at] in _BLANKS:
            self._at += 1

    def word(self, ends: str) -> str:
        """What stands before the next blank or one of these characters."""
        begin = self._at
        while not self.at_end and self._text[self._at] not in _BLANKS + ends:
            self._at += 1
        found = self._text[begin : self._at]
        self._skip_blanks()
        return found

    def expect(self, token: str, where: str) -> None:
        """Read exactly this."""
        if not self._text.startswith(token, self._at):
            raise BadMode(f"column {self.column}: expected {token} {where}")
        self._at += len(token)
        self._skip_blanks()

    def value(self, key: str) -> str:
        """A value, in quotes or up to a blank or ``;``."""
        quote = self._text[self._at : self._at + 1]
        if not quote or quote not in _QUOTES:
            return self.word(";")
        end = self._text.find(quote, self._at + 1)
        if end < 0:
            raise BadMode(f"column {self.column}: the quote before the value of {key} has no end", key)
        found = self._text[self._at + 1 : end]
        self._at = end + 1
        self._skip_blanks()
        return found
