"""Every way in which a row of the product may differ from the oracle's, each with a name and a reason.

An entry covers one column of one outcome. It must be as narrow as the reason: what an entry does not
cover is a defect, and an entry that no input needs fails a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .compare import Outcome
from .headers import first, spellings, values
from .tables import COLUMNS, Row, Value

# Unix time of Julian day 0 in days, and the half second by which the driver is early (spec 3.7).
_JULIAN_EPOCH, _EARLY_S = 2_440_587.5, 0.5
# How far the two may be apart that take the time of arrival: one run of all inputs through both.
_RUN_US = 300 * 1_000_000

_IDENTITIES = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID")
# Looked up by name in the module, with the first character's case taken as it is (spec 3.2).
_BY_NAME = {
    "reason": ("Reason",),
    "callid_aleg": ("X-CID",),
    "originator_ip": ("X-OIP",),
    "rtp_stat": ("X-RTP-Stat",),
    "custom_field1": ("Mac",),
    "custom_field2": ("IP",),
    "custom_field3": ("Port",),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One column of one outcome with both values."""

    outcome: Outcome
    column: str
    oracle: Value
    product: Value

    @property
    def payload(self) -> bytes:
        """The message."""
        return self.outcome.case.payload


@dataclass(frozen=True, slots=True)
class Difference:
    """A tolerated difference."""

    name: str
    columns: frozenset[str]
    reason: str
    covers: Callable[[Pair], bool]


def exact_message(row: Row) -> Value:
    """Return the message of a product's row, byte for byte."""
    raw = row.get("msg_raw")
    return row["msg"] if raw is None else raw


def pairs(outcome: Outcome, columns: Sequence[str] = COLUMNS) -> Iterator[Pair]:
    """Yield those of *columns* in which the two rows of *outcome* differ."""
    if outcome.oracle is None or outcome.product is None:
        return
    for column in columns:
        oracle = outcome.oracle[column]
        product = exact_message(outcome.product) if column == "msg" else outcome.product[column]
        if oracle != product:
            yield Pair(outcome, column, oracle, product)


def explanation(pair: Pair) -> Difference | None:
    """Return the entry that covers *pair*, if one does."""
    return next((entry for entry in TOLERATED if pair.column in entry.columns and entry.covers(pair)), None)


def unix_seconds(julian: float) -> int:
    """Return the Unix time that Kamailio's SQLite driver wrote as a Julian day."""
    return round((julian - _JULIAN_EPOCH) * 86_400 + _EARLY_S)


