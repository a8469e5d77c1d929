"""Which table a record goes to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.errors import CannotStart
from sipcap.extract import Extractor
from sipcap.record import ReportRecord
from sipcap.routing import MT_MODES, Router, expand, split_patterns
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record, sip_record

TABLES = ("t0", "t1", "t2", "t3", "t4")


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/St_Johns"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's time zone, which must not matter."""
    with monkeypatch.context() as changes:
        changes.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize(
    ("texts", "patterns"),
    [
        (["a"], ["a"]),
        (["a|b"], ["a", "b"]),
        (["a", "b|c"], ["a", "b", "c"]),
        (["a||b|"], ["a", "b"]),
        (["|", " a | b "], ["a", "b"]),
        (["a|a"], ["a", "a"]),
        (["sip_%Y%m%d|rest%%"], ["sip_%Y%m%d", "rest%%"]),
        (["\u00fcber \U0001f600", '";DROP TABLE x'], ["\u00fcber \U0001f600", '";DROP TABLE x']),
    ],
)
def test_patterns_are_split_and_empty_pieces_do_not_count(texts: list[str], patterns: list[str]) -> None:
    """``a||b`` is two tables, and a table given twice has twice the share."""
    assert split_patterns(texts) == tuple(patterns)


@pytest.mark.parametrize("texts", [[], [""], ["|", " "], ["a\0b"], ["a|b\udcff"], ["\ufffd"], ["a|%n"]])
def test_patterns_that_are_no_tables_cannot_start(texts: list[str]) -> None:
    """Nothing is received for tables that can never be."""
    with pytest.raises(CannotStart):
        split_patterns(texts)


def test_expand_is_in_utc_of_the_messages_time(zone: str) -> None:
    """A table's date is the message's in UTC, wherever the machine is."""
    router = Router(("sip_%Y%m%d_%H",), "rep_%Y_%m_%d")
    assert router.table_of(sip_record(micro_ts=BASE_TS_US)) == "sip_20231114_22"
    midnight_us = 1_700_006_400_000_000
    assert router.table_of(report_record(micro_ts=midnight_us)) == "rep_2023_11_15"
    assert router.table_of(report_record(micro_ts=midnight_us - 1)) == "rep_2023_11_14"


@given(ts_us=st.integers(-(2**63), 2**63 - 1))
def test_expand_any_time_of_64_bits_gives_a_table(ts_us: int) -> None:
    """Absurd times name absurd tables and do not end a capture."""
    assert expand("t_%Y%m%d%H%M%S", ts_us // 1_000_000).startswith("t_")


@pytest.mark.parametrize("pattern", ["100%", "%", "%Q", "%%Y"])
def test_expand_what_is_no_directive_stays(pattern: str) -> None:
    """A percent sign that begins nothing is a percent sign."""
    assert expand(pattern, 0) == pattern.replace("%%", "%")


@pytest.mark.parametrize("mode", MT_MODES)
def test_mode_with_one_table_always_takes_it(mode: str) -> None:
    """There is nothing to choose."""
    assert {Router(("t",), mt_mode=mode).table_of(sip_record(callid="")) for _ in range(9)} == {"t"}


def test_mode_round_robin_goes_round() -> None:
    """Each table gets its turn, in the order given."""
    router = Router(TABLES[:3], mt_mode="round_robin")
    assert [router.table_of(sip_record(number)) for number in range(7)] == ["t0", "t1", "t2", "t0", "t1", "t2", "t0"]


def test_mode_rand_takes_every_table_about_as_often() -> None:
    """The choice is spread over all tables."""
    router = Router(TABLES)
    counts = Counter(router.table_of(sip_record()) for _ in range(5_000))
    assert set(counts) == set(TABLES)
    assert min(counts.values()) > 700


@pytest.mark.parametrize(
    ("callid", "index"),
    [
        ("abc123@host", 1),
        ("a", 2),
        ("xyz", 1),
        ("1-2345@127.0.0.1", 3),
        ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", 2),
        ("  xyz", 1),
        ("xyz  ", 1),
        ("xyz\tabc", 1),
    ],
)
def test_mode_hash_of_the_call_id_is_the_modules(callid: str, index: int) -> None:
    """Tables are chosen as the module chooses them (spec 4.3), by the first token of the Call-ID."""
    assert Router(TABLES, mt_mode="hash").table_of(sip_record(callid=callid)) == f"t{index}"


@pytest.mark.parametrize("source", ["from_user", "to_user"])
def test_mode_hash_of_a_user_takes_the_whole_value(source: str) -> None:
    """The other sources are hashed as they stand in their column."""
    router = Router(TABLES, mt_mode="hash", hash_source=source)
    assert router.table_of(sip_record(**{source: "xyz", "callid": "a"})) == "t1"
    assert router.table_of(sip_record(**{source: "abc123@host"})) == "t1"


@pytest.mark.parametrize("value", ["", " ", "\u00e4", "\ufffd\U0001f600", "\0"])
def test_mode_hash_of_any_value_is_a_table(value: str) -> None:
    """A message without Call-ID or with an odd one is stored, always in the same table."""
    router = Router(TABLES, mt_mode="hash")
    tables = {router.table_of(sip_record(number, callid=value)) for number in range(5)}
    assert len(tables) == 1
    assert tables <= set(TABLES)


def _hep_report(hep_type: int) -> ReportRecord:
    record = Extractor().record(Message(b"{}", ts_us=BASE_TS_US, payload_type=hep_type), 0)
    assert isinstance(record, ReportRecord)
    return record


@pytest.mark.parametrize("hep_type", [0, 2, 5, 32, 34, 35, 38, 53, 99, 100, 255])
@pytest.mark.parametrize("tells_type", [True, False])
def test_reports_go_by_their_hep_type(hep_type: int, tells_type: bool) -> None:
    """RTCP, logs and the rest have tables of their own, also where a line tells the module's type alone."""
    record = _hep_report(hep_type)
    if not tells_type:
        record = report_record(type=record.type)
    expected = {5: "rtcp_capture", 100: "logs_capture"}.get(hep_type, "report_capture")
    assert Router(("sip_%Y",)).table_of(record) == expected


def test_reports_with_a_table_of_their_own_all_go_there() -> None:
    """--report-table wins over the types; tables of SIP have no part in it."""
    router = Router(TABLES, "reports_%Y", "round_robin")
    assert {router.table_of(_hep_report(hep_type)) for hep_type in (5, 32, 100)} == {"reports_2023"}
    assert router.table_of(sip_record()) == "t0"
