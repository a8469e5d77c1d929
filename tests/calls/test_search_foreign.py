"""Search in tables that somebody else made, or whose dates are odd."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from sipcap.calls import scan
from sipcap.calls.query import Query, address_is, equals, node_is
from sipcap.calls.scan import SqlTables
from sipcap.calls.search import Search
from sipcap.extract import Extractor
from sipcap.patterns import read_patterns
from sipcap.record import SipRecord, date_text
from sipcap.sinks.base import Row
from sipcap.sinks.sqlite import SqliteSink
from sipcap.wire.message import Message
from tests.calls.helpers import SECOND, SpyReader, at, find_records, offsets, plan_of, store
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record


def test_search_uses_an_index_of_micro_ts(db_path: Path) -> None:
    """Who adds one gets exact times without a look at date."""
    store(db_path, {"a": [at(number * SECOND, number, msg="x") for number in range(9)]})
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute("CREATE INDEX mine ON a (micro_ts)")
        connection.execute("UPDATE a SET date = 'nonsense'")
        connection.commit()
    query = Query(BASE_TS_US + 2 * SECOND, BASE_TS_US + 4 * SECOND)
    assert offsets(find_records(db_path, "a", query)) == [2 * SECOND, 3 * SECOND]


def test_search_finds_rows_without_a_date(db_path: Path) -> None:
    """A row whose date is empty or no date is found, in the order of its time, also by time."""
    rows = [at(0), at(1, date=""), at(2), at(3, date="never"), at(4)]
    store(db_path, {"a": rows})
    assert offsets(find_records(db_path, "a")) == [0, 1, 2, 3, 4]
    assert offsets(find_records(db_path, "a", Query(BASE_TS_US + 1, BASE_TS_US + 4))) == [1, 2, 3]


def test_search_finds_rows_whose_date_is_local_time(db_path: Path) -> None:
    """Kamailio writes date in its own zone: --since looks at micro_ts all the same."""
    rows = [at(hour * 3_600 * SECOND) for hour in range(48)]
    for row in rows:
        row.date = date_text(row.micro_ts // SECOND + 14 * 3_600)
    store(db_path, {"a": rows})
    query = Query(BASE_TS_US + 20 * 3_600 * SECOND, BASE_TS_US + 22 * 3_600 * SECOND)
    assert find_records(db_path, "a", query) == rows[20:22]


def test_search_says_when_date_breaks_the_order(
    db_path: Path, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table in which date and time disagree is read whole; that it is not sorted is said once."""
    monkeypatch.setattr(scan, "_FIRST_WINDOW_ROWS", 1)
    monkeypatch.setattr(scan, "SEARCH_WINDOW_ROWS", 1)
    rows = [at(-hour * 3_600 * SECOND) for hour in range(6)]
    for row in rows:
        row.date = date_text(BASE_TS_US // SECOND * 2 - row.micro_ts // SECOND)
    store(db_path, {"a": rows})
    assert sorted(offsets(find_records(db_path, "a"))) == sorted(offsets(list(rows)))
    assert log.text.count("do not agree") == 1


def test_search_reads_what_kamailio_stored(db_path: Path) -> None:
    """Its SQLite table: other columns, date as a Julian day in a REAL, NULL allowed."""
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute(
            "CREATE TABLE sip_capture (id INTEGER PRIMARY KEY, date REAL, micro_ts INTEGER, callid, msg)"
        )
        connection.execute("CREATE INDEX d ON sip_capture (date)")
        for number in range(5):
            ts_us = BASE_TS_US + number * 86_400 * SECOND
            day = (ts_us / SECOND - 0.5) / 86_400 + 2_440_587.5
            connection.execute("INSERT INTO sip_capture VALUES (NULL, ?, ?, ?, ?)", (day, ts_us, f"c{number}", "m"))
        connection.execute("INSERT INTO sip_capture VALUES (NULL, NULL, NULL, NULL, NULL)")
        connection.commit()
    records = find_records(db_path, "sip_capture", Query(BASE_TS_US + 86_400 * SECOND))
    assert [record.callid for record in records if isinstance(record, SipRecord)] == ["c1", "c2", "c3", "c4"]
    assert records[0].date == date_text(records[0].micro_ts // SECOND)
    assert len(find_records(db_path, "sip_capture")) == 6


@pytest.mark.parametrize("ddl", [
    "CREATE TABLE a (micro_ts INTEGER, msg TEXT, id INTEGER, PRIMARY KEY (micro_ts, id)) WITHOUT ROWID",
    "CREATE TABLE a (rowid TEXT, micro_ts INTEGER, msg TEXT, id INTEGER)",
    "CREATE VIEW a AS SELECT 1 AS id, 5 AS micro_ts, 'm' AS msg",
    "CREATE TABLE a (date TEXT, msg TEXT, id INTEGER)",
    "CREATE TABLE a (micro_ts INTEGER UNIQUE, msg TEXT, id INTEGER)",
])  # fmt: skip
def test_search_reads_odd_tables(db_path: Path, ddl: str) -> None:
    """No rowid, a column of that name, a view, no micro_ts: there is some way to tell rows apart and order them."""
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute(ddl)
        if "VIEW" not in ddl:
            time = "date" if "date" in ddl else "micro_ts"
            value = "1970-01-01 00:00:00" if time == "date" else 5
            connection.execute(f"INSERT INTO a ({time}, msg, id) VALUES (?, 'm', 1)", (value,))
            connection.commit()
    assert [record.msg for record in find_records(db_path, "a")] == ["m"]


def test_search_reads_the_tables_of_homer7(db_path: Path) -> None:
    """By Call-ID, user, address, node and time, through their indexes; the columns are read from the message."""
    message = b"INVITE sip:bob@b SIP/2.0\r\nFrom: <sip:alice@a>;tag=1\r\nCall-ID: c-%d@host\r\nCSeq: 1 INVITE\r\n\r\n"
    sink = SqliteSink(db_path, schema="homer7")
    sink.open()
    rows = []
    for number in range(3):
        record = Extractor().record(Message(message % number), BASE_TS_US + number)
        record.source_ip, record.node_name = f"192.0.2.{number}", f"agent{number}"
        rows.append(Row(record, {}))
    report = report_record(9, payload_type=5, correlation_id="c-1@host")
    sink.write("batch", {"hep_proto_1_call": rows, "hep_proto_5_default": [Row(report, {})]})
    sink.close()
    found = find_records(db_path, "hep_proto_1_call")
    assert [(one.micro_ts, one.callid, one.from_user) for one in found if isinstance(one, SipRecord)] == [
        (BASE_TS_US + number, f"c-{number}@host", "alice") for number in range(3)
    ]
    for condition in (
        equals("--callid", ["c-1@host"]), address_is("192.0.2.1"), node_is("agent1"),
    ):  # fmt: skip
        (one,) = find_records(db_path, "hep_proto_1_call", Query(conditions=(condition,)))
        assert one.source_ip == "192.0.2.1"
    both = Query(BASE_TS_US, None, (equals("--callid", ["c-1@host"]),))
    assert [one.kind for one in find_records(db_path, "hep_proto_1_call|hep_proto_5_default", both)] == [
        "sip",
        "report",
    ]
    reader = SpyReader(db_path)
    reader.open()
    query = Query(conditions=(equals("--from-user", ["alice"]),))
    assert Search(SqlTables(reader), read_patterns(["hep_proto_1_call"]), query).batches().__next__()
    reader.close()
    assert any("hep_proto_1_call_from_user" in step for step in plan_of(db_path, reader))


def test_search_finds_rows_without_a_time_once(db_path: Path) -> None:
    """NULL in an indexed column is no end of the walk, and is not met on it."""
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute("CREATE TABLE a (micro_ts INTEGER UNIQUE, msg TEXT)")
        connection.executemany("INSERT INTO a VALUES (?, 'm')", [(None,), (5,), (None,), (7,)])
        connection.commit()
    assert [record.micro_ts for record in find_records(db_path, "a")] == [0, 0, 5, 7]
