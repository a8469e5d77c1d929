"""Targets that take what administrators write: files, modes, endpoints, patterns."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import BinaryIO, cast

from sipcap.config.ini import parse_ini
from sipcap.config.kamailio.translate import translate
from sipcap.endpoint import parse_endpoint
from sipcap.errors import CannotStart
from sipcap.modes import BadMode, parse_mode
from sipcap.patterns import read_patterns
from sipcap.routing import expand
from tests.fuzz.cutting import text_of


def modes(data: bytes) -> None:
    """Any text is a capture mode with a database, or BadMode, which does not show a quoted password."""
    try:
        mode = parse_mode(text_of(data))
    except BadMode:
        return
    assert mode.name
    assert mode.db_url
    assert mode.db_url not in repr(mode) or len(mode.db_url) < 20


def ini(data: bytes) -> None:
    """Any file is sections with values, or CannotStart with its line."""
    try:
        file = parse_ini(data, "modes.ini")
    except CannotStart as error:
        assert str(error).startswith("modes.ini:")
        return
    lines = data.count(b"\n") + 1
    for section in file.sections:
        assert all(0 < value.line <= lines and value.text == value.text.strip() for value in section.values.values())


class _Memory:
    """A path of a file that is in memory; those that it includes are not there."""

    def __init__(self, data: bytes | None) -> None:
        self._data = data

    def open(self, _mode: str) -> BinaryIO:
        """Open it."""
        if self._data is None:
            raise FileNotFoundError(2, "No such file or directory")
        return io.BytesIO(self._data)

    @property
    def parent(self) -> _Memory:
        """Its folder."""
        return self

    def __truediv__(self, _name: str) -> _Memory:
        return _Memory(None)

    def __str__(self) -> str:
        return "kamailio.cfg"


def kamailio(data: bytes) -> None:
    """Any configuration is translated to a file that can be read."""
    result = translate(cast("Path", _Memory(data)))
    assert all(note.isprintable() or note for note in result.notes)


def endpoint(data: bytes) -> None:
    """Any text is an endpoint, which is read the same when it is written, or ValueError."""
    with contextlib.suppress(ValueError):
        found = parse_endpoint(text_of(data))
        assert parse_endpoint(str(found)) == found


def patterns(data: bytes) -> None:
    """Any text is patterns, each of which knows the names that it makes, or ValueError."""
    try:
        found = read_patterns([text_of(data[:200])])
    except ValueError:
        return
    for pattern in found[:4]:
        assert pattern.matches(expand(pattern.text, 1_700_000_000))
        period = pattern.period(expand(pattern.text, 1_700_000_000))
        assert period is None or period.start_s <= 1_700_000_000 < period.end_s
