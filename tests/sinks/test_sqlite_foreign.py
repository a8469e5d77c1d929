"""SQLite tables that others made, and that change while we run."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipcap.errors import SinkError
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, message_bytes
from sipcap.sinks.sqlite import SqliteSink
from tests.sinks.test_sqlite import query, rows, sink_at
from tests.support.records import INTEGERS, numbers_of, report_record, rows_of, sip_record, tables_of

MODULES_ORDER = (
    "date", "micro_ts", "method", "reply_reason", "ruri", "ruri_user", "ruri_domain", "from_user", "from_domain",
    "from_tag", "to_user", "to_domain", "to_tag", "pid_user", "contact_user", "auth_user", "callid", "callid_aleg",
    "via_1", "via_1_branch", "cseq", "diversion", "reason", "content_type", "auth", "user_agent", "source_ip",
    "source_port", "destination_ip", "destination_port", "contact_ip", "contact_port", "originator_ip",
    "originator_port", "correlation_id", "custom_field1", "custom_field2", "custom_field3", "proto", "family",
    "rtp_stat", "type", "node", "msg",
)  # fmt: skip
"""The physical order of the columns in the module's own script (spec 9.2)."""


@pytest.fixture
def sink(db_path: Path) -> Iterator[SqliteSink]:
    """A sink over a new file."""
    with sink_at(db_path) as opened:
        yield opened


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged."""
    monkeypatch.setattr(logging.getLogger("sipcap"), "propagate", True)
    caplog.set_level(logging.INFO, "sipcap")
    return caplog


# Tables as they are


def test_table_of_the_module_is_used_as_it_is(db_path: Path, said: pytest.LogCaptureFixture) -> None:
    """The module's own table, in its own order and without sipcap's columns, gets every column that it has."""
    types = {
        name: "int(10) NOT NULL DEFAULT 0" if name in INTEGERS else "varchar(100) NOT NULL DEFAULT ''"
        for name in MODULES_ORDER
    }
    columns = ", ".join(f"`{name}` {kind}" for name, kind in types.items())
    query(db_path, f"CREATE TABLE sip_capture (id integer primary key autoincrement, {columns})")
    record = sip_record(5, msg="a\ufffd", msg_b64=b"a\xff", vlan=3)
    with sink_at(db_path) as sink:
        sink.write("a", {"sip_capture": rows(record)})
        sink.write("b", {"sip_capture": rows(record)})
    expected = tuple(getattr(record, name) for name in SIP_COLUMNS)
    assert rows_of(db_path) == [expected, expected]
    assert said.messages == [
        "table 'sip_capture' has no column msg_raw, envelope; what belongs there is not stored",
    ]


@pytest.mark.parametrize("columns", ["msg", "msg, x, micro_ts", "MICRO_TS, Msg", '"envelope", msg_raw, id, method'])
def test_table_with_some_columns_gets_these(sink: SqliteSink, db_path: Path, columns: str) -> None:
    """Columns are found by name, in any case and order; others are left to their defaults."""
    query(db_path, f"CREATE TABLE t ({columns})")
    record = sip_record(7, msg_b64=b"\xff", vlan=1)
    sink.write("a", {"t": rows(record)})
    names = [name.strip(' "').lower() for name in columns.split(",")]
    values: dict[str, Any] = {name: getattr(record, name) for name in SIP_COLUMNS}
    values |= {"msg_raw": message_bytes(record), "envelope": '{"vlan":1}', "x": None, "id": None}
    assert rows_of(db_path, "t", names) == [tuple(values[name] for name in names)]


def test_table_in_other_letters_is_the_same_table(sink: SqliteSink, db_path: Path) -> None:
    """SQLite's names are the same in any case; a table that lacks columns is used as it is under each of them."""
    query(db_path, "CREATE TABLE SIP_Capture (MICRO_TS, MSG)")
    sink.write("a", {"sip_capture": rows(sip_record(1)), "SIP_CAPTURE": rows(sip_record(2))})
    assert numbers_of(db_path, "SIP_Capture") == [1, 2]
    assert tables_of(db_path) == {"SIP_Capture"}


def test_table_for_reports_may_hold_sip_too(sink: SqliteSink, db_path: Path) -> None:
    """Kinds may share a table; each puts in what the table has."""
    sink.write("a", {"t": rows(report_record(1), sip_record(2)), "u": rows(report_record(3))})
    sink.write("b", {"u": rows(sip_record(4), report_record(5))})
    assert rows_of(db_path, "t", ["method"]) == [("method 2",), ("",)]
    assert rows_of(db_path, "u", REPORT_COLUMNS)[0] == tuple(getattr(report_record(3), name) for name in REPORT_COLUMNS)
    assert sorted(numbers_of(db_path, "u")) == [3, 4, 5]


