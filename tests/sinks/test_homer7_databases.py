"""HOMER 7's tables in real databases: what homer-app and heplify-server meet there."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipcap.errors import SinkError
from sipcap.record import Record
from sipcap.routing import Router
from sipcap.sinks.base import Adjusted, Row, Sink
from sipcap.sinks.homer7 import COLUMNS, homer7_row
from sipcap.sinks.homer7_tables import STEP_S, Bounds
from sipcap.sinks.postgresql_homer7 import Homer7Driver
from sipcap.sinks.registry import open_sink
from tests.support.databases import Database, ServedDatabase
from tests.support.records import records, report_record, sip_record

CALL = "hep_proto_1_call"
NEW_YEAR_US = 1_704_067_200_000_000
HOUR_US = 3_600_000_000
ABSURD_US = -(2**62)  # 144,000 years before PostgreSQL's calendar begins
Open = Callable[..., Sink]
_router = Router(schema="homer7")


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


@pytest.fixture
def sink(postgresql: ServedDatabase) -> Iterator[Sink]:
    """A sink on PostgreSQL."""
    made = open_sink(postgresql.url, schema="homer7")
    yield made
    made.close()


def _write(sink: Sink, *found: Record) -> Adjusted:
    tables: dict[str, list[Row]] = {}
    for record in found:
        tables.setdefault(_router.table_of(record), []).append(Row(record, {}))
    return sink.write(uuid.uuid4().hex, tables)


def _invite(ts_us: int, **changes: Any) -> Record:
    return sip_record(method="INVITE", micro_ts=ts_us, **changes)


def _bounds(database: ServedDatabase, table: str = CALL) -> dict[str, str]:
    """The partitions of a table and what they take, as the server prints it in UTC."""
    query = (
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        f" WHERE i.inhparent = '{table}'::regclass"
    )
    with psycopg.connect(database.url, options="-c timezone=UTC") as connection:
        return dict(connection.execute(query.encode()).fetchall())


def _period(start: str, end: str) -> str:
    return f"FOR VALUES FROM ('{start}:00:00+00') TO ('{end}:00:00+00')"


def _dates(database: ServedDatabase, table: str = CALL) -> list[int]:
    """The times of all rows in microseconds."""
    found = database.execute(
        f"SELECT (extract(epoch FROM create_date) * 1000000)::bigint AS us FROM {table} ORDER BY id"
    )
    return [row["us"] for row in found]


# Every database


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(records, min_size=1, max_size=8), ts_us=st.integers(0, 4_000_000_000_000_000))
def test_write_any_record_is_its_row(database: Database, opened: Open, found: list[Record], ts_us: int) -> None:
    """Each database gives back exactly what the row of a record is; JSON is read as JSON."""
    for number, record in enumerate(found):
        record.micro_ts = ts_us + number
    tables = {_router.table_of(record) for record in found}
    for table in tables & database.tables():
        database.execute(f"DELETE FROM {table}")
    sink = opened()
    adjusted = _write(sink, *found)
    sink.close()
    rows = [homer7_row(Row(record, {})) for record in found]
    assert adjusted == (sum(row.is_truncated for row in rows), sum(row.is_sanitised for row in rows))
    for table in tables:
        wanted = [row for record, row in zip(found, rows, strict=True) if _router.table_of(record) == table]
        for stored, row in zip(database.rows(table), wanted, strict=True):
            assert (stored["sid"], stored["raw"]) == (row.sid, row.raw)
            for name in ("protocol_header", "data_header"):
                value = stored[name] if isinstance(stored[name], dict) else json.loads(stored[name])
                assert value == json.loads(getattr(row, name))


def test_write_all_hep_types_have_their_tables(database: Database, opened: Open) -> None:
    """SIP, RTCP, DNS, ISUP, logs and the rest are stored, with and without correlation id; a batch again is nothing."""
    found: list[Record] = [
        _invite(NEW_YEAR_US),
        sip_record(method="REGISTER"),
        sip_record(method="200", cseq="1 OPTIONS"),
    ]
    found += [report_record(kind, payload_type=kind, correlation_id="" if kind % 2 else "c") for kind in range(2, 101)]
    tables: dict[str, list[Row]] = {}
    for record in found:
        tables.setdefault(_router.table_of(record), []).append(Row(record, {}))
    sink = opened()
    for _ in range(2):
        sink.write("once", tables)
    assert {name: len(database.rows(name)) for name in tables} == {name: len(rows) for name, rows in tables.items()}
    assert set(tables) == set(STEP_S)


def test_create_date_is_the_packets_own_to_the_microsecond(database: Database, opened: Open) -> None:
    """In UTC, whatever the server's zone."""
    sink = opened()
    _write(sink, _invite(NEW_YEAR_US - 1))
    if isinstance(database, ServedDatabase) and database.kind == "postgresql":
        assert _dates(database) == [NEW_YEAR_US - 1]
    else:
        assert str(database.rows(CALL)[0]["create_date"]) == "2023-12-31 23:59:59.999999"


