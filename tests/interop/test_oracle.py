"""The same datagrams into Kamailio's sipcapture and into sipcap: the rows, column by column."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import unmended
from .cases import Case
from .compare import Outcome, Verdict, ask_product, outcomes
from .differences import TOLERATED, explanation
from .hep import encode
from .predicates import Pair, exact_message, pairs
from .product import piping
from .refusals import BY_ORACLE, BY_PRODUCT, refusal
from .tables import Row, Value, text
from .variations import TABLE, Expected

# Enough to see a pattern; a broken column would print thousands.
_SHOWN = 20
# What a row says about the packet and not about the message.
_ENVELOPE = ("source_ip", "destination_ip", "source_port", "destination_port", "family")
_NAMED = (*TOLERATED, *unmended.DIFFERENCES)
# The refusals that --no-capture-bad-msgs is about.
_LACKING = {"no_via", "missing_header", "no_header"}


def _shown(pair: Pair) -> str:
    return f"{pair.outcome.case.name!r}: {pair.column}: oracle {pair.oracle!r}, sipcap {pair.product!r}"


def _stored(row: Row, expected: Expected) -> dict[str, str | int]:
    values: dict[str, Value] = {name: row[name] for name in expected or {}}
    return {name: value if isinstance(value, int) else text(value) for name, value in values.items()}


def test_oracle_table_of_variations_is_stored_as_specified(cases: list[Case], verdicts: list[Verdict]) -> None:
    """Kamailio stores each row of spec section 12 with the values of the table, or refuses it."""
    by_name = {case.name: verdict for case, verdict in zip(cases, verdicts, strict=True)}
    for variation in TABLE:
        row = by_name[f"variation: {variation.name}"].row
        found = None if row is None else _stored(row, variation.expected)
        assert found == variation.expected, variation.name


def test_rows_of_all_inputs_are_equal_but_for_named_differences(compared: list[Outcome]) -> None:
    """In all 44 columns sipcap stores what Kamailio stores, or what a named difference allows."""
    odd = [pair for outcome in compared for pair in pairs(outcome) if explanation(pair, _NAMED) is None]
    assert not odd, f"{len(odd)} unexplained:\n" + "\n".join(map(_shown, odd[:_SHOWN]))


def test_messages_stored_by_one_side_only_have_a_named_reason(compared: list[Outcome]) -> None:
    """What Kamailio stores is stored by sipcap too, and what it refuses is refused for a reason, but for names."""
    one_sided = [outcome for outcome in compared if (outcome.oracle is None) != (outcome.product is None)]
    odd = [
        (outcome.case.name, "only Kamailio" if outcome.product is None else outcome.complaint)
        for outcome in one_sided
        if refusal(outcome) is None
    ]
    assert not odd


def test_messages_refused_by_the_oracle_keep_their_envelope(compared: list[Outcome]) -> None:
    """Where there is no oracle's row, the addresses and ports are those of the packet."""
    for outcome in compared:
        envelope = outcome.case.envelope
        if outcome.oracle is None and outcome.product is not None and outcome.case.framing is encode:
            found = [outcome.product[name] for name in _ENVELOPE]
            ips = [ip.encode() for ip in (envelope.source_ip, envelope.destination_ip)]
            assert found == [*ips, envelope.source_port, envelope.destination_port, envelope.family], outcome.case.name


def test_messages_of_all_inputs_are_stored_byte_for_byte(compared: list[Outcome]) -> None:
    """Every stored message is exactly the payload that was sent."""
    changed = [
        outcome.case.name
        for outcome in compared
        if outcome.product is not None and exact_message(outcome.product) != outcome.case.payload
    ]
    assert not changed


def test_messages_without_mandatory_header_are_refused_on_request(
    cases: list[Case], verdicts: list[Verdict], tmp_path: Path
) -> None:
    """With --no-capture-bad-msgs sipcap refuses what lacks a header, like the module, and still stores the rest."""
    rows = ask_product(lambda folder: piping(folder, ["--no-capture-bad-msgs"]), tmp_path, cases)
    strict = outcomes(cases, verdicts, rows)
    assert not _LACKING.intersection(entry.name for outcome in strict if (entry := refusal(outcome)))
    lost = {outcome.case.name for outcome in strict if outcome.oracle is not None and outcome.product is None}
    tolerated = {outcome.case.name for outcome in strict if refusal(outcome)}
    assert lost - tolerated == unmended.REFUSED_IF_STRICT


def test_differences_every_entry_is_needed(compared: list[Outcome]) -> None:
    """No tolerated difference outlives its reason: each covers at least one column of one input."""
    needed = {entry.name for outcome in compared for pair in pairs(outcome) if (entry := explanation(pair, _NAMED))}
    assert {entry.name for entry in _NAMED} == needed


def test_differences_do_not_excuse_a_wrong_value(compared: list[Outcome]) -> None:
    """A value that has nothing to do with the message is covered by no entry, in any column of any input."""
    for outcome in compared:
        if outcome.product is None:
            continue
        wrong = {name: -1 if isinstance(value, int) else b"wrong" for name, value in outcome.product.items()}
        spoilt = replace(outcome, product={**wrong, "msg_raw": b"wrong"})
        excused = [(pair.column, entry.name) for pair in pairs(spoilt) if (entry := explanation(pair, TOLERATED))]
        assert not excused, outcome.case.name


def test_refusals_every_entry_is_needed(compared: list[Outcome]) -> None:
    """No tolerated refusal outlives its reason: each names at least one input."""
    needed = {entry.name for outcome in compared if (entry := refusal(outcome))}
    assert {entry.name for entry in (*BY_ORACLE, *BY_PRODUCT, *unmended.REFUSALS)} == needed