def test_table_with_generated_columns_is_used(sink: SqliteSink, db_path: Path) -> None:
    """A column that the database computes is not written to."""
    query(db_path, "CREATE TABLE t (micro_ts INTEGER, date TEXT AS (micro_ts / 1000000), msg AS ('x') STORED)")
    sink.write("a", {"t": rows(sip_record())})
    assert rows_of(db_path, "t", ["micro_ts", "date", "msg"]) == [(1_700_000_000_123_456, "1700000000", "x")]


def test_table_that_is_a_view_with_a_trigger_is_used(sink: SqliteSink, db_path: Path) -> None:
    """Whatever takes an INSERT is a table."""
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.executescript(
            "CREATE TABLE real (micro_ts); CREATE VIEW t AS SELECT micro_ts FROM real;"
            "CREATE TRIGGER i INSTEAD OF INSERT ON t BEGIN INSERT INTO real VALUES (new.micro_ts); END;"
        )
    sink.write("a", {"t": rows(sip_record(3))})
    assert numbers_of(db_path, "real") == [3]


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("CREATE TABLE t (a, b)", "none of the columns"),
        ("CREATE TABLE t (micro_ts, theirs NOT NULL)", "NOT NULL constraint failed"),
        ("CREATE TABLE t (micro_ts UNIQUE)", "UNIQUE constraint failed"),
        ("CREATE VIEW t AS SELECT 1 AS micro_ts", "view"),
        ("CREATE TABLE t (micro_ts TEXT) STRICT", None),
        ("CREATE TABLE t (method INTEGER) STRICT", "cannot store TEXT"),
    ],
)
def test_table_that_refuses_a_row_does_so_for_good(
    sink: SqliteSink, db_path: Path, statement: str, reason: str | None
) -> None:
    """What a table never takes is no matter of waiting."""
    query(db_path, statement)
    if reason is None:
        sink.write("a", {"t": rows(sip_record(1))})
        return
    with pytest.raises(SinkError, match=reason) as caught:
        sink.write("a", {"t": rows(sip_record(1), sip_record(1))})
    assert not caught.value.transient


def test_table_missing_is_not_created_if_that_is_forbidden(db_path: Path) -> None:
    """--no-create leaves the making of tables to the administrator."""
    with sink_at(db_path, create=False) as sink:
        with pytest.raises(SinkError, match="table 't' does not exist, and --no-create is set") as caught:
            sink.write("a", {"t": rows(sip_record())})
        assert not caught.value.transient
        query(db_path, "CREATE TABLE t (micro_ts)")
        sink.write("a", {"t": rows(sip_record())})
    assert numbers_of(db_path, "t") == [0]


# Tables that change


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE t",
        "ALTER TABLE t RENAME TO old",
        "ALTER TABLE t DROP COLUMN method",
        "ALTER TABLE t RENAME COLUMN method TO verb",
        "ALTER TABLE t ADD COLUMN more TEXT",
        "DROP TABLE sipcap_batches",
        "VACUUM",
    ],
)
def test_table_changed_while_we_run_goes_on(sink: SqliteSink, db_path: Path, change: str) -> None:
    """Upkeep by others costs no record: the table is looked at again, or made again."""
    sink.write("a", {"t": rows(sip_record(1))})
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute(change)
        connection.commit()
    sink.write("b", {"t": rows(sip_record(2)), "u": rows(sip_record(2))})
    assert numbers_of(db_path, "t")[-1:] == [2] == numbers_of(db_path, "u")
    assert len(query(db_path, "SELECT * FROM sipcap_batches")) > 0


def test_write_after_a_rollback_that_failed_begins_with_a_new_connection(sink: SqliteSink, db_path: Path) -> None:
    """A connection that is left in the middle of a transaction is given up, and its batch can be written again."""

    def deny(action: int, name: str | None, *_: str | None) -> int:
        is_denied = action == sqlite3.SQLITE_TRANSACTION and name == "ROLLBACK"
        return sqlite3.SQLITE_DENY if is_denied or action == sqlite3.SQLITE_INSERT else sqlite3.SQLITE_OK

    sink.write("a", {"t": rows(sip_record(1))})
    assert sink._connection is not None
    sink._connection.set_authorizer(deny)
    with pytest.raises(SinkError, match="not authorized"):
        sink.write("b", {"t": rows(sip_record(2))})
    sink.write("b", {"t": rows(sip_record(2))})
    assert numbers_of(db_path, "t") == [1, 2]


def test_write_where_the_file_cannot_be_looked_at_goes_on(
    sink: SqliteSink, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place that is hidden for a moment is no sign that the file has gone."""

    def hidden(path: Path) -> os.stat_result:
        raise PermissionError(path)

    sink.write("a", {"t": rows(sip_record(1))})
    with monkeypatch.context() as changes:
        changes.setattr(Path, "stat", hidden)
        sink.write("b", {"t": rows(sip_record(2))})
    assert numbers_of(db_path, "t") == [1, 2]
