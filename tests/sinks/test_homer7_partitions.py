"""HOMER 7's tables in PostgreSQL: what homer-app and heplify-server meet there."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from sipcap.errors import SinkError
from sipcap.sinks.base import Row, Sink
from sipcap.sinks.homer7 import COLUMNS
from sipcap.sinks.homer7_tables import STEP_S, Bounds
from sipcap.sinks.postgresql_homer7 import Homer7Driver
from sipcap.sinks.registry import open_sink
from tests.support.databases import ServedDatabase
from tests.support.homer7 import CALL, HOUR_US, NEW_YEAR_US, bounds_of, dates_of, invite, write
from tests.support.records import report_record

ABSURD_US = -(2**62)  # 144,000 years before PostgreSQL's calendar begins


@pytest.fixture
def sink(postgresql: ServedDatabase) -> Iterator[Sink]:
    """A sink on PostgreSQL."""
    made = open_sink(postgresql.url, schema="homer7")
    yield made
    made.close()


def _period(start: str, end: str) -> str:
    return f"FOR VALUES FROM ('{start}:00:00+00') TO ('{end}:00:00+00')"


def test_tables_are_all_made_with_the_first_row(postgresql: ServedDatabase, sink: Sink) -> None:
    """homer-app asks for tables that nothing is in; columns, types and order are heplify-server's."""
    write(sink, invite(NEW_YEAR_US))
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
    write(sink, *map(invite, times))
    write(sink, report_record(micro_ts=NEW_YEAR_US - 1, payload_type=5))
    assert bounds_of(postgresql) == {
        f"{CALL}_19700101_0000": _period("1970-01-01 00", "1970-01-01 02"),
        f"{CALL}_20231231_2200": _period("2023-12-31 22", "2024-01-01 00"),
        f"{CALL}_20240101_0000": _period("2024-01-01 00", "2024-01-01 02"),
        f"{CALL}_20240101_0200": _period("2024-01-01 02", "2024-01-01 04"),
    }
    assert bounds_of(postgresql, "hep_proto_5_default") == {
        "hep_proto_5_default_20231231_1800": _period("2023-12-31 18", "2024-01-01 00")
    }
    assert dates_of(postgresql) == times


def test_indexes_have_the_names_that_heplify_server_looks_for(postgresql: ServedDatabase, sink: Sink) -> None:
    """Its CREATE INDEX IF NOT EXISTS, which has no quotes, finds them."""
    write(sink, invite(NEW_YEAR_US))
    name = f"{CALL}_20240101_0000"
    postgresql.execute(f"CREATE INDEX IF NOT EXISTS {name}_srcIp ON {name} ((protocol_header->>'srcIp'))")
    found = postgresql.execute(f"SELECT indexname FROM pg_indexes WHERE tablename = '{name}'")
    assert len(found) == 13
    assert f"{name}_srcip" in {row["indexname"] for row in found}


def test_partitions_of_another_writer_are_used_and_not_overlapped(postgresql: ServedDatabase, sink: Sink) -> None:
    """heplify-server may use other steps; the rest of an hour is filled up with aligned partitions."""
    write(sink, invite(NEW_YEAR_US - 1))
    postgresql.execute(
        f"CREATE TABLE {CALL}_20240101_0000 PARTITION OF {CALL}"
        " FOR VALUES FROM ('2024-01-01 00:00:00+00') TO ('2024-01-01 01:00:00+00')"
    )
    write(sink, invite(NEW_YEAR_US), invite(NEW_YEAR_US + HOUR_US))
    assert bounds_of(postgresql)[f"{CALL}_20240101_0100"] == _period("2024-01-01 01", "2024-01-01 02")
    assert len(bounds_of(postgresql)) == 3


