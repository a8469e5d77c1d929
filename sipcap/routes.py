"""Routes: which messages go to which table, capture mode or further collector (design 1.7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from sipcap.endpoint import Endpoint, parse_endpoint
from sipcap.errors import CannotStart, DecodeError
from sipcap.limits import MAX_ROUTED_VALUE
from sipcap.modes import nearest
from sipcap.record import Record, SipRecord
from sipcap.routing import split_patterns
from sipcap.schemas import hep_type, transaction_method
from sipcap.sources.addresses import Network, parse_networks
from sipcap.wire.message import SIP_PAYLOAD
from sipcap.wire.sip import SipHeadReader, canonical_name

ROUTE_KEYS: Final[tuple[str, ...]] = (
    "methods", "source", "hep_type", "capture_id", "header", "table", "capture_mode", "forward",
)  # fmt: skip
_TARGETS: Final = ("table", "capture_mode", "forward")
_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+")  # RFC 3261 section 25.1
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]+")
_KNOWN: Final = f" (known: {', '.join(ROUTE_KEYS)})"

_Check = Callable[[Record], bool]


class BadRoute(ValueError):
    """Values that define no route; it says why.

    Args:
        text: what is wrong.
        key: the key whose value is wrong; "" if it is not about a value.
    """

    def __init__(self, text: str, key: str = "") -> None:
        super().__init__(text)
        self.key = key


@dataclass(frozen=True)
class HeaderTest:
    """A header whose value a regular expression is searched in.

    Python's expressions can take very long: at most ``MAX_ROUTED_VALUE`` characters are looked at, which bounds
    what grows with a power of the length, but not nested repetitions such as ``(a+)+``.
    """

    name: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, kw_only=True)
class Route:
    """Which messages, and where they go; a condition that is empty holds for all.

    Args:
        name: as the configuration calls it.
        methods: of requests; a reply has the method of its CSeq. No report has one.
        source: networks of the message's source address.
        hep_types: HEP types; SIP is 1, and has no table in common with others.
        capture_ids: of the HEP agent; what came without one has none.
        header: the first header of this name, in any spelling.
        table: a pattern for the message's time; "" = as the capture mode has it. Reports, whose columns are others,
            go there only if the route names their HEP type.
        capture_mode: "" = the default one.
        forward: where the packet is sent as well.
    """

    name: str = ""
    methods: frozenset[str] = frozenset()
    source: tuple[Network, ...] = ()
    hep_types: frozenset[int] = frozenset()
    capture_ids: frozenset[int] = frozenset()
    header: HeaderTest | None = None
    table: str = ""
    capture_mode: str = ""
    forward: Endpoint | None = None

    def table_of(self, record: Record) -> str:
        """The pattern of the table for a record that it takes; "" = as the capture mode has it."""
        return self.table if self.hep_types or isinstance(record, SipRecord) else ""


def make_route(name: str, values: Mapping[str, str]) -> Route:
    """Make a route of the values of its keys.

    Args:
        name: for messages and counters.
        values: of ``ROUTE_KEYS``.

    Raises:
        BadRoute: an unknown key, a value that is not allowed, or a route that leads nowhere.
    """
    for key, value in values.items():
        if key not in ROUTE_KEYS:
            raise BadRoute(f"unknown key {key}{nearest(key, ROUTE_KEYS)}{_KNOWN}", key)
        if not value.strip():
            raise BadRoute(f"{key} is empty", key)
    if not any(key in values for key in _TARGETS):
        raise BadRoute(f"it leads nowhere: one of {', '.join(_TARGETS)} is missing")
    hep_types = frozenset(_number("hep_type", text, 255) for text in _listed(values, "hep_type"))
    if "table" in values and SIP_PAYLOAD in hep_types and len(hep_types) > 1:
        raise BadRoute("hep_type: SIP (1) and other types cannot have one table: their columns differ", "hep_type")
    return Route(
        name=name,
        methods=frozenset(map(_method, _listed(values, "methods"))),
        source=_networks(_listed(values, "source")),
        hep_types=hep_types,
        capture_ids=frozenset(_number("capture_id", text, 2**32 - 1) for text in _listed(values, "capture_id")),
        header=_header(values["header"]) if "header" in values else None,
        table=_table(values["table"]) if "table" in values else "",
        capture_mode=values.get("capture_mode", "").strip(),
        forward=_forward(values["forward"]) if "forward" in values else None,
    )


def _listed(values: Mapping[str, str], key: str) -> list[str]:
    """The parts of a list with commas; an empty one between two commas is none."""
    parts = [part.strip() for part in values.get(key, "").split(",") if part.strip()]
    if key in values and not parts:
        raise BadRoute(f"{key} is empty", key)
    return parts


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise BadRoute(f"methods: {text!r} is no method; write them with commas between, INVITE, BYE", "methods")
    return text.upper()


def _networks(texts: list[str]) -> tuple[Network, ...]:
    try:
        return tuple(parse_networks(texts))
    except ValueError as error:
        raise BadRoute(f"source: {error}", "source") from None


def _number(key: str, text: str, most: int) -> int:
    try:
        number = int(text, 16 if text[:2].lower() == "0x" else 10)
    except ValueError:
        number = -1
    if not 0 <= number <= most:
        raise BadRoute(f"{key}: {text!r} is no number from 0 to {most}", key)
    return number


def _header(text: str) -> HeaderTest:
    name, colon, expression = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name.strip()) or not expression.strip():
        raise BadRoute("header must be NAME: REGULAR EXPRESSION", "header")
    try:
        return HeaderTest(canonical_name(name), re.compile(expression.strip()))
    except (re.error, OverflowError, RecursionError) as error:
        raise BadRoute(f"header: {expression.strip()!r} is no regular expression: {error}", "header") from None


def _table(text: str) -> str:
    try:
        patterns = split_patterns([text])
    except CannotStart as error:
        raise BadRoute(f"table: {error}", "table") from None
    if len(patterns) > 1:
        raise BadRoute("table: one pattern only; several tables are what a capture mode has", "table")
    return patterns[0]


def _forward(text: str) -> Endpoint:
    try:
        endpoint = parse_endpoint(text)
    except ValueError as error:
        raise BadRoute(f"forward: {error}", "forward") from None
    if endpoint.protocol == "tls":
        raise BadRoute("forward: udp: and tcp: only", "forward")
    if endpoint.host == "*" or not endpoint.port or endpoint.port != endpoint.last_port:
        raise BadRoute(f"forward: {endpoint} is not one place to send to", "forward")
    return endpoint


class Routes:
    """Finds the route of a record: the first whose conditions all hold.

    Args:
        routes: in their order.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._heads = _Heads(route.header.name for route in routes if route.header is not None)
        named = {method for route in routes for method in route.methods}
        self._of_method = {method: self._candidates(method) for method in named}
        self._others = self._candidates(None)
        self._of_reports = [(route, checks) for route, checks in self._others if route.header is None]

    @property
    def forwards(self) -> bool:
        """Whether one of them forwards."""
        return any(route.forward is not None for route in self.routes)

    def _candidates(self, method: str | None) -> list[tuple[Route, tuple[_Check, ...]]]:
        """The routes that a message of this method can take, None = of one that no route names, and what decides."""
        found: list[tuple[Route, tuple[_Check, ...]]] = []
        for route in self.routes:
            if route.methods and method not in route.methods:
                continue
            found.append((route, self._checks(route)))
        return found

    def _checks(self, route: Route) -> tuple[_Check, ...]:
        """All conditions but the method, the cheap ones first."""
        checks: list[_Check] = []
        if route.hep_types:
            checks.append(lambda record: _hep_type(record) in route.hep_types)
        if route.capture_ids:
            checks.append(lambda record: record.capture_id in route.capture_ids)
        if route.source:
            is_inside = _inside(route.source)
            checks.append(lambda record: is_inside(record.source_ip))
        if route.header is not None:
            test = route.header
            checks.append(lambda record: _holds(test, self._heads.value(record, test.name)))
        return tuple(checks)

    def match(self, record: Record) -> Route | None:
        """The first route that holds for a record; None = the default one."""
        if not isinstance(record, SipRecord):
            candidates = self._of_reports
        elif self._of_method:
            candidates = self._of_method.get(transaction_method(record), self._others)
        else:
            candidates = self._others
        for route, checks in candidates:
            for check in checks:
                if not check(record):
                    break
            else:
                return route
        return None


