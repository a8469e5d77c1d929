"""Search behind ODBC data sources: tables without keys, in the order of time."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from sipcap.calls.query import Condition, Query, address_is, equals, node_is
from sipcap.calls.readers import odbc
from sipcap.calls.readers.registry import open_tables
from sipcap.calls.rebuild import Found
from sipcap.calls.search import Search
from sipcap.errors import CannotStart
from sipcap.ndjson import encode_records
from sipcap.patterns import read_patterns
from sipcap.record import Record, SipRecord, date_text
from tests.calls.helpers import SECOND, at, offsets
from tests.conftest import run_sipcap
from tests.support.databases import Database, rows_of
from tests.support.kamailio_tables import postgresql_sip_table
from tests.support.messages import BASE_TS_US
from tests.support.odbc import OdbcPostgresql, data_sources, odbc_postgresql, odbc_sqlite
from tests.support.records import records as any_records
from tests.support.records import report_record

__all__ = ["data_sources", "odbc_postgresql", "odbc_sqlite"]


@pytest.fixture(params=["odbc_sqlite", "odbc_postgresql"])
def source(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database behind each driver."""
    made: Database = request.getfixturevalue(request.param)
    yield made


def _store(database: Database, tables: Mapping[str, Sequence[Record]]) -> None:
    sink = database.sink()
    sink.write(str(id(tables)) + str(len(database.tables())), {name: rows_of(*rows) for name, rows in tables.items()})


def _find(database: Database, pattern: str, query: Query | None = None, limit: int | None = None) -> list[Found]:
    tables = open_tables(database.url)
    try:
        search = Search(tables, read_patterns([pattern]), query or Query(), limit)
        return [found for batch in search.batches() for found in batch]
    finally:
        tables.close()


def _records(database: Database, pattern: str, query: Query | None = None) -> list[Record]:
    return [found.record for found in _find(database, pattern, query)]


