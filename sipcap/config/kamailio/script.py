"""The parts of a Kamailio configuration: settings, module parameters, and routing blocks as trees of statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sipcap.config.kamailio.tokens import SIGN, WORD, Token
from sipcap.limits import MAX_SCRIPT_NESTING

_BLOCKS: Final = (
    "request_route", "reply_route", "onreply_route", "route", "failure_route", "branch_route", "event_route",
    "onsend_route",
)  # fmt: skip
_OPENING: Final = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True)
class Simple:
    """A statement up to its ``;``."""

    tokens: tuple[Token, ...]


@dataclass(frozen=True)
class If:
    """``if (condition) then else otherwise``."""

    condition: tuple[Token, ...]
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]
    place: str


Statement = Simple | If


@dataclass(frozen=True)
class ModuleParameter:
    """``modparam("module", "name", value)``."""

    module: str
    name: str
    value: str
    place: str


@dataclass(frozen=True)
class Setting:
    """``name = value`` outside of routing blocks; the words of the value, put together again."""

    name: str
    value: str
    place: str


@dataclass
class Script:
    """A whole configuration; ``blocks`` by kind and name, as ``("route", "STORE")`` or ``("request_route", "")``."""

    settings: list[Setting] = field(default_factory=list)
    parameters: list[ModuleParameter] = field(default_factory=list)
    blocks: dict[tuple[str, str], tuple[Statement, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def parse_script(tokens: Sequence[Token]) -> Script:
    """Read all words of a configuration; what is not understood is passed over, at most a statement of it."""
    return _Parser(tokens).script()


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._script = Script()

    def script(self) -> Script:
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.kind == WORD and token.text in _BLOCKS:
                self._block()
            elif token.kind == WORD and token.text in ("modparam", "modparamx"):
                self._parameter()
            elif token.kind == WORD and self._is_sign("=", 1):
                self._setting()
            else:
                self._at += 1
        return self._script

    def _is_sign(self, text: str, ahead: int = 0) -> bool:
        at = self._at + ahead
        return at < len(self._tokens) and self._tokens[at].kind == SIGN and self._tokens[at].text == text

    def _block(self) -> None:
        kind = self._tokens[self._at].text
        self._at += 1
        name = ""
        if self._is_sign("["):
            name = "".join(token.text for token in self._group())
        if kind == "route" and not name:
            kind = "request_route"
        elif kind in ("onreply_route", "reply_route") and not name:
            kind = "reply_route"
        if self._is_sign("{"):
            self._script.blocks[kind, name] = self._statement(0)

    def _group(self) -> list[Token]:
        """The words between a bracket and its counterpart; behind it the reading goes on."""
        opening = self._tokens[self._at].text
        closing, depth = _OPENING[opening], 0
        begin = self._at + 1
        while self._at < len(self._tokens):
            depth += self._is_sign(opening) - self._is_sign(closing)
            self._at += 1
            if depth == 0:
                break
        return list(self._tokens[begin : self._at - 1])

    def _parameter(self) -> None:
        place = self._tokens[self._at].place
        self._at += 1
        if not self._is_sign("("):
            return
        parts = split_arguments(self._group())
        if len(parts) != 3:
            self._script.notes.append(f"{place}: this modparam is not understood")
            return
        module, name, value = ("".join(token.text for token in part) for part in parts)
        self._script.parameters += [ModuleParameter(each, name, value, place) for each in module.split("|")]

    def _setting(self) -> None:
        name, place = self._tokens[self._at].text, self._tokens[self._at].place
        self._at += 2
        words = []
        # A setting ends with its line; only the places of words tell that.
        while self._at < len(self._tokens) and self._tokens[self._at].place == place:
            words.append(self._tokens[self._at].text)
            self._at += 1
        self._script.settings.append(Setting(name, " ".join(words), place))

    def _statement(self, depth: int) -> tuple[Statement, ...]:
        """One statement, or all of a block in braces."""
        if depth > MAX_SCRIPT_NESTING:
            self._at = len(self._tokens)
            self._script.notes.append("the routing blocks are nested too deeply: the rest is left out")
            return ()
        if self._is_sign("{"):
            self._at += 1
            found: list[Statement] = []
            while self._at < len(self._tokens) and not self._is_sign("}"):
                found += self._statement(depth + 1)
            self._at += 1
            return tuple(found)
        if self._at < len(self._tokens) and self._tokens[self._at].text == "if" and self._is_sign("(", 1):
            return (self._if(depth),)
        return self._simple(depth)

    def _if(self, depth: int) -> If:
        place = self._tokens[self._at].place
        self._at += 1
        condition = tuple(self._group())
        then = self._statement(depth + 1)
        otherwise: tuple[Statement, ...] = ()
        if self._at < len(self._tokens) and self._tokens[self._at].text == "else":
            self._at += 1
            otherwise = self._statement(depth + 1)
        return If(condition, then, otherwise, place)

    def _simple(self, depth: int) -> tuple[Statement, ...]:
        begin = self._at
        while self._at < len(self._tokens) and not self._is_sign(";") and not self._is_sign("}"):
            if self._is_sign("{"):  # while, switch: what is in them is looked at as if it ran once
                return (Simple(tuple(self._tokens[begin : self._at])), *self._statement(depth + 1))
            if self._is_sign("("):
                self._group()
            else:
                self._at += 1
        words = tuple(self._tokens[begin : self._at])
        if self._is_sign(";") or self._at == begin:
            self._at += 1 if self._is_sign(";") else 0
        return (Simple(words),) if words else ()


def split_arguments(tokens: Sequence[Token]) -> list[list[Token]]:
    """The arguments of a call: what stands between its commas; none of nothing."""
    parts: list[list[Token]] = [[]] if tokens else []
    depth = 0
    for token in tokens:
        if token.kind == SIGN:
            depth += (token.text in _OPENING) - (token.text in _OPENING.values())
        if token.kind == SIGN and token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts
