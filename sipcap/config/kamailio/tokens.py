"""Words of Kamailio's script language: strings, numbers, names, pseudo-variables, signs; comments are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from sipcap.config.kamailio.preprocess import Source

STRING, WORD, VARIABLE, SIGN = "string", "word", "variable", "sign"

_TOKEN: Final = re.compile(
    r"""
    (?P<blank>\s+|\#[^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>"(?:[^"\\]|\\.)*"|'[^']*')
    |(?P<variable>\$\([^()]*(?:\([^()]*\)[^()]*)*\)|\$\w+(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?)
    |(?P<word>[A-Za-z0-9_][A-Za-z0-9_.:/-]*)
    |(?P<sign>==|!=|=~|!~|=>|&&|\|\||<=|>=|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


class Token(NamedTuple):
    """One word: what it is, its text (of a string without quotes), and the line it stands in."""

    kind: str
    text: str
    place: str


def tokens_of(source: Source) -> Iterator[Token]:
    """Cut a preprocessed file into words; a name that is defined is replaced by what stands for it."""
    text = "\n".join(line.text for line in source.lines)
    places = [line.place for line in source.lines]
    line = position = 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        kind = match.lastgroup or "blank"
        if kind == "blank":
            continue
        if kind == "word" and match[0] in source.defines:
            yield from _defined(source, match[0], places[line])
        else:
            yield _token(source, kind, match[0], places[line])


def _defined(source: Source, name: str, place: str) -> Iterator[Token]:
    """The words that stand for a defined name; names among them are not looked up again: that ends always."""
    for match in _TOKEN.finditer(source.defines[name]):
        kind = match.lastgroup or "blank"
        if kind != "blank":
            yield _token(source, kind, match[0], place)


def _token(source: Source, kind: str, text: str, place: str) -> Token:
    if kind == STRING:
        return Token(STRING, source.substituted(_unquoted(text)), place)
    return Token(kind, text, place)


def _unquoted(text: str) -> str:
    inner = text[1:-1]
    if text[0] == "'":
        return inner
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), inner, flags=re.DOTALL)
