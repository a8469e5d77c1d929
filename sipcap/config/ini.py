"""A small INI reader that knows where each value stands, so that every error can name file and line.

``configparser`` forgets the lines, and takes ``%`` and ``:`` for more than characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sipcap.errors import CannotStart
from sipcap.limits import MAX_CONFIG_BYTES

_COMMENTS: Final = "#;"
_BOM: Final = "\ufeff"


@dataclass(frozen=True)
class Value:
    """What stands behind a ``=``: its lines without blanks around them, each with its number from 1."""

    lines: tuple[tuple[int, str], ...]

    @property
    def line(self) -> int:
        """Where it begins."""
        return self.lines[0][0]

    @property
    def text(self) -> str:
        """The whole value, line breaks included; "" if nothing stands there."""
        return "\n".join(text for _, text in self.lines).strip()


@dataclass(frozen=True)
class Section:
    """``[kind]`` or ``[kind:label]`` with its values in the order of the file."""

    name: str
    line: int
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The name up to the colon."""
        return self.name.partition(":")[0].rstrip()

    @property
    def label(self) -> str:
        """The name behind the colon; "" if there is none."""
        return self.name.partition(":")[2].lstrip()


@dataclass(frozen=True)
class IniFile:
    """A file that was read; ``path`` is as the user wrote it."""

    path: str
    sections: tuple[Section, ...]

    def of_kind(self, kind: str) -> Iterator[Section]:
        """All ``[kind]`` and ``[kind:label]``."""
        return (section for section in self.sections if section.kind == kind)

    def error(self, line: int, text: str) -> CannotStart:
        """An error that names file and line."""
        return CannotStart(f"{self.path}:{line}: {text}")


def read_bounded(path: Path) -> bytes:
    """Read a configuration file.

    Raises:
        CannotStart: it cannot be read, or is longer than any configuration.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise CannotStart(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise CannotStart(f"{path}: longer than {MAX_CONFIG_BYTES} bytes, no configuration")
    return data


def read_ini(path: Path) -> IniFile:
    """Read and parse a configuration file; raises CannotStart as ``read_bounded`` and ``parse_ini``."""
    return parse_ini(read_bounded(path), str(path))


def parse_ini(data: bytes, path: str) -> IniFile:
    """Read the text of a configuration file.

    Comments begin with ``#`` or ``;`` and stand on lines of their own. A value goes on in the indented lines below
    it, up to an empty one. No character in a value means more than itself.

    Args:
        data: UTF-8.
        path: for errors.

    Raises:
        CannotStart: with file and line, if a line is none of section, ``key = value``, comment or continuation, or
            if a section or key is there twice.
    """
    sections: dict[str, Section] = {}
    current: Section | None = None
    open_key = ""  # whose value may go on
    further: list[tuple[int, str]] = []  # the lines of it that are not in it yet

    def finish_value() -> None:
        if current is not None and further:
            current.values[open_key] = Value((*current.values[open_key].lines, *further))
            further.clear()

    for number, line in enumerate(data.split(b"\n"), start=1):
        text = _decode(line, path, number)
        stripped = text.strip()
        if not stripped:
            finish_value()
            open_key = ""
        elif stripped[0] in _COMMENTS:
            continue
        elif text[0] in " \t":
            if current is None or not open_key:
                raise _error(path, number, "indented, but there is no value that goes on here")
            further.append((number, stripped))
        elif stripped[0] == "[":
            finish_value()
            current = _section(stripped, path, number, sections)
            open_key = ""
        elif current is None:
            raise _error(path, number, "a key before the first [section]")
        else:
            finish_value()
            open_key = _add_value(current, stripped, path, number)
    finish_value()
    return IniFile(path, tuple(sections.values()))


def _decode(line: bytes, path: str, number: int) -> str:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise _error(path, number, f"not UTF-8: {error.reason}") from None
    if "\0" in text:
        raise _error(path, number, "a NUL byte: no text file")
    return text.removeprefix(_BOM) if number == 1 else text


def _section(text: str, path: str, number: int, sections: dict[str, Section]) -> Section:
    if not text.endswith("]"):
        raise _error(path, number, "expected ] at the end of the line; comments stand on lines of their own")
    section = Section(text[1:-1].strip(), number)
    name = f"{section.kind}:{section.label}"
    if name in sections:
        raise _error(path, number, f"[{section.name}] is here for the second time; first in line {sections[name].line}")
    sections[name] = section
    return section


def _add_value(section: Section, text: str, path: str, number: int) -> str:
    key, equals, value = text.partition("=")
    key = key.rstrip()
    if not equals or not key:
        raise _error(path, number, "expected key = value")
    if key in section.values:
        first = section.values[key].line
        raise _error(path, number, f"{key} is here for the second time; first in line {first}")
    section.values[key] = Value(((number, value.strip()),))
    return key


def _error(path: str, line: int, text: str) -> CannotStart:
    return IniFile(path, ()).error(line, text)
