"""Tests for single columns: whether two values differ for one certain reason and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .compare import Outcome
from .framings import VENDOR
from .headers import first, spellings, values
from .tables import COLUMNS, Row, Value

# Unix time of Julian day 0 in days, and the half second by which the driver is early (spec 3.7).
_JULIAN_EPOCH, _EARLY_S = 2_440_587.5, 0.5
# How far the two may be apart that take the time of arrival: one run of all inputs through both.
_RUN_US = 300 * 1_000_000

_IDENTITIES = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID")
# Looked up by name in the module, with the first character's case taken as it is (spec 3.2).
BY_NAME = {
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


def unix_seconds(julian: float) -> int:
    """Return the Unix time that Kamailio's SQLite driver wrote as a Julian day."""
    return round((julian - _JULIAN_EPOCH) * 86_400 + _EARLY_S)


def date_text(seconds: int) -> bytes:
    """Return the text of a Unix time as the product writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S").encode()


def same_second(pair: Pair) -> bool:
    """The Julian day and the text name the same second."""
    return isinstance(pair.oracle, float) and date_text(unix_seconds(pair.oracle)) == pair.product


def both_of_arrival(pair: Pair) -> bool:
    """The packet has no time; both times lie within one run of the inputs, and each date fits its time."""
    oracle, product = pair.outcome.oracle, pair.outcome.product
    if pair.outcome.case.envelope.ts_us is not None or oracle is None or product is None:
        return False
    times = oracle["micro_ts"], product["micro_ts"]
    if not isinstance(times[0], int) or not isinstance(times[1], int) or abs(times[0] - times[1]) > _RUN_US:
        return False
    if pair.column == "micro_ts":
        return True
    written = date_text(unix_seconds(pair.oracle)) if isinstance(pair.oracle, float) else pair.oracle
    return (written, pair.product) == (date_text(times[0] // 1_000_000), date_text(times[1] // 1_000_000))


def null_for_absent(pair: Pair) -> bool:
    """The oracle has NULL, the product the empty text."""
    return pair.oracle is None and pair.product == b""


def credentials(pair: Pair) -> bool:
    """The oracle has nothing, the product the body of the header that the user is read from."""
    header = first(pair.payload, "Proxy-Authorization") or first(pair.payload, "Authorization")
    unfolded = re.sub(rb"\r?\n", b"", pair.product) if isinstance(pair.product, bytes) else b""
    return not pair.oracle and unfolded.strip() == header


def other_contact(pair: Pair) -> bool:
    """The Contact header has several values; the product took the first one, the oracle a later one."""
    before, comma, behind = first(pair.payload, "Contact", "m").partition(b",")
    if not comma or _text(pair.oracle) not in behind or _text(pair.product) not in before:
        return False
    is_tel = b"tel:" in before.lower()
    if pair.product == b"":
        return is_tel if pair.column == "contact_ip" else not is_tel and b"@" not in before
    return True


def replaced(pair: Pair) -> bool:
    """The oracle has bytes that are no UTF-8, or a NUL; the product U+FFFD in their place and the rest as it is."""
    if not isinstance(pair.oracle, bytes):
        return False
    lossy = pair.oracle.decode("utf-8", "replace").replace("\0", "\ufffd").encode()
    return lossy != pair.oracle and pair.product == lossy


def lower_first_letter(pair: Pair) -> bool:
    """The header is there with its first letter in small only, and the product found it."""
    names = BY_NAME[pair.column]
    missed = [spelt for name in names for spelt in spellings(pair.payload, name) if spelt[:1] != name[:1].encode()]
    return bool(missed) and pair.oracle == b"" and pair.product == first(pair.payload, *names)


def overwritten(pair: Pair) -> bool:
    """The module wrote a NUL over the next colon behind X-OIP, in the message and so in the value."""
    if not values(pair.payload, "X-OIP") or not isinstance(pair.oracle, bytes) or b"\0" not in pair.oracle:
        return False
    if pair.column == "msg":
        return pair.product == pair.payload
    return first(pair.payload, "X-OIP").startswith(_text(pair.product)) and pair.product != b""


def originator_port(pair: Pair) -> bool:
    """The product took the digits behind the final colon of X-OIP, where that cannot be part of IPv6."""
    oip = first(pair.payload, "X-OIP")
    port = re.search(rb"(?:^[^:]*|\]):(\d+)$", oip)
    return bool(oip) and pair.product == (int(port[1]) if port else 0)


def undefined_protocol(pair: Pair) -> bool:
    """The protocol is one that the version 3 receiver does not know, and the product mapped it."""
    envelope = pair.outcome.case.envelope
    return envelope.version == 3 and pair.product == {22: 3, 132: 4}.get(envelope.protocol)


def broken_identity(pair: Pair) -> bool:
    """What the product took is the text of the first identity header; the oracle found that header's list broken."""
    present = [name for name in _IDENTITIES if values(pair.payload, name)]
    others = b" ".join(value for name in present[1:] for value in values(pair.payload, name))
    if not present or _text(pair.product) not in first(pair.payload, present[0]):
        return False
    return not pair.oracle or _text(pair.oracle) in others


