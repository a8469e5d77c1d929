"""Columns by other names: the module's ``*_column`` parameters (spec 1.1), in every sink and in search."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipcap.calls.query import Query, equals
from sipcap.calls.readers.registry import open_tables
from sipcap.calls.search import Search
from sipcap.errors import CannotStart
from sipcap.patterns import read_patterns
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, SipRecord
from sipcap.sinks.naming import Naming
from sipcap.sinks.registry import open_sink
from tests.support.databases import Database, rows_of
from tests.support.odbc import OdbcPostgresql, OdbcSqlite
from tests.support.records import report_record, sip_record

NAMES = {
    "callid": "call_id",
    "date": "order",  # a word of SQL
    "micro_ts": "Zeit, in µs",
    "msg": 'x"y`z%s; DROP TABLE sip_capture; --',
    "from_user": "to_user",  # and the other way round
    "to_user": "from_user",
    "correlation_id": "correlation",
}


def _search(url: str, table: str, names: dict[str, str], query: Query | None = None) -> list[object]:
    tables = open_tables(url, names)
    try:
        batches = Search(tables, read_patterns([table]), query or Query()).batches()
        return [found.record for batch in batches for found in batch]
    finally:
        tables.close()


def _check(database: Database, names: dict[str, str]) -> None:
    records = [sip_record(number, payload_type=1) for number in range(3)]
    reports = [report_record(number, payload_type=5) for number in range(3)]
    sink = open_sink(database.url, columns=names)
    sink.write("1", {"sip_capture": rows_of(*records), "rtcp_capture": rows_of(*reports)})
    sink.close()
    again = open_sink(database.url, columns=names)  # the table is there now
    again.write("2", {"sip_capture": rows_of(sip_record(3, payload_type=1))})
    again.close()
    for table, columns in (("sip_capture", SIP_COLUMNS), ("rtcp_capture", REPORT_COLUMNS)):
        (first, *_) = database.execute(f"SELECT * FROM {table}")
        assert {names.get(name, name) for name in columns} <= set(first)
        assert not ({"callid", "date", "msg"} & set(first))
    assert first["correlation"] == "correlation_id 0"
    assert _search(database.url, "sip_capture", names) == [*records, sip_record(3, payload_type=1)]
    assert _search(database.url, "rtcp_capture", names) == reports
    assert _search(database.url, "sip_capture", names, Query(conditions=(equals("--callid", ["call-2@host"]),))) == [
        records[2]
    ]
    assert _search(database.url, "sip_capture", names, Query(conditions=(equals("--from-user", ["from_user 1"]),))) == [
        records[1]
    ]
    assert _search(database.url, "sip_capture", names, Query(records[1].micro_ts, records[2].micro_ts)) == [records[1]]


def test_columns_by_other_names_are_created_filled_and_read(database: Database) -> None:
    """Hostile names are quoted, names that are swapped are told apart, and indexes are on the same columns."""
    _check(database, NAMES)


@pytest.mark.parametrize("kind", ["odbc_sqlite", "odbc_postgresql"])
def test_columns_by_other_names_behind_odbc(kind: str, request: pytest.FixtureRequest) -> None:
    """The same behind a data source."""
    made: OdbcSqlite | OdbcPostgresql = request.getfixturevalue(kind)
    _check(made, NAMES | {"micro_ts": "Zeit, in us"})  # SQLite's driver gives names back in ASCII only


def test_columns_by_other_names_in_db_text(tmp_path: Path) -> None:
    """The first line has them, and search reads them."""
    names = {name: text for name, text in NAMES.items() if text.isascii() and text.isidentifier()}
    url = f"text://{tmp_path}/folder"
    sink = open_sink(url, columns=names)
    sink.write("1", {"sip_capture": rows_of(sip_record(0, payload_type=1))})
    sink.write("2", {"sip_capture": rows_of(sip_record(1, payload_type=1))})
    sink.close()
    head = (tmp_path / "folder" / "sip_capture").read_text().split("\n")[0]
    assert " call_id(" in head
    assert " callid(" not in head
    tables = open_tables(url, names)
    found = [one.record for batch in Search(tables, read_patterns(["sip_capture"]), Query()).batches() for one in batch]
    assert found == [sip_record(0, payload_type=1), sip_record(1, payload_type=1)]
    with pytest.raises(CannotStart, match="db_text"):
        open_sink(url, columns=NAMES)


def test_columns_of_a_table_that_is_there_are_found_by_their_names(database: Database) -> None:
    """A column that has one of our names and is not meant is left alone."""
    database.execute(
        "CREATE TABLE sip_capture (id integer PRIMARY KEY, micro_ts bigint, msg varchar(99), callid integer DEFAULT 7,"
        " Call_ID varchar(99))".replace(
            "id integer PRIMARY KEY", "id serial PRIMARY KEY" if database.kind != "sqlite" else "id integer PRIMARY KEY"
        )
    )
    sink = open_sink(database.url, columns={"callid": "call_id"})
    sink.write("1", {"sip_capture": rows_of(sip_record(0))})
    sink.close()
    (row,) = database.execute("SELECT callid, call_id AS meant FROM sip_capture")
    assert (row["callid"], row["meant"]) == (7, "call-0@host")
    tables = open_tables(database.url, {"callid": "call_id"})
    (batch,) = Search(tables, read_patterns(["sip_capture"]), Query()).batches()
    tables.close()
    record = batch[0].record
    assert isinstance(record, SipRecord)
    assert record.callid == "call-0@host"


@pytest.mark.parametrize("name", ["", "a\0b", " a", "a ", "a\nb", "x" * 64, "é" * 32, "\ud800", "a\x7f"])
def test_name_that_no_column_can_have_is_refused(name: str) -> None:
    """Empty, controls, blanks around, too long for a server, no text."""
    with pytest.raises(CannotStart, match="no column can be called"):
        Naming({"callid": name})


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ({"nosuch": "x"}, "there is no column 'nosuch'"),
        ({"callid": "ruri"}, "cannot both be"),
        ({"callid": "RURI"}, "cannot both be"),
        ({"callid": "id"}, "cannot both be"),
        ({"callid": "envelope"}, "cannot both be"),
        ({"callid": "x", "ruri": "X"}, "cannot both be"),
        ({"id": "x"}, "there is no column 'id'"),
    ],
)
def test_names_that_would_clash_are_refused(names: dict[str, str], text: str) -> None:
    """Two columns of one name, in any case, would overwrite each other; sipcap's own keep theirs."""
    with pytest.raises(CannotStart, match=text):
        Naming(names)


def test_homer7_and_ndjson_keep_their_names(tmp_path: Path) -> None:
    """Their readers know them."""
    for url, schema in ((f"sqlite:///{tmp_path}/x.db", "homer7"), (f"ndjson://{tmp_path}/lines", "sipcapture")):
        sink = open_sink(url, schema=schema, columns={"callid": "call_id"})
        table = "hep_proto_1_call" if schema == "homer7" else "sip_capture"
        sink.write("1", {table: rows_of(sip_record(0))})
        sink.close()
    assert '"callid":"call-0@host"' in (tmp_path / "lines" / "sip_capture.ndjson").read_text()