def test_write_long_and_odd_values_are_indexed(database: Database, opened: Open) -> None:
    """What no index would take is cut, and its row stored; the message is whole."""
    long = "".join(chr(0x4E00 + number % 20_000) for number in range(9_000))
    sink = opened()
    assert _write(sink, _invite(NEW_YEAR_US, callid=long, from_user=long, msg=long)) == (1, 0)
    assert [row["raw"] for row in database.rows(CALL)] == [long]


def test_no_create_refuses_what_has_no_table(database: Database, opened: Open) -> None:
    """An administrator who makes tables himself is not helped."""
    with pytest.raises(SinkError, match="no-create") as caught:
        _write(opened(create=False), _invite(NEW_YEAR_US))
    assert not caught.value.transient


# PostgreSQL's partitions


def test_tables_are_all_made_with_the_first_row(postgresql: ServedDatabase, sink: Sink) -> None:
    """homer-app asks for tables that nothing is in; columns, types and order are heplify-server's."""
    _write(sink, _invite(NEW_YEAR_US))
    assert set(STEP_S) <= postgresql.tables()
    for table in STEP_S:
        found = postgresql.execute(
            "SELECT column_name AS name, data_type AS type, is_nullable AS null, column_default AS preset"
            f" FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
        )
        types = ["bigint", "character varying", "timestamp with time zone", "jsonb", "jsonb", "character varying"]
        assert [row["name"] for row in found] == ["id", *COLUMNS]
        assert [row["type"] for row in found] == types
        assert {row["null"] for row in found} == {"NO"}
        assert found[0]["preset"] == f"nextval('{table}_id_seq'::regclass)"


def test_partitions_are_made_for_the_times_of_rows(postgresql: ServedDatabase, sink: Sink) -> None:
    """An old capture and one over a year's end just load; no default partition is made."""
    times = [NEW_YEAR_US - 1, NEW_YEAR_US, NEW_YEAR_US + 2 * HOUR_US - 1, NEW_YEAR_US + 2 * HOUR_US, HOUR_US]
    _write(sink, *map(_invite, times))
    _write(sink, report_record(micro_ts=NEW_YEAR_US - 1, payload_type=5))
    assert _bounds(postgresql) == {
        f"{CALL}_19700101_0000": _period("1970-01-01 00", "1970-01-01 02"),
        f"{CALL}_20231231_2200": _period("2023-12-31 22", "2024-01-01 00"),
        f"{CALL}_20240101_0000": _period("2024-01-01 00", "2024-01-01 02"),
        f"{CALL}_20240101_0200": _period("2024-01-01 02", "2024-01-01 04"),
    }
    assert _bounds(postgresql, "hep_proto_5_default") == {
        "hep_proto_5_default_20231231_1800": _period("2023-12-31 18", "2024-01-01 00")
    }
    assert _dates(postgresql) == times


def test_indexes_have_the_names_that_heplify_server_looks_for(postgresql: ServedDatabase, sink: Sink) -> None:
    """Its CREATE INDEX IF NOT EXISTS, which has no quotes, finds them."""
    _write(sink, _invite(NEW_YEAR_US))
    name = f"{CALL}_20240101_0000"
    postgresql.execute(f"CREATE INDEX IF NOT EXISTS {name}_srcIp ON {name} ((protocol_header->>'srcIp'))")
    found = postgresql.execute(f"SELECT indexname FROM pg_indexes WHERE tablename = '{name}'")
    assert len(found) == 13
    assert f"{name}_srcip" in {row["indexname"] for row in found}