def broken_credentials(pair: Pair) -> bool:
    """A quote is open or a parameter has no value; the oracle found no user, the product the one given."""
    header = first(pair.payload, "Proxy-Authorization") or first(pair.payload, "Authorization")
    unclosed = header.count(b'"') % 2 == 1
    empty_value = re.search(rb"=\s*(?:,|$)", header) is not None
    return (unclosed or empty_value) and pair.oracle == b"" and b'username="' + _text(pair.product) in header


def repeated_parameter(pair: Pair) -> bool:
    """The parameter is there twice; the product took the earlier, the oracle the later value."""
    name = {"via_1_branch": "branch", "auth_user": "username"}.get(pair.column, "tag").encode()
    found = re.findall(rb"[;,\s]" + name + rb'="?([^;,"\s]+)', pair.payload)
    return pair.product in found and pair.oracle in found[found.index(_text(pair.product)) + 1 :]


def cut_at_comma(pair: Pair) -> bool:
    """The product has the oracle's tag up to its comma."""
    before, comma, _ = _text(pair.oracle).partition(b",")
    return bool(comma) and pair.product == before


def escaped_quote(pair: Pair) -> bool:
    """The oracle's user ends with a backslash; the product goes on with the quote behind it to the closing one."""
    oracle, product = _text(pair.oracle), _text(pair.product)
    return oracle.endswith(b"\\") and product.startswith(oracle + b'"') and b'"' + product + b'"' in pair.payload


def behind_carriage_return(pair: Pair) -> bool:
    """The product's value stands behind a line that begins with a CR and goes on; the oracle has none."""
    behind = re.split(rb"\n\r(?!\n)", pair.payload, maxsplit=1)[1:]
    return bool(behind) and pair.oracle == b"" and pair.product != b"" and _text(pair.product) in behind[0]


def phone_in_capitals(pair: Pair) -> bool:
    """The parameter user=PHONE is there, and only the product cut the user at its semicolon."""
    return b";user=PHONE" in pair.payload and _text(pair.oracle).partition(b";")[0] == pair.product


def tel_with_host(pair: Pair) -> bool:
    """The product has the whole text of a tel URI with an @, the oracle what stands behind that."""
    product, oracle = _text(pair.product), _text(pair.oracle)
    return b"@" in product and b"tel:" + product in pair.payload and product.rpartition(b"@")[2] == oracle


def odd_urn(pair: Pair) -> bool:
    """A URN of a namespace and nothing else is there: it is the host to the oracle, the user to the product."""
    urn = re.search(rb"\burn:([a-z]+)[\s>;]", pair.payload)
    return urn is not None and {_text(pair.oracle), _text(pair.product)} == {urn[1], b""}


def swallowed_vendor(pair: Pair) -> bool:
    """The oracle read the correlation id on into the vendor id of the next chunk."""
    return isinstance(pair.oracle, bytes) and pair.oracle == _text(pair.product) + VENDOR.to_bytes(2)


def cut_by_two(pair: Pair) -> bool:
    """The oracle took the first two bytes of the message for the padding of the version 2 time block."""
    case = pair.outcome.case
    if case.envelope.version != 2 or pair.outcome.oracle is None:
        return False
    return pair.outcome.oracle["msg"] == case.payload[2:] and pair.oracle == _text(pair.product)[2:]


def _text(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    return b"" if not value else str(value).encode()
