"""The calls of ``sip_capture`` in routing blocks as routes.

The script is followed along all its ways: an ``if`` makes two of one, the way through its block before the way around
it. Routes in this order, of which the first that fits counts, then do what the script does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sipcap.config.kamailio.conditions import ALWAYS, Conditions, Contradiction, NotTranslatable, read_condition
from sipcap.config.kamailio.script import If, Script, Simple, Statement, split_arguments
from sipcap.config.kamailio.tokens import SIGN, STRING, VARIABLE, WORD, Token
from sipcap.limits import MAX_SCRIPT_NESTING, MAX_TRANSLATED_ROUTES

_REQUESTS: Final = ("request_route", "")
_REPLIES: Final = ("reply_route", "")
_HEP_EVENT: Final = ("event_route", "sipcapture:request")
_ENTRIES: Final = (_REQUESTS, _REPLIES, _HEP_EVENT, ("event_route", "core:receive-parse-error"))
"""Blocks that Kamailio runs by itself for captured messages."""

_STORING: Final = frozenset({"sip_capture", "sip_capture_forward", "report_capture"})
_ENDS: Final = frozenset({"exit", "drop"})
_RETURNS: Final = frozenset({"return", "break"})
_TIME: Final = re.compile(r"\$u?timef\((%[^()]*)\)")
_VARIABLE: Final = re.compile(r"\$\w+\([^()]*\)")
_SIP_URI: Final = re.compile(r"sips?:(?:[^@;]*@)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::(\d+))?(?:;transport=(\w+))?")


@dataclass(frozen=True)
class FoundRoute:
    """One route: the values of its keys, and where it comes from."""

    values: dict[str, str]
    place: str

    @property
    def is_conditional(self) -> bool:
        """Whether it takes some messages only."""
        return any(key in self.values for key in ("methods", "source", "hep_type", "capture_id", "header"))

    @property
    def stores(self) -> bool:
        """Whether it says where messages are stored, and not only to whom they are sent."""
        return "forward" not in self.values


@dataclass
class Found:
    """The routes of a script in their order, and what could not be said by routes."""

    routes: list[FoundRoute] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Way:
    """One way through the script: what a message meets that goes it, what it set, and what nobody can say of it."""

    conditions: Conditions = ALWAYS
    variables: tuple[tuple[str, str], ...] = ()
    unknown: str = ""
    has_stored: bool = False


def find_routes(script: Script) -> Found:
    """Follow a script from its entries, and make a route of every call of ``sip_capture``."""
    return _Walk(script).found()


class _Walk:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._found = Found()
        self._relevant = _relevant_variables(script)
        self._matters: dict[tuple[str, str], bool] = {}

    def found(self) -> Found:
        of_entry: dict[tuple[str, str], list[dict[str, str]]] = {}
        for entry in _ENTRIES:
            if entry not in self._script.blocks:
                continue
            if entry == _HEP_EVENT:
                self._note("event_route[sipcapture:request]", "a script of its own: write it as a hook")
            before = len(self._found.routes)
            self._run(self._script.blocks[entry], [_Way()], (entry,))
            of_entry[entry] = [route.values for route in self._found.routes[before:]]
        requests, replies = of_entry.get(_REQUESTS), of_entry.get(_REPLIES)
        if requests and replies and requests != replies:
            self._note("reply_route", "replies go where requests of their CSeq's method go")
        first = {tuple(route.values.items()): route for route in reversed(self._found.routes)}
        self._found.routes = [route for route in self._found.routes if first[tuple(route.values.items())] is route]
        return self._found

    def _note(self, place: str, text: str) -> None:
        note = f"{place}: {text}"
        if note not in self._found.notes:
            self._found.notes.append(note)

    def _run(
        self, statements: Sequence[Statement], ways: list[_Way], blocks: tuple[tuple[str, str], ...]
    ) -> tuple[list[_Way], list[_Way]]:
        """Follow statements; returns the ways that go on behind them, and those that return to who called."""
        returned: list[_Way] = []
        for statement in statements:
            if not ways:
                break
            if isinstance(statement, If):
                ways, more = self._if(statement, ways, blocks)
                returned += more
            elif _name(statement) in _ENDS:
                ways = []
            elif _name(statement) in _RETURNS:
                return [], returned + ways
            else:
                ways = self._simple(statement, ways, blocks)
        return ways, returned

    def _if(
        self, statement: If, ways: list[_Way], blocks: tuple[tuple[str, str], ...]
    ) -> tuple[list[_Way], list[_Way]]:
        if not self._does_matter((statement,), 0):
            return ways, []
        on: list[_Way] = []
        returned: list[_Way] = []
        for way in ways:
            entered = self._entered(statement, way)
            inside, inside_returned = self._run(statement.then, entered, blocks)
            around, around_returned = self._run(statement.otherwise, [way], blocks)
            on += _different(inside, around) + around
            returned += inside_returned + around_returned
            ends = bool(entered) and not inside and not inside_returned
            if ends and not way.has_stored and not _stores(statement.then, self._script):
                self._note(statement.place, "what meets this condition is not stored there; write a hook for it")
        if len(on) > MAX_TRANSLATED_ROUTES:
            self._note(statement.place, "too many ways lead through this script; not all are followed")
        return on[:MAX_TRANSLATED_ROUTES], returned[:MAX_TRANSLATED_ROUTES]

    def _entered(self, statement: If, way: _Way) -> list[_Way]:
        try:
            alternatives = read_condition(statement.condition)
        except NotTranslatable as part:
            return [replace(way, unknown=f"the condition {part} in {statement.place}")]
        entered = []
        for each in alternatives:
            try:
                entered.append(replace(way, conditions=way.conditions.also(each)))
            except Contradiction:
                continue  # nothing goes this way
            except NotTranslatable as part:
                entered.append(replace(way, unknown=f"{part} in {statement.place}"))
        return entered

    def _simple(self, statement: Simple, ways: list[_Way], blocks: tuple[tuple[str, str], ...]) -> list[_Way]:
        tokens = statement.tokens
        if tokens[0].kind == VARIABLE and len(tokens) > 2 and tokens[1].kind == SIGN and tokens[1].text == "=":
            return [_assigned(way, tokens[0].text, tokens[2:]) for way in ways]
        if tokens[0].kind != WORD or len(tokens) < 3 or tokens[1].text != "(":
            return ways
        arguments, place = split_arguments(tokens[2:-1]), tokens[0].place
        if tokens[0].text == "route" and len(arguments) == 1:
            block = ("route", "".join(token.text for token in arguments[0]))
            if block not in self._script.blocks or block in blocks or len(blocks) > MAX_SCRIPT_NESTING:
                return ways
            if not self._does_matter((statement,), 0):
                return ways
            on, returned = self._run(self._script.blocks[block], ways, (*blocks, block))
            return on + returned
        if tokens[0].text == "sip_capture":
            return [self._capture(arguments, place, way) for way in ways]
        if tokens[0].text == "sip_capture_forward" and len(arguments) == 1:
            for way in ways:
                self._forward(arguments[0], place, way)
        elif tokens[0].text == "report_capture":
            self._note(place, "report_capture: what is no SIP is stored by itself; else see sipcap report, and hooks")
        return ways

    def _capture(self, arguments: list[list[Token]], place: str, way: _Way) -> _Way:
        values: dict[str, str] = {}
        for key, argument in zip(("table", "capture_mode"), arguments, strict=False):
            text = _text(argument, way)
            if text is None:
                self._note(place, f"sip_capture: what its {key} is, only the script can tell")
                return way
            if text:
                values[key] = text
        self._add(values or {"capture_mode": "default"}, place, way)
        return replace(way, has_stored=True)

    def _forward(self, argument: list[Token], place: str, way: _Way) -> None:
        match = _SIP_URI.fullmatch(_text(argument, way) or "")
        protocol = (match[3] or "udp").lower() if match else ""
        if match is None or protocol not in ("udp", "tcp"):
            self._note(place, "sip_capture_forward: no address of udp or tcp that is known beforehand")
            return
        self._add({"forward": f"{protocol}:{match[1]}:{match[2] or 5060}"}, place, way)

    def _add(self, values: dict[str, str], place: str, way: _Way) -> None:
        if way.unknown:
            self._note(place, f"this call is left out: no route can say {way.unknown}")
        elif way.has_stored and "forward" not in values:
            self._note(place, "stored there a second time; here once, where the first call has it")
        else:
            listed = {key: ", ".join(found) for key, found in way.conditions.values.items()}
            self._found.routes.append(FoundRoute(listed | values, place))

    def _does_matter(self, statements: Sequence[Statement], depth: int) -> bool:
        """Whether statements store, end the script, or set what a call needs; all others are passed over."""
        for statement in statements:
            if isinstance(statement, If):
                if self._does_matter((*statement.then, *statement.otherwise), depth):
                    return True
            elif _name(statement) in _STORING | _ENDS | _RETURNS or _name(statement) in self._relevant:
                return True
            elif _name(statement) == "route" and depth < MAX_SCRIPT_NESTING:
                block = ("route", "".join(token.text for token in statement.tokens[2:-1]))
                if block not in self._matters:
                    self._matters[block] = False  # while it is looked at: a block that calls itself
                    self._matters[block] = self._does_matter(self._script.blocks.get(block, ()), depth + 1)
                if self._matters[block]:
                    return True
        return False


def _different(inside: list[_Way], around: list[_Way]) -> list[_Way]:
    """The ways through a block that change anything: all others go on as the one way around it does."""
    if len(around) != 1:
        return inside
    (other,) = around
    return [way for way in inside if replace(way, conditions=other.conditions, unknown=other.unknown) != other]


def _name(statement: Simple) -> str:
    return statement.tokens[0].text


def _calls(statements: Sequence[Statement]) -> Iterator[Simple]:
    for statement in statements:
        if isinstance(statement, If):
            yield from _calls((*statement.then, *statement.otherwise))
        else:
            yield statement


def _stores(statements: Sequence[Statement], script: Script) -> bool:
    """Whether a block stores something itself, or by a block that it calls."""
    for call in _calls(statements):
        if _name(call) in _STORING:
            return True
        block = script.blocks.get(("route", "".join(token.text for token in call.tokens[2:-1])), ())
        if _name(call) == "route" and any(_name(inner) in _STORING for inner in _calls(block)):
            return True
    return False


def _relevant_variables(script: Script) -> set[str]:
    """Variables that calls which store need, and those that these are made of."""
    simple = [call for block in script.blocks.values() for call in _calls(block)]
    wanted = {name for call in simple if _name(call) in _STORING for name in _names_in(call.tokens)}
    while True:
        more = {name for call in simple if _name(call) in wanted for name in _names_in(call.tokens)} - wanted
        if not more:
            return wanted
        wanted |= more


def _names_in(tokens: Sequence[Token]) -> set[str]:
    return {name for token in tokens if token.kind in (VARIABLE, STRING) for name in _VARIABLE.findall(token.text)}


def _assigned(way: _Way, name: str, tokens: Sequence[Token]) -> _Way:
    others = tuple(pair for pair in way.variables if pair[0] != name)
    text = _text(tokens, way)
    return replace(way, variables=others if text is None else (*others, (name, text)))


def _text(tokens: Sequence[Token], way: _Way) -> str | None:
    """The text of an expression: strings and variables joined by ``+``; None if only the running script knows it.

    A date of now, ``$timef(%Y%m%d)``, is the pattern in it: that of the message, which is the better one.
    """
    texts = []
    for index, token in enumerate(tokens):
        if index % 2:
            if token.kind != SIGN or token.text != "+":
                return None
            continue
        text = _TIME.sub(r"\1", token.text) if token.kind in (STRING, VARIABLE) else token.text
        for name, value in way.variables:
            text = text.replace(name, value)
        if "$" in text:
            return None
        texts.append(text)
    return "".join(texts) if texts else None