def test_partitions_of_another_writer_are_used_and_not_overlapped(postgresql: ServedDatabase, sink: Sink) -> None:
    """heplify-server may use other steps; the rest of an hour is filled up with aligned partitions."""
    _write(sink, _invite(NEW_YEAR_US - 1))
    postgresql.execute(
        f"CREATE TABLE {CALL}_20240101_0000 PARTITION OF {CALL}"
        " FOR VALUES FROM ('2024-01-01 00:00:00+00') TO ('2024-01-01 01:00:00+00')"
    )
    _write(sink, _invite(NEW_YEAR_US), _invite(NEW_YEAR_US + HOUR_US))
    assert _bounds(postgresql)[f"{CALL}_20240101_0100"] == _period("2024-01-01 01", "2024-01-01 02")
    assert len(_bounds(postgresql)) == 3


def test_partition_that_somebody_makes_at_the_same_moment_is_used(
    postgresql: ServedDatabase, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not know our lock may be faster."""
    _write(sink, _invite(NEW_YEAR_US))
    read_bounds = Homer7Driver._read_bounds
    answers: list[list[Bounds]] = [[]]  # as it was a moment before
    monkeypatch.setattr(
        Homer7Driver, "_read_bounds", lambda driver, table: answers.pop() if answers else read_bounds(driver, table)
    )
    late = open_sink(postgresql.url, schema="homer7")
    _write(late, _invite(NEW_YEAR_US + 1))
    late.close()
    assert answers == []
    assert _dates(postgresql) == [NEW_YEAR_US, NEW_YEAR_US + 1]


def test_partition_without_a_lower_bound_takes_old_rows(postgresql: ServedDatabase, sink: Sink) -> None:
    """Whatever bounds an administrator has chosen are respected."""
    _write(sink, _invite(NEW_YEAR_US))
    postgresql.execute(f"CREATE TABLE old PARTITION OF {CALL} FOR VALUES FROM (MINVALUE) TO ('2000-01-01')")
    _write(sink, _invite(0), _invite(NEW_YEAR_US - 1))
    assert set(_bounds(postgresql)) == {"old", f"{CALL}_20231231_2200", f"{CALL}_20240101_0000"}


def test_partition_that_was_dropped_meanwhile_is_made_again(postgresql: ServedDatabase, sink: Sink) -> None:
    """Upkeep runs beside the writer."""
    _write(sink, _invite(NEW_YEAR_US))
    postgresql.execute(f"DROP TABLE {CALL}_20240101_0000")
    _write(sink, _invite(NEW_YEAR_US + 1))
    assert _dates(postgresql) == [NEW_YEAR_US + 1]


def test_tables_that_were_dropped_meanwhile_are_made_again(postgresql: ServedDatabase, sink: Sink) -> None:
    """Also without their partitions."""
    _write(sink, _invite(NEW_YEAR_US))
    postgresql.execute(f"DROP TABLE {CALL}")
    _write(sink, _invite(NEW_YEAR_US + 1))
    assert _dates(postgresql) == [NEW_YEAR_US + 1]


def test_default_partition_of_somebody_else_takes_the_rows(postgresql: ServedDatabase, sink: Sink) -> None:
    """It is in the way of every other partition, so none is made."""
    _write(sink, _invite(NEW_YEAR_US))
    postgresql.execute(f"CREATE TABLE rest PARTITION OF {CALL} DEFAULT")
    _write(sink, _invite(0))
    assert _dates(postgresql) == [NEW_YEAR_US, 0]
    assert set(_bounds(postgresql)) == {"rest", f"{CALL}_20240101_0000"}


def test_plain_table_of_somebody_else_takes_the_rows(postgresql: ServedDatabase, sink: Sink) -> None:
    """A table that is not partitioned is used as it is."""
    postgresql.execute(f"CREATE TABLE {CALL} (sid varchar(3), create_date timestamptz, data_header jsonb, raw text)")
    assert _write(sink, _invite(NEW_YEAR_US), _invite(0)) == (2, 0)
    assert _dates_of_plain(postgresql) == [NEW_YEAR_US, 0]


def _dates_of_plain(database: ServedDatabase) -> list[int]:
    found = database.execute(f"SELECT (extract(epoch FROM create_date) * 1000000)::bigint AS us FROM {CALL}")
    return [row["us"] for row in found]


def test_row_of_an_impossible_time_is_refused_alone(postgresql: ServedDatabase, sink: Sink) -> None:
    """It is for the dead-letter file; tables and partitions for the other rows are made without it."""
    with pytest.raises(SinkError) as caught:
        _write(sink, _invite(NEW_YEAR_US), _invite(ABSURD_US))
    assert not caught.value.transient
    _write(sink, _invite(NEW_YEAR_US))
    assert _dates(postgresql) == [NEW_YEAR_US]


@pytest.mark.parametrize("ts_us", [2**63 - 1, -(10**16)])
def test_row_of_an_absurd_time_is_stored(postgresql: ServedDatabase, sink: Sink, ts_us: int) -> None:
    """Year 294247 and year 1652 have partitions as well."""
    _write(sink, _invite(ts_us))
    _write(sink, _invite(ts_us))
    assert len(_bounds(postgresql)) == 1
    # extract() is not exact to the microsecond for years so far away
    assert [us // 10_000_000 for us in _dates(postgresql)] == [ts_us // 10_000_000] * 2


def test_partition_name_that_is_taken_is_an_error_that_says_so(postgresql: ServedDatabase, sink: Sink) -> None:
    """A partition that was detached to be kept is not filled again behind its owner's back."""
    _write(sink, _invite(NEW_YEAR_US - 1))
    postgresql.execute(f"CREATE TABLE {CALL}_20240101_0000 (id int)")
    with pytest.raises(SinkError, match="already exists") as caught:
        _write(sink, _invite(NEW_YEAR_US))
    assert not caught.value.transient
    _write(sink, _invite(NEW_YEAR_US - 1))


def test_no_create_stores_into_partitions_that_are_there(postgresql: ServedDatabase, sink: Sink) -> None:
    """Without the right to create, rows of other times are refused."""
    _write(sink, _invite(NEW_YEAR_US))
    without = open_sink(postgresql.url, schema="homer7", create=False)
    _write(without, _invite(NEW_YEAR_US + 1))
    with pytest.raises(SinkError, match="no partition") as caught:
        _write(without, _invite(0))
    without.close()
    assert not caught.value.transient
    assert len(_dates(postgresql)) == 2


def test_table_that_is_not_homer_7s_is_refused(postgresql: ServedDatabase, sink: Sink) -> None:
    """No table is made that its readers do not know."""
    with pytest.raises(SinkError, match="no table of HOMER 7"):
        sink.write("1", {"sip_capture": [Row(_invite(NEW_YEAR_US), {})]})


def test_writers_at_the_same_time_share_their_partitions(postgresql: ServedDatabase) -> None:
    """Several processes that all meet an empty database store every row once."""
    failures: list[BaseException] = []

    def store(number: int) -> None:
        try:
            sink = open_sink(postgresql.url, schema="homer7")
            for hour in range(4):
                _write(sink, *(_invite(NEW_YEAR_US + hour * HOUR_US + number * 10 + each) for each in range(10)))
            sink.close()
        except BaseException as error:  # noqa: BLE001  # shown by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=store, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(set(_dates(postgresql))) == len(_dates(postgresql)) == 160
    assert len(_bounds(postgresql)) == 2


def test_reader_in_a_transaction_keeps_no_partition_from_being_made(postgresql: ServedDatabase, sink: Sink) -> None:
    """A long query of homer-app does not stop the capture at the next even hour."""
    _write(sink, _invite(NEW_YEAR_US))
    with psycopg.connect(postgresql.url) as reader:
        reader.execute(f"SELECT count(*) FROM {CALL}".encode())
        _write(sink, _invite(NEW_YEAR_US + 2 * HOUR_US))
        assert reader.execute(f"SELECT count(*) FROM {CALL}".encode()).fetchone() == (2,)
