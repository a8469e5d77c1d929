"""Records in an SQLite file: tables, values, names, batches, and tables that others made."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from sipcap.errors import SinkError
from sipcap.ndjson import decode_record
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, Record, message_bytes
from sipcap.sinks import sqlite
from sipcap.sinks.base import Row
from sipcap.sinks.rows import REPORT_ROW, SIP_ROW
from sipcap.sinks.sqlite import SqliteSink
from tests.support.records import numbers_of, records, report_record, rows_of, sip_record, tables_of

INDEXED = ("ruri_user", "from_user", "to_user", "pid_user", "auth_user", "callid_aleg", "date", "callid")
"""The module's single-column keys (spec 9.2)."""


def rows(*values: Record) -> list[Row]:
    """Records as a sink takes them."""
    return [Row(record, {}) for record in values]


@contextlib.contextmanager
def sink_at(path: Path, *, create: bool = True) -> Iterator[SqliteSink]:
    """An open sink."""
    sink = SqliteSink(path, create=create)
    sink.open()
    try:
        yield sink
    finally:
        sink.close()


@pytest.fixture
def sink(db_path: Path) -> Iterator[SqliteSink]:
    """A sink over a new file."""
    with sink_at(db_path) as opened:
        yield opened


def query(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """What an SQL statement gives to somebody else; it may change something, too."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(statement).fetchall()


# The file and its tables


@pytest.mark.parametrize(
    ("make", "table", "columns", "indexed"),
    [
        (sip_record, "sip_capture", SIP_ROW, INDEXED),
        (report_record, "report_capture", REPORT_ROW, ("date", "correlation_id")),
    ],
)
def test_table_created_has_the_modules_columns_and_indexes(
    sink: SqliteSink, db_path: Path, make: Any, table: str, columns: tuple[str, ...], indexed: tuple[str, ...]
) -> None:
    """A new table has all columns of the module, the two of sipcap, and the module's indexes."""
    sink.write("b", {table: rows(make())})
    assert {name for _, name, *_ in query(db_path, f"PRAGMA table_info({table})")} == {"id", *columns}
    names = [name for (name,) in query(db_path, f"SELECT name FROM pragma_index_list('{table}')")]
    keys = [query(db_path, f"SELECT name FROM pragma_index_info('{name}')") for name in names]
    assert sorted(keys) == sorted([(column,)] for column in indexed)


def test_file_created_is_wal_incremental_and_the_owners_alone(db_path: Path) -> None:
    """Readers do not stop the writer, space can be given back, and nobody else reads what was captured."""
    before = os.umask(0)
    try:
        with sink_at(db_path) as sink:
            sink.write("b", {"t": rows(sip_record())})
            files = [db_path, *(db_path.with_name(db_path.name + end) for end in ("-wal", "-shm"))]
            assert [oct(stat.S_IMODE(file.stat().st_mode)) for file in files] == ["0o600"] * 3
    finally:
        os.umask(before)
    assert query(db_path, "PRAGMA journal_mode") == [("wal",)]
    assert query(db_path, "PRAGMA auto_vacuum") == [(2,)]


def test_file_that_exists_keeps_its_mode_and_its_tables(db_path: Path) -> None:
    """What an administrator set up is left alone."""
    query(db_path, "CREATE TABLE theirs (x)")
    db_path.chmod(0o640)
    with sink_at(db_path) as sink:
        sink.write("b", {"t": rows(sip_record())})
    assert stat.S_IMODE(db_path.stat().st_mode) == 0o640
    assert tables_of(db_path) == {"theirs", "t"}


def test_file_behind_a_dangling_link_is_created(tmp_path: Path) -> None:
    """A link to where the database shall be is followed."""
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    with sink_at(tmp_path / "link.db") as sink:
        sink.write("b", {"t": rows(sip_record())})
        sink.write("c", {"t": rows(sip_record(1))})
    assert numbers_of(tmp_path / "real.db", "t") == [0, 1]


def test_close_may_be_called_twice_and_leaves_one_file(db_path: Path) -> None:
    """A closed database is one complete file."""
    with sink_at(db_path) as sink:
        sink.write("b", {"t": rows(sip_record())})
        sink.close()
    assert [path.name for path in db_path.parent.iterdir()] == [db_path.name]


# Values

HOSTILE = (
    "", "'", '"', "'); DROP TABLE sip_capture; --", "%s%d{}", "\\", "\r\n\t", "a\0b", "\0", "\ufffd", "\U0001f600",
    "\u202e\u2066", "\ufeff", "NULL", "x" * 1_000_000,
)  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE)
def test_values_text_of_any_kind_comes_back(sink: SqliteSink, db_path: Path, value: str) -> None:
    """Every text column holds any text; msg has no NUL, and msg_raw then has the bytes."""
    text = {name: value for name in SIP_COLUMNS if not isinstance(getattr(sip_record(), name), int)}
    sink.write("b", {"sip_capture": rows(sip_record(**text))})
    expected = {name: getattr(sip_record(), name) for name in SIP_COLUMNS} | text
    expected["msg"] = value.replace("\0", "\ufffd")
    assert rows_of(db_path) == [tuple(expected[name] for name in SIP_COLUMNS)]
    assert rows_of(db_path, columns=["msg_raw"]) == [(value.encode() if "\0" in value else None,)]


