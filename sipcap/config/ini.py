"""A small INI reader that knows where each value stands, so that every error can name file and line.

``configparser`` forgets the lines, and takes ``%`` and ``:`` for more than characters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from sipcap.errors import CannotStart, ManyWrong, WrongLine
from sipcap.limits import MAX_CONFIG_BYTES, MAX_CONFIG_ERRORS

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
    """A file that was read; ``path`` is as the user wrote it.

    Whoever reads values keeps what is wrong with them in ``problems`` and goes on, and calls ``finish`` at the end, so
    that all errors of a file are told together.
    """

    path: str
    sections: tuple[Section, ...]
    problems: list[CannotStart] = field(default_factory=list, compare=False)
    unclear: set[str] = field(default_factory=set, compare=False)
    """Names of sections with lines that are not understood: what seems to be missing in there may stand in them."""
    repeated: list[Section] = field(default_factory=list, compare=False)
    """Sections that are there for the second time: they hold nowhere, and what is wrong in them is told."""

    def of_kind(self, kind: str) -> Iterator[Section]:
        """All ``[kind]`` and ``[kind:label]``."""
        return (section for section in self.sections if section.kind == kind)

    def error(self, line: int, text: str) -> WrongLine:
        """An error that names file and line."""
        return WrongLine(f"{self.path}:{line}: {text}", line)

    def error_at(self, origin: str, text: str) -> CannotStart:
        """An error about a value that has this origin: file and line, or something else."""
        file, _, line = origin.rpartition(":")
        return (
            self.error(int(line), text) if file == self.path and line.isdecimal() else CannotStart(f"{origin}: {text}")
        )

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Keep an error that ends the block; raises ManyWrong if there are more than anybody reads."""
        try:
            yield
        except ManyWrong:
            raise
        except CannotStart as error:
            self.keep(error)

    def keep(self, error: CannotStart) -> None:
        """Keep an error; raises ManyWrong if there are more than anybody reads."""
        self.problems.append(error)
        if len(self.problems) > MAX_CONFIG_ERRORS:
            self.finish()

    def keep_text(self, text: str) -> None:
        """Keep an error that was found elsewhere, with file and line at its beginning if it is about one."""
        file, _, rest = text.partition(f"{self.path}:")
        line = rest.partition(":")[0]
        self.keep(WrongLine(text, int(line)) if not file and line.isdecimal() else CannotStart(text))

    def finish(self) -> None:
        """Raise CannotStart if there was any error: the one, or all in the order of the file."""
        if len(self.problems) == 1:
            raise self.problems[0]
        if self.problems:
            told = sorted(self.problems, key=lambda each: each.line if isinstance(each, WrongLine) else 0)
            lines = [str(each) for each in told[:MAX_CONFIG_ERRORS]]
            if len(told) > len(lines):
                lines.append(f"{self.path}: more errors than {MAX_CONFIG_ERRORS}; the others are not looked for")
            raise ManyWrong(lines, self.path)


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
    """Read and parse a configuration file; lines that are none are among its problems.

    Raises:
        CannotStart: as ``read_bounded``.
    """
    return _parse(read_bounded(path), str(path))


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
    ini = _parse(data, path)
    ini.finish()
    return ini


def _parse(data: bytes, path: str) -> IniFile:
    parser = _Parser(path)
    with suppress(ManyWrong):  # they are kept, and told at the end
        for number, line in enumerate(data.split(b"\n"), start=1):
            with parser.ini.gathering():
                parser.take(number, line)
    parser.finish_value()
    for section in (*parser.sections.values(), *parser.ini.repeated):
        section.values.pop("", None)
    return replace(parser.ini, sections=tuple(parser.sections.values()))


class _Parser:
    """Takes one line after the other. What goes on behind a wrong line is read, and belongs to nothing."""

    def __init__(self, path: str) -> None:
        self.ini = IniFile(path, ())
        self.sections: dict[str, Section] = {}
        self._current: Section | None = None
        self._key: str | None = None  # whose value may go on
        self._further: list[tuple[int, str]] = []  # the lines of it that are not in it yet

    def finish_value(self) -> None:
        """The value that may go on is whole."""
        if self._current is not None and self._key is not None and self._further:
            value = self._current.values[self._key]
            self._current.values[self._key] = Value((*value.lines, *self._further))
        self._key = None
        self._further = []

    def take(self, number: int, line: bytes) -> None:
        """Take a line; raises WrongLine."""
        text = self._decode(line, number)
        stripped = text.strip()
        if not stripped:
            self.finish_value()
        elif stripped[0] in _COMMENTS:
            return
        elif text[0] in " \t":
            if self._current is None or self._key is None:
                raise self.ini.error(number, "indented, but there is no value that goes on here")
            self._further.append((number, stripped))
        elif stripped[0] == "[":
            self.finish_value()
            self._begin_section(stripped, number)
        else:
            self.finish_value()
            self._begin_value(stripped, number)

    def _decode(self, line: bytes, number: int) -> str:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise self.ini.error(number, f"not UTF-8: {error.reason}") from None
        if "\0" in text:
            raise self.ini.error(number, "a NUL byte: no text file")
        return text.removeprefix(_BOM) if number == 1 else text

    def _begin_section(self, text: str, number: int) -> None:
        self._current = section = Section(text[1:-1].strip(), number)
        if not text.endswith("]"):
            raise self.ini.error(number, "expected ] at the end of the line; comments stand on lines of their own")
        first = self.sections.setdefault(f"{section.kind}:{section.label}", section)
        if first is not section:
            self.ini.repeated.append(section)
            self.ini.unclear.add(first.name)
            raise self.ini.error(number, f"[{section.name}] is here for the second time; first in line {first.line}")

    def _begin_value(self, text: str, number: int) -> None:
        section = self._current
        if section is None:
            self._current = Section("", number)
            raise self.ini.error(number, "a key before the first [section]")
        key, equals, value = text.partition("=")
        key = key.rstrip()
        lines = Value(((number, value.strip()),))
        self._key = key if equals and key and key not in section.values else ""  # "": what goes on is dropped
        first = section.values.get(key)
        section.values[self._key] = lines
        if not equals or not key:
            self.ini.unclear.add(section.name)
            raise self.ini.error(number, "expected key = value")
        if first is not None:
            raise self.ini.error(number, f"{key} is here for the second time; first in line {first.line}")
