"""Kamailio's preprocessor: definitions, conditions, substitutions, included files.

Source: Kamailio's core cookbook, section "Config Pre-Processor Directives".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from sipcap.config.ini import read_bounded
from sipcap.errors import CannotStart
from sipcap.limits import MAX_CONFIG_INCLUDES

_DIRECTIVE: Final = re.compile(r"^\s*(?:#!|!!)(\w+)\s*(.*?)\s*$")
_INCLUDE: Final = re.compile(r"""^\s*(?:include_file|import_file)\s+["']([^"']+)["']""")
_ID: Final = re.compile(r"(\w+)\s*(.*)", re.DOTALL)


class Line(NamedTuple):
    """One line that is left, and where it stands."""

    text: str
    path: str
    number: int

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.path}:{self.number}"


@dataclass
class Source:
    """What a file is made of once it is preprocessed.

    Args:
        lines: without what conditions leave out.
        defines: names and what stands for them outside of strings.
        substitutions: expressions and what takes their place inside of strings.
        notes: what could not be followed, each with its place.
    """

    lines: list[Line] = field(default_factory=list)
    defines: dict[str, str] = field(default_factory=dict)
    substitutions: list[tuple[re.Pattern[str], str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def substituted(self, text: str) -> str:
        """A string's text with the substitutions that ``substdef`` and ``subst`` ask for."""
        for pattern, replacement in self.substitutions:
            text = pattern.sub(lambda _, text=replacement: text, text)  # type: ignore[misc]
        return text


def read_source(path: Path) -> Source:
    """Read a file and those that it includes.

    Raises:
        CannotStart: the file cannot be read.
    """
    source = Source()
    _Reader(source).read(path)
    return source


class _Reader:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._included = 0
        self._taken: list[bool] = []  # the conditions around the line, outermost first
        self._directives: dict[str, Callable[[str, Line], None]] = {
            "define": self._define, "redefine": self._define, "trydef": self._try_define, "trydefine": self._try_define,
            "substdef": self._substdef, "substdefs": self._substdef,
            "subst": self._subst,
            "ifdef": lambda name, _: self._taken.append(name.strip() in source.defines),
            "ifndef": lambda name, _: self._taken.append(name.strip() not in source.defines),
            "ifexp": self._ifexp,
            "else": lambda _rest, _line: self._turn(),
            "endif": lambda _rest, _line: self._leave(),
        }  # fmt: skip

    def read(self, path: Path) -> None:
        for line in _joined(read_bounded(path).decode("utf-8", "replace"), str(path)):
            self._take(line, path)

    def _take(self, line: Line, path: Path) -> None:
        directive = _DIRECTIVE.match(line.text)
        if directive is not None:
            name, rest = directive[1].lower(), directive[2]
            if name in self._directives and (all(self._taken) or name in ("ifdef", "ifndef", "ifexp", "else", "endif")):
                self._directives[name](rest, line)
        elif not all(self._taken):
            return
        elif (include := _INCLUDE.match(line.text)) is not None:
            self._include(path.parent / self._source.substituted(include[1]), line)
        else:
            self._source.lines.append(line)

    def _include(self, path: Path, line: Line) -> None:
        self._included += 1
        if self._included > MAX_CONFIG_INCLUDES:
            self._source.notes.append(f"{line.place}: not read: too many files include each other")
            return
        try:
            self.read(path)
        except CannotStart as error:
            self._source.notes.append(f"{line.place}: {error}")

    def _define(self, rest: str, _line: Line) -> None:
        match = _ID.match(rest)
        if match:
            self._source.defines[match[1]] = match[2].strip()

    def _try_define(self, rest: str, line: Line) -> None:
        match = _ID.match(rest)
        if match and match[1] not in self._source.defines:
            self._define(rest, line)

    def _subst(self, rest: str, line: Line) -> None:
        self._add_substitution(rest, line)

    def _substdef(self, rest: str, line: Line) -> None:
        parts = self._add_substitution(rest, line)
        if parts is not None:
            self._source.defines[parts[0]] = parts[1]

    def _add_substitution(self, rest: str, line: Line) -> tuple[str, str] | None:
        """Read ``"/WHAT/WITH/flags"``, with any character in place of the slash."""
        text = rest.strip().strip("\"'")
        what, *others = text[1:].split(text[0]) if text else [""]
        try:
            pattern = re.compile(what, re.IGNORECASE if "i" in "".join(others[1:]) else 0)
        except re.error:
            pattern = None
        if pattern is None or not what or not others:
            self._source.notes.append(f"{line.place}: this substitution is not understood")
            return None
        self._source.substitutions.append((pattern, others[0]))
        return what, others[0]

    def _ifexp(self, _rest: str, line: Line) -> None:
        self._source.notes.append(f"{line.place}: ifexp is not evaluated; what it holds is left out")
        self._taken.append(False)

    def _turn(self) -> None:
        if self._taken:
            self._taken[-1] = not self._taken[-1]

    def _leave(self) -> None:
        if self._taken:
            self._taken.pop()


def _joined(text: str, path: str) -> Iterator[Line]:
    """The lines of a file; one that ends in a backslash goes on in the next if it is a directive."""
    held = ""
    first = 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = held + raw
        first = first or number
        if line.endswith("\\") and _DIRECTIVE.match(line):
            held = line[:-1] + "\n"
            continue
        yield Line(line, path, first)
        held, first = "", 0