@pytest.mark.parametrize("value", [0, -1, 2**31, 2**63 - 1, -(2**63)])
def test_values_integers_of_64_bits_come_back(sink: SqliteSink, db_path: Path, value: int) -> None:
    """Every number column holds 64 bits."""
    numbers = {name: value for name in SIP_COLUMNS if isinstance(getattr(sip_record(), name), int)}
    sink.write("b", {"sip_capture": rows(sip_record(**numbers))})
    assert rows_of(db_path, columns=list(numbers)) == [(value,) * len(numbers)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(record=records)
def test_values_any_record_can_be_made_again_from_its_row(sink: SqliteSink, db_path: Path, record: Record) -> None:
    """Row, msg_raw and envelope together are the record, whatever it holds."""
    query(db_path, "DROP TABLE IF EXISTS t")
    sink.write(os.urandom(8).hex(), {"t": rows(record)})
    columns = SIP_COLUMNS if record.kind == "sip" else REPORT_COLUMNS
    (values,) = rows_of(db_path, "t", [*columns, "msg_raw", "envelope"])
    *values_of_columns, raw, envelope = values
    keys = {"v": 1, "kind": record.kind, **dict(zip(columns, values_of_columns, strict=True))}
    keys |= json.loads(envelope or "{}")
    made, unknown = decode_record(json.dumps(keys).encode(), lambda _: {})
    if raw is not None:
        assert raw == message_bytes(record)
        made.msg, made.msg_b64 = record.msg, record.msg_b64
    assert (made, unknown) == (record, {})


# Names

NAMES = (
    "sip_capture_20231114", "with space", "sip-capture", "1st", "select", "t'", 't"', 't"; DROP TABLE x; --', "t;\nx",
    "t\n", "\u00fcber\U0001f600", "[t]", "`t`", "main.t", "a.b.c", "%s", "?", ":x", "t--", "/*", "report_capture",
    "temp", "sqlite", "x" * 5_000, "sip_capture_date_idx",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_any_text_is_a_table_of_that_name(sink: SqliteSink, db_path: Path, name: str) -> None:
    """A table's name is a name and never SQL."""
    sink.write("a", {"x": rows(sip_record(1)), name: rows(sip_record(2), report_record(3))})
    sink.write("b", {name: rows(sip_record(4))})
    assert numbers_of(db_path, name) == [2, 3, 4]
    assert numbers_of(db_path, "x") == [1]
    assert tables_of(db_path) == {"x", name}
    assert len(query(db_path, "SELECT 1 FROM sqlite_schema WHERE type = 'index' AND sql <> ''")) == 16


@pytest.mark.parametrize("name", ["", "\0", "a\0b", "sqlite_x", "SQLite_Y", "sipcap_batches", "SIPCAP_BATCHES"])
def test_names_that_cannot_be_are_refused_for_good(sink: SqliteSink, db_path: Path, name: str) -> None:
    """A name that no table of messages may have is refused, and the batch leaves nothing."""
    with pytest.raises(SinkError, match="no table for messages") as caught:
        sink.write("b", {"x": rows(sip_record()), name: rows(sip_record())})
    assert not caught.value.transient
    assert tables_of(db_path) == set()


def test_names_in_the_text_of_an_error_are_short(sink: SqliteSink) -> None:
    """A name of a megabyte does not fill the log."""
    with pytest.raises(SinkError) as caught:
        sink.write("b", {"\0" * 1_000_000: rows(sip_record())})
    assert len(str(caught.value)) < 1_000


def test_names_of_indexes_that_are_taken_are_not_gone_without(sink: SqliteSink, db_path: Path) -> None:
    """A table begun after the old one was renamed has its indexes, although the old one kept their names."""
    sink.write("a", {"t": rows(sip_record(1))})
    query(db_path, "ALTER TABLE t RENAME TO t_old")
    sink.write("b", {"t": rows(sip_record(2))})
    assert (numbers_of(db_path, "t_old"), numbers_of(db_path, "t")) == ([1], [2])
    assert query(db_path, "SELECT count(*) FROM pragma_index_list('t')") == [(8,)]


# Batches


def test_batch_is_stored_whole_or_not_at_all(sink: SqliteSink, db_path: Path) -> None:
    """A row that is refused keeps its whole batch out, over all tables, and the next batch is not affected."""
    query(db_path, "CREATE TABLE strict_t (micro_ts INTEGER CHECK (micro_ts % 2 = 0))")
    odd, even = sip_record(1), sip_record(2)
    with pytest.raises(SinkError, match="CHECK") as caught:
        sink.write("a", {"new": rows(even), "strict_t": rows(even, odd), "other": rows(even)})
    assert not caught.value.transient
    assert tables_of(db_path) == {"strict_t"}
    assert numbers_of(db_path, "strict_t") == []
    sink.write("a", {"new": rows(even), "strict_t": rows(even)})
    assert (numbers_of(db_path, "new"), numbers_of(db_path, "strict_t")) == ([2], [2])


def test_batch_written_twice_is_stored_once(sink: SqliteSink, db_path: Path) -> None:
    """A batch whose commit was in doubt can be written again, also by a sink that was opened anew."""
    for _ in range(3):
        sink.write("a-1", {"t": rows(sip_record(1)), "u": rows(report_record(1))})
    with sink_at(db_path) as other:
        other.write("a-1", {"t": rows(sip_record(1))})
        other.write("a-2", {"t": rows(sip_record(1))})
    assert (numbers_of(db_path, "t"), numbers_of(db_path, "u")) == ([1, 1], [1])


def test_batch_ledger_forgets_what_is_old(sink: SqliteSink, db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger holds a day of batches and does not grow for ever."""
    monkeypatch.setattr(sqlite, "_LEDGER_CLEAN_EVERY", 4)
    sink.write("first", {"t": rows(sip_record())})
    query(db_path, "UPDATE sipcap_batches SET committed_s = committed_s - 86400 - 100")
    sink.write("fresh", {"t": rows(sip_record())})
    for number in range(4):
        sink.write(str(number), {"t": rows(sip_record())})
    ledger = query(db_path, "SELECT * FROM sipcap_batches")
    assert {batch for batch, _ in ledger} == {"fresh", "0", "1", "2", "3"}
    assert all(abs(committed_s - time.time()) < 100 for _, committed_s in ledger)


@pytest.mark.parametrize("schema", ["(x)", "(batch_id TEXT)", "(committed_s INTEGER, batch_id TEXT UNIQUE, note TEXT)"])
def test_batch_ledger_of_another_shape_shows_at_the_start(db_path: Path, schema: str) -> None:
    """A foreign table of the ledger's name ends the start, unless it can be used."""
    query(db_path, f"CREATE TABLE sipcap_batches {schema}")
    if "note" not in schema:
        with pytest.raises(Exception, match="as an SQLite database: no such column"):
            SqliteSink(db_path).open()
        return
    with sink_at(db_path) as sink:
        sink.write("b", {"t": rows(sip_record())})
        sink.write("b", {"t": rows(sip_record())})
    assert numbers_of(db_path, "t") == [0]