def test_search_odbc_gives_one_stream_in_the_order_of_time(source: Database) -> None:
    """Rows of several tables, stored in any order, more than one stretch has, and many of one moment."""
    many = [at(number * SECOND, number) for number in range(300)]
    moment = [at(1_000 * SECOND, number) for number in range(300, 500)]
    _store(source, {"a": [*reversed(many), *moment], "b": [at(150 * SECOND + 1), at(-5)], "c": [at(7)]})
    found = offsets(_records(source, "a|b"))
    assert found == sorted(found)
    assert len(found) == 502
    assert found[0] == -5
    assert found[151:153] == [150 * SECOND, 150 * SECOND + 1]


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(st.tuples(any_records, st.binary(max_size=30)), min_size=1, max_size=6))
@pytest.mark.timeout(300)
def test_search_odbc_gives_any_record_back(source: Database, found: list[tuple[Record, bytes]]) -> None:
    """Every column, the message byte by byte, the envelope; no NUL in other columns.

    SQLite's driver 0.9998 gives back no character beyond U+FFFFF, which is for private use.
    """
    stored: dict[str, list[Record]] = {"sip_any": [], "report_any": []}
    for record, payload in found:
        record.msg = payload.decode("utf-8", "replace")
        record.msg_b64 = payload if record.msg.encode() != payload else UNSET
        if isinstance(record, SipRecord):
            record.payload_type = 1
        for name in record.__struct_fields__:
            if name != "msg" and isinstance(getattr(record, name), str):
                setattr(record, name, re.sub("[\0\U00100000-\U0010ffff]", "", getattr(record, name)))
        record.vendor_chunks = UNSET  # their keys are such text, too
        record.date = date_text(BASE_TS_US // SECOND)
        stored[f"{record.kind}_any"].append(record)
    for name in stored.keys() & source.tables():
        source.execute(f"DELETE FROM {name}")
    source.execute("DELETE FROM sipcap_batches") if "sipcap_batches" in source.tables() else None
    _store(source, {name: rows for name, rows in stored.items() if rows})
    for name, rows in stored.items():
        if rows:
            assert sorted(encode_records([one]) for one in _records(source, name)) == sorted(
                encode_records([one]) for one in rows
            )


@pytest.mark.parametrize(("condition", "expected"), [
    (equals("--callid", ["call-2@host"]), [2]),
    (equals("--callid", ["call-2@host", "call-4@host"]), [2, 4]),
    (equals("--callid", ["CALL-2@host"]), []),
    (equals("--method", ["method 0"]), [0]),
    (address_is("2001:DB8:0::1"), [5]),
    (address_is("192.0.2.9"), [5]),
    (node_is("node 2"), [2]),
    (node_is("x'%_"), [6]),
    (node_is("x'%_:7"), [6]),
    (equals("--callid", ["' OR 1=1 --"]), []),
])  # fmt: skip
def test_search_odbc_by_a_condition_finds_exactly_that(
    source: Database, condition: Condition, expected: list[int]
) -> None:
    """To the letter, IPv6 in any spelling, a node with or without its id."""
    rows = [at(number, number) for number in range(5)]
    rows += [at(5, 5, source_ip="2001:db8::1", destination_ip="192.0.2.9"), at(6, 6, node="x'%_:7")]
    _store(source, {"a": rows})
    assert offsets(_records(source, "a", Query(conditions=(condition,)))) == expected


def test_search_odbc_by_time_and_limit(source: Database) -> None:
    """From a time on, before another, and no more than asked for."""
    _store(source, {"a": [at(number * SECOND, number) for number in range(500)]})
    query = Query(BASE_TS_US + 100 * SECOND, BASE_TS_US + 400 * SECOND)
    assert offsets(_records(source, "a", query)) == [number * SECOND for number in range(100, 400)]
    assert len(_find(source, "a", query, limit=7)) == 7


def test_search_odbc_holds_a_stretch_of_a_table_in_memory(source: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows match: what is read in one piece is bounded."""
    sizes: list[int] = []
    fetch = odbc.Session.fetch

    def counted(session: odbc.Session, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        rows = fetch(session, sql, params)
        sizes.append(len(rows))
        return rows

    monkeypatch.setattr(odbc.Session, "fetch", counted)
    _store(source, {"a": [at(number * 10, number, msg="x" * 2_000) for number in range(3_000)]})
    tables = open_tables(source.url)
    tracemalloc.start()
    try:
        count = 0
        for batch in Search(tables, read_patterns(["a"]), Query()).batches():
            count += len(batch)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        tables.close()
    assert count == 3_000
    assert max(sizes) <= odbc._ROWS
    assert peak < 6 << 20


def test_search_odbc_of_reports_and_tables_that_are_none(source: Database, log: pytest.LogCaptureFixture) -> None:
    """A report by its correlation id; what cannot be looked in is said."""
    reports = [report_record(number, correlation_id=f"c{number}", payload_type=5) for number in range(3)]
    _store(source, {"rtcp_capture": reports, "sip_capture": [at(0, callid="c1")]})
    source.execute("CREATE TABLE users (name varchar(10))")
    query = Query(conditions=(equals("--callid", ["c1"]),))
    assert [record.kind for record in _records(source, "sip_capture|rtcp_capture", query)] == ["sip", "report"]
    assert _records(source, "users|nosuch_%Y|rtcp_capture", Query(conditions=(equals("--from-user", ["x"]),))) == []
    for text in (
        "users is no table of messages", "no table is called nosuch_%Y", "rtcp_capture has no column for --from-user",
    ):  # fmt: skip
        assert text in log.text


def test_search_odbc_reads_kamailios_table(odbc_postgresql: OdbcPostgresql) -> None:
    """A table of the module, with columns of its types and without some, its dates as points in time."""
    for statement in postgresql_sip_table("sip_capture", msg="bytea").split(";"):
        if statement:
            odbc_postgresql.execute(statement)
    _store(odbc_postgresql, {"sip_capture": [at(number * SECOND, number) for number in range(3)]})
    found = _records(odbc_postgresql, "sip_capture")
    assert offsets(found) == [0, SECOND, 2 * SECOND]
    first = found[0]
    assert isinstance(first, SipRecord)
    assert (first.msg, first.callid, first.date) == ("msg 0", "call-0@host", date_text(BASE_TS_US // SECOND))


def test_search_odbc_of_homer7_reads_the_messages_again(source: Database, tmp_path: Path) -> None:
    """HOMER 7's tables behind ODBC are read as elsewhere, in the order of create_date."""
    lines = encode_records([at(number, 0, msg=f"OPTIONS sip:{number}@x SIP/2.0\r\n\r\n") for number in (5, 3, 9)])
    done = run_sipcap(["store", "-q", "--db-url", source.url, "--schema", "homer7"], tmp_path, stdin=lines)
    assert done.returncode == 0, done.stderr
    (table,) = (name for name in source.tables() if name.startswith("hep_"))
    assert offsets(_records(source, table)) == [3, 5, 9]


def test_search_odbc_goes_on_when_the_connection_was_lost(
    odbc_postgresql: OdbcPostgresql, log: pytest.LogCaptureFixture
) -> None:
    """What was not yet read is read over a new one: nothing comes twice, nothing is missing."""
    rows = [at(number, number) for number in range(1_500)]
    _store(odbc_postgresql, {"a": rows})
    tables = open_tables(odbc_postgresql.url)
    batches = Search(tables, read_patterns(["a"]), Query()).batches()
    found = list(next(batches))
    odbc_postgresql.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{odbc_postgresql.name}'"
        " AND pid <> pg_backend_pid()"
    )
    for batch in batches:
        found += batch
    tables.close()
    assert [one.record for one in found] == rows
    assert "connecting again" in log.text


def test_search_odbc_goes_on_while_its_tables_are_dropped(source: Database) -> None:
    """Rotation does not wait for a slow reader."""
    _store(source, {"a": [at(number, number) for number in range(1_000)], "b": [at(2_000)]})
    tables = open_tables(source.url)
    batches = Search(tables, read_patterns(["a|b"]), Query()).batches()
    next(batches)
    source.execute("DROP TABLE a")
    rest = [found.record for batch in batches for found in batch]
    tables.close()
    assert offsets(rest)[-1] == 2_000


def test_search_odbc_from_the_command_line_gives_back_what_was_stored(source: Database, tmp_path: Path) -> None:
    """``sipcap store`` and then ``sipcap search``, to the byte."""
    payloads = (b"plain", "grüße 😀".encode(), b"\xff\xfe\0bad", b"nul\0", b"\x1b[31m\r\n\t")
    lines = b""
    for number, payload in enumerate(payloads):
        text = payload.decode("utf-8", "replace")
        more: dict[str, Any] = {} if text.encode() == payload else {"msg_b64": payload}
        line = encode_records([at(number * 86_400 * SECOND, number, msg=text, **more, vlan=7)])
        lines += line[:-2] + b',"tenant":{"id":1.5}}\n'
    done = run_sipcap(["store", "-q", "--db-url", source.url, "--table", "s_%Y%m%d"], tmp_path, stdin=lines)
    assert done.returncode == 0
    done = run_sipcap(["search", "--db-url", source.url, "--table", "s_%Y%m%d"], tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == lines


def test_search_odbc_that_cannot_connect_says_why_without_the_password(odbc_postgresql: OdbcPostgresql) -> None:
    """An unknown data source, or a wrong password: exit code 3, one line."""
    url = odbc_postgresql.url
    for wrong in (url.replace(odbc_postgresql.source, "nosuch"), url.replace("@localhost", "x@localhost")):
        with pytest.raises(CannotStart) as failure:
            open_tables(wrong)
        assert failure.value.exit_code == 3
        assert "\n" not in str(failure.value)
        assert "c@p" not in str(failure.value)
