"""Conditions of a Kamailio script as the keys of routes, as far as routes can say the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sipcap.config.kamailio.script import split_arguments
from sipcap.config.kamailio.tokens import SIGN, STRING, VARIABLE, WORD, Token
from sipcap.limits import MAX_SCRIPT_NESTING, MAX_TRANSLATED_ROUTES

_ALTERNATIVES: Final = re.compile(r"\^?\(?([A-Z]+(?:\|[A-Z]+)*)\)?\$?")
_HEADER: Final = re.compile(r"\$hdr\(([A-Za-z0-9-]+)\)")
_HEP: Final = re.compile(r"\$hep\((0x[0-9A-Fa-f]{3}|\d{5})\)")
_PRESENT: Final = ": ."
_METHODS: Final = ("$rm", "method")
_SOURCES: Final = ("$si", "src_ip")
_CHUNK_KEYS: Final = {0x00B: "hep_type", 0x00C: "capture_id"}


class NotTranslatable(Exception):
    """No route can say this; the text is the part that it is about."""


class Contradiction(Exception):
    """No message can meet both conditions."""


@dataclass(frozen=True)
class Conditions:
    """What a message must meet, all of it: keys of a route, each with the values of which one must be right."""

    values: dict[str, tuple[str, ...]]

    def also(self, other: Conditions) -> Conditions:
        """Both at once.

        Raises:
            Contradiction: no value is in both.
            NotTranslatable: a route looks at one header, in one way.
        """
        merged = dict(self.values)
        for key, values in other.values.items():
            if key not in merged:
                merged[key] = values
            elif key == "header":
                merged[key] = (_narrower(merged[key][0], values[0]),)
            else:
                merged[key] = tuple(value for value in merged[key] if value in values)
                if not merged[key]:
                    raise Contradiction(key)
        return Conditions(merged)


def _narrower(one: str, other: str) -> str:
    """Of two tests of a header the one that holds only if the other does."""
    if one.partition(":")[0].lower() == other.partition(":")[0].lower():
        if one.endswith(_PRESENT) or one == other:
            return other
        if other.endswith(_PRESENT):
            return one
    raise NotTranslatable("two conditions about headers")


ALWAYS: Final = Conditions({})


def read_condition(tokens: Sequence[Token], depth: int = 0) -> list[Conditions]:
    """Read what stands between the brackets of an ``if``.

    Args:
        tokens: the condition.
        depth: conditions around it.

    Returns:
        Alternatives, of which a message must meet one.

    Raises:
        NotTranslatable: a part of it is about something that routes do not look at.
    """
    if depth > MAX_SCRIPT_NESTING:
        raise NotTranslatable("a condition that is nested too deeply")
    tokens = _without_brackets(tokens)
    alternatives = _split(tokens, "||", "or")
    if len(alternatives) > 1:
        return _joined([each for part in alternatives for each in read_condition(part, depth + 1)])
    parts = _split(tokens, "&&", "and")
    if len(parts) > 1:
        found = [ALWAYS]
        for part in parts:
            found = _both(found, read_condition(part, depth + 1))
        return found
    return [_atom(tokens)]


def _both(some: list[Conditions], others: list[Conditions]) -> list[Conditions]:
    combined = []
    for one in some:
        for other in others:
            try:
                combined.append(one.also(other))
            except Contradiction:
                continue
    if len(combined) > MAX_TRANSLATED_ROUTES:
        raise NotTranslatable("a condition with too many alternatives")
    return combined


def _joined(alternatives: list[Conditions]) -> list[Conditions]:
    """Alternatives that are about one and the same key alone become one with more values."""
    keys = {tuple(each.values) for each in alternatives}
    if len(keys) == 1 and len(only := keys.pop()) == 1 and only[0] != "header":
        values = tuple(dict.fromkeys(value for each in alternatives for value in each.values[only[0]]))
        return [Conditions({only[0]: values})]
    return alternatives


def _without_brackets(tokens: Sequence[Token]) -> Sequence[Token]:
    for _ in range(MAX_SCRIPT_NESTING):
        if len(tokens) < 2 or not _is(tokens[0], "(") or _closing(tokens) != len(tokens) - 1:
            break
        tokens = tokens[1:-1]
    return tokens


def _is(token: Token, sign: str) -> bool:
    return token.kind == SIGN and token.text == sign


def _closing(tokens: Sequence[Token]) -> int:
    depth = 0
    for index, token in enumerate(tokens):
        depth += _is(token, "(") - _is(token, ")")
        if depth == 0:
            return index
    return -1


def _split(tokens: Sequence[Token], sign: str, word: str) -> list[Sequence[Token]]:
    parts: list[Sequence[Token]] = []
    begin = depth = 0
    for index, token in enumerate(tokens):
        depth += _is(token, "(") - _is(token, ")")
        if depth == 0 and (_is(token, sign) or (token.kind == WORD and token.text == word)):
            parts.append(tokens[begin:index])
            begin = index + 1
    return [*parts, tokens[begin:]]


def _atom(tokens: Sequence[Token]) -> Conditions:
    texts = [token.text for token in tokens]
    if len(tokens) >= 3 and tokens[0].kind == WORD and _is(tokens[1], "("):
        arguments = ["".join(token.text for token in part) for part in split_arguments(tokens[2:-1])]
        if texts[0] == "is_method" and len(arguments) == 1:
            return Conditions({"methods": tuple(arguments[0].split("|"))})
        if texts[0] == "is_present_hf" and len(arguments) == 1:
            return Conditions({"header": (f"{arguments[0]}{_PRESENT}",)})
    if len(tokens) == 3 and tokens[2].kind in (STRING, WORD) and texts[1] in ("==", "=~"):
        subject, comparison, value = texts
        for matches, read in _COMPARISONS:
            if tokens[0].kind in (VARIABLE, WORD) and matches(subject):
                return read(subject, comparison, value)
    raise NotTranslatable(" ".join(texts))


def _methods(subject: str, comparison: str, value: str) -> Conditions:
    if comparison == "==":
        return Conditions({"methods": (value,)})
    match = _ALTERNATIVES.fullmatch(value)
    if match is None:
        raise NotTranslatable(f"{subject} {comparison} {value}")
    return Conditions({"methods": tuple(match[1].split("|"))})


def _source(subject: str, comparison: str, value: str) -> Conditions:
    if comparison != "==":
        raise NotTranslatable(f"{subject} {comparison} {value}")
    return Conditions({"source": (value,)})


def _header(subject: str, comparison: str, value: str) -> Conditions:
    match = _HEADER.fullmatch(subject)
    name = match[1] if match else "User-Agent"
    return Conditions({"header": (f"{name}: {value if comparison == '=~' else f'^{re.escape(value)}$'}",)})


def _hep(subject: str, comparison: str, value: str) -> Conditions:
    match = _HEP.fullmatch(subject)
    assert match is not None, "asked for it"
    key = _CHUNK_KEYS.get(int(match[1], 0) if match[1].startswith("0x") else int(match[1]))
    if key is None or comparison != "==":
        raise NotTranslatable(f"{subject} {comparison} {value}")
    return Conditions({key: (value,)})


_COMPARISONS: Final[tuple[tuple[Callable[[str], object], Callable[[str, str, str], Conditions]], ...]] = (
    (_METHODS.__contains__, _methods),
    (_SOURCES.__contains__, _source),
    (lambda subject: subject == "$ua" or _HEADER.fullmatch(subject), _header),
    (_HEP.fullmatch, _hep),
)
