"""HOMER 7's tables in every database."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipcap.errors import SinkError
from sipcap.record import Record
from sipcap.sinks.base import Row, Sink
from sipcap.sinks.homer7 import homer7_row
from sipcap.sinks.homer7_tables import STEP_S
from sipcap.sinks.registry import open_sink
from tests.support.databases import Database, ServedDatabase
from tests.support.homer7 import CALL, NEW_YEAR_US, ROUTER, dates_of, invite, write
from tests.support.records import records, report_record, sip_record

Open = Callable[..., Sink]


@pytest.fixture
def opened(database: Database) -> Iterator[Open]:
    """Opens sinks on the database."""
    sinks: list[Sink] = []

    def open_one(**options: Any) -> Sink:
        sinks.append(open_sink(database.url, schema="homer7", **options))
        return sinks[-1]

    yield open_one
    for sink in sinks:
        sink.close()


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(records, min_size=1, max_size=8), ts_us=st.integers(0, 4_000_000_000_000_000))
def test_write_any_record_is_its_row(database: Database, opened: Open, found: list[Record], ts_us: int) -> None:
    """Each database gives back exactly what the row of a record is; JSON is read as JSON."""
    for number, record in enumerate(found):
        record.micro_ts = ts_us + number
    tables = {ROUTER.table_of(record) for record in found}
    for table in tables & database.tables():
        database.execute(f"DELETE FROM {table}")
    sink = opened()
    adjusted = write(sink, *found)
    sink.close()
    rows = [homer7_row(Row(record, {})) for record in found]
    assert adjusted == (sum(row.is_truncated for row in rows), sum(row.is_sanitised for row in rows))
    for table in tables:
        wanted = [row for record, row in zip(found, rows, strict=True) if ROUTER.table_of(record) == table]
        for stored, row in zip(database.rows(table), wanted, strict=True):
            assert (stored["sid"], stored["raw"]) == (row.sid, row.raw)
            for name in ("protocol_header", "data_header"):
                value = stored[name] if isinstance(stored[name], dict) else json.loads(stored[name])
                assert value == json.loads(getattr(row, name))


def test_write_all_hep_types_have_their_tables(database: Database, opened: Open) -> None:
    """SIP, RTCP, DNS, ISUP, logs and the rest are stored, with and without correlation id; a batch again is nothing."""
    found: list[Record] = [
        invite(NEW_YEAR_US),
        sip_record(method="REGISTER"),
        sip_record(method="200", cseq="1 OPTIONS"),
    ]
    found += [report_record(kind, payload_type=kind, correlation_id="" if kind % 2 else "c") for kind in range(2, 101)]
    tables: dict[str, list[Row]] = {}
    for record in found:
        tables.setdefault(ROUTER.table_of(record), []).append(Row(record, {}))
    sink = opened()
    for _ in range(2):
        sink.write("once", tables)
    assert {name: len(database.rows(name)) for name in tables} == {name: len(rows) for name, rows in tables.items()}
    assert set(tables) == set(STEP_S)


def test_create_date_is_the_packets_own_to_the_microsecond(database: Database, opened: Open) -> None:
    """In UTC, whatever the server's zone."""
    sink = opened()
    write(sink, invite(NEW_YEAR_US - 1))
    if isinstance(database, ServedDatabase) and database.kind == "postgresql":
        assert dates_of(database) == [NEW_YEAR_US - 1]
    else:
        assert str(database.rows(CALL)[0]["create_date"]) == "2023-12-31 23:59:59.999999"


def test_write_long_and_odd_values_are_indexed(database: Database, opened: Open) -> None:
    """What no index would take is cut, and its row stored; the message is whole."""
    long = "".join(chr(0x4E00 + number % 20_000) for number in range(9_000))
    sink = opened()
    assert write(sink, invite(NEW_YEAR_US, callid=long, from_user=long, msg=long)) == (1, 0)
    assert [row["raw"] for row in database.rows(CALL)] == [long]


def test_no_create_refuses_what_has_no_table(database: Database, opened: Open) -> None:
    """An administrator who makes tables himself is not helped."""
    with pytest.raises(SinkError, match="no-create") as caught:
        write(opened(create=False), invite(NEW_YEAR_US))
    assert not caught.value.transient