class _Heads:
    """Reads the headers that routes ask for; the head of a message once, however many routes ask."""

    def __init__(self, names: Iterable[str]) -> None:
        self._slots = {name: slot for slot, name in enumerate(dict.fromkeys(names), start=1)}
        self._read = SipHeadReader(tuple(self._slots)).read
        self._of: Record | None = None
        self._values: list[str] = []

    def value(self, record: Record, name: str) -> str:
        """The first value of a header; "" if it is not there."""
        if record is not self._of:
            try:
                self._values = self._read(record.msg)[3]
            except DecodeError:  # a record that was made by hand
                self._values = [""] * (len(self._slots) + 1)
            self._of = record
        return self._values[self._slots[name]]


def _holds(test: HeaderTest, value: str) -> bool:
    """Whether a header is there and the expression is found in it, its folds as one blank each."""
    return value != "" and test.pattern.search(_FOLD.sub(" ", value[:MAX_ROUTED_VALUE])) is not None


def _hep_type(record: Record) -> int:
    return SIP_PAYLOAD if isinstance(record, SipRecord) else hep_type(record)


def _inside(networks: tuple[Network, ...]) -> Callable[[str], bool]:
    """Whether an address is in one of these networks; addresses come again, so that the answers are kept."""

    @lru_cache(maxsize=4_096)
    def is_inside(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:  # unknown, or made by hand
            return False
        return any(address in network for network in networks)

    return is_inside
