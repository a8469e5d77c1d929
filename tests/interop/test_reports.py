"""Payloads that are no SIP: the module's automatic report rows against those of sipcap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from . import corpus, hep, kamailio, product
from .cases import Case
from .compare import Outcome, deliver
from .differences import TOLERATED, explanation
from .hep import TCP, Envelope
from .predicates import pairs
from .tables import REPORT_COLUMNS, REPORT_TABLES, Database, Row

# The HEP types that the module stores without parsing them (spec 2.5.1).
_TYPES = (5, 32, 99, 100)
_PAYLOAD = b'{"sender_information":{"packets":7},"text":"Gr\xc3\xbc\xc3\x9fe"}'
_SHAPES = (
    Envelope(correlation_id=b"abc@host"),
    Envelope(correlation_id=b"abc@host", source_ip="2001:db8::1", destination_ip="2001:db8::2"),
    Envelope(correlation_id=b"abc@host", protocol=TCP, capture_id=0),
    Envelope(correlation_id=b"abc\0tail", source_port=0, destination_port=0),
)


def _generated() -> Iterator[Case]:
    for payload_type in _TYPES:
        for number, shape in enumerate(_SHAPES):
            ts_us = 1_700_000_000_000_000 + payload_type * 1_000_000 + number
            envelope = replace(shape, payload_type=payload_type, ts_us=ts_us)
            yield Case(f"type {payload_type}, shape {number}", _PAYLOAD, envelope)


def _captured() -> Iterator[Case]:
    for number, datagram in enumerate(corpus.datagrams("hep3-homer.pcap")):
        envelope, payload = hep.decode(datagram.payload)
        if envelope.payload_type in _TYPES:
            yield Case(f"captured {number}", payload, envelope)


def _by_time(database: Database, table: str) -> dict[object, Row]:
    """Return the rows of *table* by capture time, which is different in each case."""
    return {row["micro_ts"]: row for row in database.rows(table)}


def _compare(folder: Path, cases: list[Case]) -> None:
    datagrams = [case.datagram for case in cases]
    with kamailio.capturing(folder / "oracle") as oracle, product.piping(folder / "product") as sipcap:
        deliver(oracle.port, oracle.database, datagrams)
        deliver(sipcap.port, sipcap.database, datagrams)
        expected = {table: _by_time(oracle.database, table) for table in REPORT_TABLES}
        found = {table: _by_time(sipcap.database, table) for table in REPORT_TABLES}
    assert {table: sorted(map(str, rows)) for table, rows in found.items()} == {
        table: sorted(map(str, rows)) for table, rows in expected.items()
    }
    assert sum(map(len, expected.values())) == len(cases)
    for table, rows in expected.items():
        for case in (case for case in cases if case.envelope.ts_us in rows):
            ts_us = case.envelope.ts_us
            outcome = Outcome(case, rows[ts_us], "", found[table][ts_us])
            odd = [pair for pair in pairs(outcome, REPORT_COLUMNS) if explanation(pair, TOLERATED) is None]
            assert not odd, f"{table}: {odd}"


def test_reports_of_every_type_are_stored_like_the_module_stores_them(kamailio_here: None, tmp_path: Path) -> None:
    """RTCP, logs and the two report types go to the same tables with the same 12 columns."""
    _compare(tmp_path, list(_generated()))


def test_reports_of_a_captured_stream_are_stored_like_the_module_stores_them(
    kamailio_here: None, corpus_here: Path, tmp_path: Path
) -> None:
    """The log line and the RTCP report that a real agent sent become the module's rows."""
    _compare(tmp_path, list(_captured()))


@pytest.mark.parametrize("payload_type", [8, 34, 53])
def test_reports_of_types_unknown_to_the_module_are_stored_by_sipcap_only(
    kamailio_here: None, tmp_path: Path, payload_type: int
) -> None:
    """What the module hands to its SIP parser and loses (spec 2.5.1) is a row of report_capture in sipcap."""
    case = Case("other", _PAYLOAD, replace(_SHAPES[0], payload_type=payload_type))
    with kamailio.capturing(tmp_path / "oracle") as oracle, product.piping(tmp_path / "product") as sipcap:
        deliver(oracle.port, oracle.database, [case.datagram])
        deliver(sipcap.port, sipcap.database, [case.datagram])
        lost = [oracle.database.rows(table) for table in REPORT_TABLES]
        stored = sipcap.database.rows("report_capture")
    assert lost == [[], [], []]
    assert [(row["type"], row["msg"]) for row in stored] == [(payload_type, _PAYLOAD)]