def test_partition_that_somebody_makes_at_the_same_moment_is_used(
    postgresql: ServedDatabase, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not know our lock may be faster."""
    write(sink, invite(NEW_YEAR_US))
    read_bounds = Homer7Driver._read_bounds
    answers: list[list[Bounds]] = [[]]  # as it was a moment before
    monkeypatch.setattr(
        Homer7Driver, "_read_bounds", lambda driver, table: answers.pop() if answers else read_bounds(driver, table)
    )
    late = open_sink(postgresql.url, schema="homer7")
    write(late, invite(NEW_YEAR_US + 1))
    late.close()
    assert answers == []
    assert dates_of(postgresql) == [NEW_YEAR_US, NEW_YEAR_US + 1]


def test_partition_without_a_lower_bound_takes_old_rows(postgresql: ServedDatabase, sink: Sink) -> None:
    """Whatever bounds an administrator has chosen are respected."""
    write(sink, invite(NEW_YEAR_US))
    postgresql.execute(f"CREATE TABLE old PARTITION OF {CALL} FOR VALUES FROM (MINVALUE) TO ('2000-01-01')")
    write(sink, invite(0), invite(NEW_YEAR_US - 1))
    assert set(bounds_of(postgresql)) == {"old", f"{CALL}_20231231_2200", f"{CALL}_20240101_0000"}


def test_partition_that_was_dropped_meanwhile_is_made_again(postgresql: ServedDatabase, sink: Sink) -> None:
    """Upkeep runs beside the writer."""
    write(sink, invite(NEW_YEAR_US))
    postgresql.execute(f"DROP TABLE {CALL}_20240101_0000")
    write(sink, invite(NEW_YEAR_US + 1))
    assert dates_of(postgresql) == [NEW_YEAR_US + 1]


def test_tables_that_were_dropped_meanwhile_are_made_again(postgresql: ServedDatabase, sink: Sink) -> None:
    """Also without their partitions."""
    write(sink, invite(NEW_YEAR_US))
    postgresql.execute(f"DROP TABLE {CALL}")
    write(sink, invite(NEW_YEAR_US + 1))
    assert dates_of(postgresql) == [NEW_YEAR_US + 1]


def test_default_partition_of_somebody_else_takes_the_rows(postgresql: ServedDatabase, sink: Sink) -> None:
    """It is in the way of every other partition, so none is made."""
    write(sink, invite(NEW_YEAR_US))
    postgresql.execute(f"CREATE TABLE rest PARTITION OF {CALL} DEFAULT")
    write(sink, invite(0))
    assert dates_of(postgresql) == [NEW_YEAR_US, 0]
    assert set(bounds_of(postgresql)) == {"rest", f"{CALL}_20240101_0000"}


def test_plain_table_of_somebody_else_takes_the_rows(postgresql: ServedDatabase, sink: Sink) -> None:
    """A table that is not partitioned is used as it is."""
    postgresql.execute(f"CREATE TABLE {CALL} (sid varchar(3), create_date timestamptz, data_header jsonb, raw text)")
    assert write(sink, invite(NEW_YEAR_US), invite(0)) == (2, 0)
    assert _dates_of_plain(postgresql) == [NEW_YEAR_US, 0]


def _dates_of_plain(database: ServedDatabase) -> list[int]:
    found = database.execute(f"SELECT (extract(epoch FROM create_date) * 1000000)::bigint AS us FROM {CALL}")
    return [row["us"] for row in found]


def test_row_of_an_impossible_time_is_refused_alone(postgresql: ServedDatabase, sink: Sink) -> None:
    """It is for the dead-letter file; tables and partitions for the other rows are made without it."""
    with pytest.raises(SinkError) as caught:
        write(sink, invite(NEW_YEAR_US), invite(ABSURD_US))
    assert not caught.value.transient
    write(sink, invite(NEW_YEAR_US))
    assert dates_of(postgresql) == [NEW_YEAR_US]


@pytest.mark.parametrize("ts_us", [2**63 - 1, -(10**16)])
def test_row_of_an_absurd_time_is_stored(postgresql: ServedDatabase, sink: Sink, ts_us: int) -> None:
    """Year 294247 and year 1652 have partitions as well."""
    write(sink, invite(ts_us))
    write(sink, invite(ts_us))
    assert len(bounds_of(postgresql)) == 1
    # extract() is not exact to the microsecond for years so far away
    assert [us // 10_000_000 for us in dates_of(postgresql)] == [ts_us // 10_000_000] * 2


def test_partition_name_that_is_taken_is_an_error_that_says_so(postgresql: ServedDatabase, sink: Sink) -> None:
    """A partition that was detached to be kept is not filled again behind its owner's back."""
    write(sink, invite(NEW_YEAR_US - 1))
    postgresql.execute(f"CREATE TABLE {CALL}_20240101_0000 (id int)")
    with pytest.raises(SinkError, match="already exists") as caught:
        write(sink, invite(NEW_YEAR_US))
    assert not caught.value.transient
    write(sink, invite(NEW_YEAR_US - 1))


def test_no_create_stores_into_partitions_that_are_there(postgresql: ServedDatabase, sink: Sink) -> None:
    """Without the right to create, rows of other times are refused."""
    write(sink, invite(NEW_YEAR_US))
    without = open_sink(postgresql.url, schema="homer7", create=False)
    write(without, invite(NEW_YEAR_US + 1))
    with pytest.raises(SinkError, match="no partition") as caught:
        write(without, invite(0))
    without.close()
    assert not caught.value.transient
    assert len(dates_of(postgresql)) == 2


def test_table_that_is_not_homer_7s_is_refused(postgresql: ServedDatabase, sink: Sink) -> None:
    """No table is made that its readers do not know."""
    with pytest.raises(SinkError, match="no table of HOMER 7"):
        sink.write("1", {"sip_capture": [Row(invite(NEW_YEAR_US), {})]})


def test_writers_at_the_same_time_share_their_partitions(postgresql: ServedDatabase) -> None:
    """Several processes that all meet an empty database store every row once."""
    failures: list[BaseException] = []

    def store(number: int) -> None:
        try:
            sink = open_sink(postgresql.url, schema="homer7")
            for hour in range(4):
                write(sink, *(invite(NEW_YEAR_US + hour * HOUR_US + number * 10 + each) for each in range(10)))
            sink.close()
        except BaseException as error:  # noqa: BLE001  # shown by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=store, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(set(dates_of(postgresql))) == len(dates_of(postgresql)) == 160
    assert len(bounds_of(postgresql)) == 2


def test_reader_in_a_transaction_keeps_no_partition_from_being_made(postgresql: ServedDatabase, sink: Sink) -> None:
    """A long query of homer-app does not stop the capture at the next even hour."""
    write(sink, invite(NEW_YEAR_US))
    with psycopg.connect(postgresql.url) as reader:
        reader.execute(f"SELECT count(*) FROM {CALL}".encode())
        write(sink, invite(NEW_YEAR_US + 2 * HOUR_US))
        assert reader.execute(f"SELECT count(*) FROM {CALL}".encode()).fetchone() == (2,)
