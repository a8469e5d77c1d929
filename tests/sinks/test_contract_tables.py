"""What every sink of records does with tables: those that are missing, and those that exist already."""

from __future__ import annotations

import logging

import pytest

from sipcap.ddl import read_statements
from sipcap.errors import SinkError
from tests.support.databases import Database, rows_of
from tests.support.records import report_record, sip_record

NAMES = (
    'a"b', "a`b", "a'b", "a;b -- c", "a b", "%s %d %(x)s", "{x}", "SELECT", "UPPER", "ü-名前", "a\\b", "a\nb", "$1",
    "123", "x" * 63,
)  # fmt: skip


def test_write_table_of_any_name_is_created(database: Database) -> None:
    """Names are quoted: what they contain has no meaning."""
    sink = database.sink()
    for batch in range(2):
        sink.write(f"{batch}", {name: rows_of(sip_record(batch)) for name in NAMES})
    assert database.tables() >= {*NAMES, "sipcap_batches"}
    for name in NAMES:
        assert [row["callid"] for row in database.rows(name)] == ["call-0@host", "call-1@host"], name


@pytest.mark.parametrize("name", ["sipcap_batches", "SIPCAP_BATCHES", "", "a\0b"])
def test_write_reserved_name_is_refused(database: Database, name: str) -> None:
    """The ledger is no table for messages, and nameless tables do not exist."""
    with pytest.raises(SinkError) as caught:
        database.sink().write("1", {name: rows_of(sip_record(1))})
    assert not caught.value.transient


def test_write_without_create_refuses_a_missing_table(database: Database) -> None:
    """With --no-create, tables that are there are filled and no others are made."""
    database.sink().write("1", {"sip_capture": rows_of(sip_record(1))})
    sink = database.sink(create=False)
    sink.write("2", {"sip_capture": rows_of(sip_record(2))})
    with pytest.raises(SinkError, match="no-create") as caught:
        sink.write("3", {"other": rows_of(sip_record(3))})
    assert not caught.value.transient
    assert "other" not in database.tables()
    assert len(database.rows()) == 2


def test_write_foreign_table_takes_what_it_has_columns_for(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A table that exists is used as it is; what it lacks is said once, by name."""
    database.execute("CREATE TABLE narrow (extra int, msg text, micro_ts bigint, callid varchar(100))")
    sink = database.sink()
    with caplog.at_level(logging.WARNING, "sipcap"):
        for number in range(3):
            sink.write(f"{number}", {"narrow": rows_of(sip_record(number, msg="INVITE"))})
    stored = database.rows("narrow", "micro_ts")
    assert [(row["extra"], row["msg"], row["callid"]) for row in stored] == [
        (None, "INVITE", f"call-{number}@host") for number in range(3)
    ]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "method" in said
    assert "envelope" in said
    assert "callid," not in said


def test_write_table_with_no_column_of_ours_is_refused(database: Database) -> None:
    """A table that has nothing to do with messages stays untouched."""
    database.execute("CREATE TABLE accounts (name varchar(50), secret varchar(50))")
    with pytest.raises(SinkError, match="none of the columns") as caught:
        database.sink().write("1", {"accounts": rows_of(sip_record(1))})
    assert not caught.value.transient


def test_write_table_dropped_meanwhile_is_made_again(database: Database) -> None:
    """Somebody may drop a table that is being filled."""
    sink = database.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    database.execute("DROP TABLE sip_capture")
    sink.write("2", {"sip_capture": rows_of(sip_record(2))})
    assert [row["callid"] for row in database.rows()] == ["call-2@host"]


def test_write_column_dropped_meanwhile_is_left_out(database: Database) -> None:
    """Somebody may alter a table that is being filled."""
    database.execute("CREATE TABLE narrow (msg text, micro_ts bigint, method varchar(50))")
    sink = database.sink()
    sink.write("1", {"narrow": rows_of(sip_record(1))})
    database.execute("ALTER TABLE narrow DROP COLUMN method")
    sink.write("2", {"narrow": rows_of(sip_record(2))})
    assert len(database.rows("narrow", "micro_ts")) == 2


def test_write_ledger_dropped_meanwhile_is_made_again(database: Database) -> None:
    """The table of batch ids, too, comes back."""
    sink = database.sink()
    sink.write("1", {"sip_capture": rows_of(sip_record(1))})
    database.execute("DROP TABLE sipcap_batches")
    sink.write("2", {"sip_capture": rows_of(sip_record(2))})
    sink.write("2", {"sip_capture": rows_of(sip_record(2))})
    assert len(database.rows()) == 2


def test_definitions_as_they_stand_make_the_tables_that_the_sink_fills(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """An administrator may run the files of sql/ by hand, twice as well."""
    for name in ("sip", "report", "batches") * 2:
        for statement in read_statements(database.kind, name):
            database.execute(statement)
    tables = {"sip_capture": rows_of(sip_record(1)), "report_capture": rows_of(report_record(1))}
    database.sink(create=False).write("1", tables)
    assert [len(database.rows(name)) for name in tables] == [1, 1]
    assert caplog.records == []