def _seconds(value: Value) -> int:
    if not isinstance(value, bytes):
        return -1
    return int(datetime.strptime(value.decode(), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp())


def _same_second(pair: Pair) -> bool:
    return isinstance(pair.oracle, float) and unix_seconds(pair.oracle) == _seconds(pair.product)


def _both_of_arrival(pair: Pair) -> bool:
    if pair.outcome.case.envelope.ts_us is not None:
        return False
    if isinstance(pair.oracle, float):
        return abs(unix_seconds(pair.oracle) - _seconds(pair.product)) * 1_000_000 <= _RUN_US
    return isinstance(pair.oracle, int) and isinstance(pair.product, int) and abs(pair.oracle - pair.product) <= _RUN_US


def _null_for_absent(pair: Pair) -> bool:
    return pair.oracle is None and pair.product == b""


def _credentials(pair: Pair) -> bool:
    header = first(pair.payload, "Proxy-Authorization") or first(pair.payload, "Authorization")
    unfolded = re.sub(rb"\r?\n", b"", pair.product) if isinstance(pair.product, bytes) else b""
    return pair.oracle is None and unfolded.strip() == header


def _other_contact(pair: Pair) -> bool:
    before, comma, behind = first(pair.payload, "Contact", "m").partition(b",")
    return bool(comma) and _text(pair.product) in before and _text(pair.oracle) in behind


def _replaced(pair: Pair) -> bool:
    """The oracle has bytes that are no UTF-8, or a NUL; the product U+FFFD in their place and the rest as it is."""
    if not isinstance(pair.oracle, bytes):
        return False
    lossy = pair.oracle.decode("utf-8", "replace").replace("\0", "\ufffd").encode()
    return lossy != pair.oracle and pair.product == lossy


def _lower_first_letter(pair: Pair) -> bool:
    names = _BY_NAME[pair.column]
    missed = [spelt for name in names for spelt in spellings(pair.payload, name) if spelt[:1] != name[:1].encode()]
    return bool(missed) and pair.oracle == b"" and pair.product == first(pair.payload, *names)


def _overwritten(pair: Pair) -> bool:
    """The module wrote a NUL over the next colon behind X-OIP, in the message and so in the value."""
    return bool(values(pair.payload, "X-OIP")) and isinstance(pair.oracle, bytes) and b"\0" in pair.oracle


def _originator_port(pair: Pair) -> bool:
    oip = first(pair.payload, "X-OIP")
    port = re.search(rb"(?:^[^:]*|\]):(\d+)$", oip)
    return bool(oip) and pair.product == (int(port[1]) if port else 0)


def _undefined_protocol(pair: Pair) -> bool:
    envelope = pair.outcome.case.envelope
    return envelope.version == 3 and pair.product == {22: 3, 132: 4}.get(envelope.protocol)


def _broken_identity(pair: Pair) -> bool:
    """What the product took is the text of the first identity header; the oracle found that header's list broken."""
    header = next(filter(None, (first(pair.payload, name) for name in _IDENTITIES)), b"")
    others = b" ".join(value for name in _IDENTITIES[1:] for value in values(pair.payload, name))
    return _text(pair.product) in header and (not pair.oracle or _text(pair.oracle) in others)


def _broken_credentials(pair: Pair) -> bool:
    header = first(pair.payload, "Proxy-Authorization") or first(pair.payload, "Authorization")
    unclosed = header.count(b'"') % 2 == 1
    empty_value = re.search(rb"=\s*(?:,|$)", header) is not None
    return (unclosed or empty_value) and pair.oracle == b"" and b'username="' + _text(pair.product) in header


def _repeated_parameter(pair: Pair) -> bool:
    name = {"via_1_branch": "branch", "auth_user": "username"}.get(pair.column, "tag").encode()
    found = re.findall(rb"[;,\s]" + name + rb'="?([^;,"\s]+)', pair.payload)
    return pair.product in found and pair.oracle in found[found.index(_text(pair.product)) + 1 :]


def _phone_in_capitals(pair: Pair) -> bool:
    return b";user=PHONE" in pair.payload and _text(pair.oracle).partition(b";")[0] == pair.product


def _odd_urn(pair: Pair) -> bool:
    return re.search(rb"\burn:[a-z]+[\s>;]", pair.payload) is not None


def _text(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if not value else str(value).encode()


_CONTACT = frozenset({"contact_user", "contact_ip", "contact_port"})
_USERS = frozenset({"ruri_user", "from_user", "to_user", "contact_user", "pid_user"})
_HOSTS = frozenset({"ruri_domain", "from_domain", "to_domain", "contact_ip"})
_TEXT = frozenset(COLUMNS) - {"msg"}

TOLERATED = (
    Difference(
        "date_julian",
        frozenset({"date"}),
        "Kamailio's SQLite driver writes a Julian day half a second early, sipcap text in UTC: spec 3.7, design 1.6",
        _same_second,
    ),
    Difference(
        "receive_time",
        frozenset({"date", "micro_ts"}),
        "without a time in the packet both take the time of arrival, which is not the same: spec 2.8",
        _both_of_arrival,
    ),
    Difference(
        "null_is_empty",
        _TEXT,
        "where the module's pointer stays null SQLite gets NULL; sipcap has '' everywhere: spec 3.1",
        _null_for_absent,
    ),
    Difference(
        "auth_filled",
        frozenset({"auth"}),
        "the module never fills auth; sipcap puts the credentials there: spec 3.1, defect 13",
        _credentials,
    ),
    Difference(
        "contact_first",
        _CONTACT,
        "5.6.3 takes the last contact of a header, HEAD and sipcap the first: spec 0.1, defect 36",
        _other_contact,
    ),
    Difference(
        "replacement_character",
        _TEXT,
        "columns other than msg are valid text in sipcap, bytes that are not become U+FFFD: design 1.5",
        _replaced,
    ),
    Difference(
        "header_name_case",
        frozenset(_BY_NAME),
        "look-ups by name miss another case of the first letter in the module, not in sipcap: spec 3.2, defect 13",
        _lower_first_letter,
    ),
    Difference(
        "originator_overwritten",
        frozenset({"originator_ip", "msg"}),
        "the module puts a NUL over the next colon behind X-OIP, sipcap leaves the message alone: spec 3.6, defect 12",
        _overwritten,
    ),
    Difference(
        "originator_port",
        frozenset({"originator_port"}),
        "sipcap takes the port behind the final colon only, IPv6 in brackets: spec 3.6, defect 12",
        _originator_port,
    ),
    Difference(
        "protocol_undefined",
        frozenset({"proto"}),
        "the version 3 receiver leaves anything but UDP and TCP uninitialised; sipcap maps it: spec 2.5, defect 11",
        _undefined_protocol,
    ),
    Difference(
        "identity_broken",
        frozenset({"pid_user"}),
        "the module drops an identity it cannot parse, or takes the next header; sipcap reads what can be read of the "
        "first: spec 3.5, defect 14",
        _broken_identity,
    ),
    Difference(
        "credentials_broken",
        frozenset({"auth_user"}),
        "the module drops credentials with a broken parameter anywhere; sipcap still reads the user: defect 14",
        _broken_credentials,
    ),
    Difference(
        "parameter_twice",
        frozenset({"from_tag", "to_tag", "via_1_branch", "auth_user"}),
        "of a parameter given twice, which RFC 3261 7.3.1 forbids, the module keeps the last and sipcap the first",
        _repeated_parameter,
    ),
    Difference(
        "phone_in_capitals",
        _USERS,
        "the module wants user=phone in small letters; parameters compare without case: RFC 3261 19.1.4",
        _phone_in_capitals,
    ),
    Difference(
        "urn_without_body",
        _USERS | _HOSTS,
        "5.6.3 parses a URN like user@host, so one part alone is a host; it became the user in 6.0: spec 0.1",
        _odd_urn,
    ),
)
