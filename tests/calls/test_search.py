"""Search over tables in an SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipcap.calls import scan
from sipcap.calls.query import Condition, Query, address_is, equals, node_is
from sipcap.calls.scan import SqlTables
from sipcap.calls.search import Search
from sipcap.errors import CannotStart
from sipcap.patterns import read_patterns
from sipcap.record import Record, date_text
from tests.calls.helpers import SECOND, SpyReader, at, find, find_records, offsets, plan_of, searching, store
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record


def test_search_gives_one_stream_in_the_order_of_time(db_path: Path) -> None:
    """Rows of three tables, stored in any order; those of one time as they were stored."""
    store(db_path, {
        "a": [at(9), at(3), at(3, 1), at(7 * SECOND)],
        "b": [at(4), at(0), at(5 * SECOND)],
        "c": [at(86_400 * SECOND), at(-86_400 * SECOND)],
        "d": [at(1)],
    })  # fmt: skip
    records = find_records(db_path, "a|b|c")
    assert offsets(records) == [-86_400 * SECOND, 0, 3, 3, 4, 9, 5 * SECOND, 7 * SECOND, 86_400 * SECOND]
    assert [record.msg for record in records[2:4]] == ["msg 0", "msg 1"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(times=st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 5), st.integers(0, 3)), max_size=60),
       since=st.none() | st.integers(-6, 6), until=st.none() | st.integers(-6, 6))  # fmt: skip
def test_search_is_a_sort_by_time(
    tmp_path_factory: pytest.TempPathFactory, times: list[tuple[str, int, int]], since: int | None, until: int | None
) -> None:
    """Whatever the tables hold and whichever times are asked for, the result is what sorting would give."""
    path = tmp_path_factory.mktemp("db") / "x.db"
    tables: dict[str, list[Record]] = {name: [] for name in "abc"}
    for number, (name, second, micro) in enumerate(times):
        tables[name].append(at(second * SECOND + micro, number))
    store(path, tables)
    since_us = None if since is None else BASE_TS_US + since * SECOND
    until_us = None if until is None else BASE_TS_US + until * SECOND
    everything = sorted((record for name in "abc" for record in tables[name]), key=lambda record: record.micro_ts)
    expected = [
        record for record in everything
        if (since_us is None or record.micro_ts >= since_us) and (until_us is None or record.micro_ts < until_us)
    ]  # fmt: skip
    assert find_records(path, "a|b|c", Query(since_us, until_us)) == expected


@pytest.mark.parametrize("keys", [1, 2, 7])
def test_search_in_small_pieces_finds_the_same(db_path: Path, monkeypatch: pytest.MonkeyPatch, keys: int) -> None:
    """Many rows of one moment, of one Call-ID, or both: each comes once, wherever a piece ends."""
    monkeypatch.setattr(scan, "SEARCH_KEYS", keys)
    monkeypatch.setattr(scan, "SEARCH_WINDOW_ROWS", 3)
    monkeypatch.setattr(scan, "_FIRST_WINDOW_ROWS", 2)
    rows = [at(second * SECOND, number, callid="one") for second in (0, 1, 1, 1, 1, 1, 1, 2, 4) for number in range(3)]
    store(db_path, {"a": rows})
    assert find_records(db_path, "a") == rows
    assert find_records(db_path, "a", Query(conditions=(equals("--callid", ["one"]),))) == rows
    without_index(db_path)
    assert find_records(db_path, "a") == rows
    assert find_records(db_path, "a", Query(conditions=(equals("--callid", ["one"]),))) == rows


def without_index(path: Path) -> None:
    """Make the tables look like somebody's who has no indexes."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
        for (name,) in found.fetchall():
            connection.execute(f'DROP INDEX "{name}"')


@pytest.mark.parametrize(("condition", "expected"), [
    (equals("--callid", ["call-2@host"]), [2]),
    (equals("--callid", ["call-2@host", "call-4@host"]), [2, 4]),
    (equals("--callid", ["CALL-2@host"]), []),
    (equals("--from-user", ["from_user 1"]), [1]),
    (equals("--to-user", ["to_user 3"]), [3]),
    (equals("--ruri-user", ["ruri_user 4"]), [4]),
    (equals("--method", ["method 0"]), [0]),
    (address_is("2001:DB8:0::1"), [5]),
    (address_is("192.0.2.9"), [5]),
    (node_is("node 2"), [2]),
    (node_is("x'%_"), [6]),
    (node_is("x'%_:7"), [6]),
    (equals("--callid", ["' OR 1=1 --"]), []),
])  # fmt: skip
def test_search_by_a_condition_finds_exactly_that(db_path: Path, condition: Condition, expected: list[int]) -> None:
    """To the letter, IPv6 in any spelling, a node with or without its id."""
    rows = [at(number, number) for number in range(5)]
    rows += [at(5, 5, source_ip="2001:db8::1", destination_ip="192.0.2.9"), at(6, 6, node="x'%_:7")]
    store(db_path, {"a": rows})
    assert offsets(find_records(db_path, "a", Query(conditions=(condition,)))) == expected


def test_search_joins_conditions_and_times(db_path: Path) -> None:
    """All of them must hold."""
    store(db_path, {"a": [at(number * SECOND, number % 2) for number in range(6)]})
    query = Query(
        BASE_TS_US + 2 * SECOND, None, (equals("--callid", ["call-1@host"]), equals("--method", ["method 1"]))
    )
    assert offsets(find_records(db_path, "a", query)) == [3 * SECOND, 5 * SECOND]


def test_search_limit_says_that_it_cut(db_path: Path) -> None:
    """A limit that is just reached has cut nothing."""
    store(db_path, {"a": [at(0), at(1)], "b": [at(2)]})
    for limit, cut in ((1, True), (2, True), (3, False), (4, False)):
        with searching(db_path, "a|b", limit=limit) as search:
            found = [found.record for batch in search.batches() for found in batch]
        assert offsets(found) == [0, 1, 2][:limit]
        assert (search.found, search.is_cut) == (len(found), cut)


def test_search_of_reports_by_call_id(db_path: Path) -> None:
    """A report has the Call-ID as its correlation id; what it cannot have is said."""
    reports = [report_record(number, correlation_id=f"c{number}", payload_type=5) for number in range(3)]
    store(db_path, {"rtcp_capture": reports, "sip_capture": [at(0, callid="c1")]})
    found = find_records(db_path, "sip_capture|rtcp_capture", Query(conditions=(equals("--callid", ["c1"]),)))
    assert [record.kind for record in found] == ["sip", "report"]


def test_search_says_which_tables_it_cannot_look_in(db_path: Path, log: pytest.LogCaptureFixture) -> None:
    """No such table, no messages in it, or no column for what is asked: nothing is passed over in silence."""
    store(db_path, {"rtcp_capture": [report_record(payload_type=5)]})
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)")
    assert find(db_path, "rtcp_capture|nosuch_%Y|users", Query(conditions=(equals("--from-user", ["x"]),))) == []
    said = log.text
    assert "no table is called nosuch_%Y" in said
    assert "rtcp_capture has no column for --from-user" in said
    assert "users is no table of messages" in said


def test_search_takes_only_tables_of_the_pattern(db_path: Path) -> None:
    """Names that only look like it, and hostile ones, are other tables; these can be named themselves."""
    hostile = 'x"; DROP TABLE s_20231114; --'
    store(db_path, {"s_20231114": [at(0)], "s_20231332": [at(1)], "s_20231114_old": [at(2)], hostile: [at(3)]})
    assert offsets(find_records(db_path, "s_%Y%m%d")) == [0]
    assert offsets(find_records(db_path, f"{hostile}|s_20231332")) == [1, 3]


def test_search_over_300_tables_opens_each_a_little(db_path: Path) -> None:
    """One stream in the order of time, with the memory of a few rows a table."""
    day = 86_400 * SECOND
    names = [f"s_{date_text(BASE_TS_US // SECOND + number * 86_400)[:10].replace('-', '')}" for number in range(300)]
    store(db_path, {
        name: [at(number * day + row * 1_000, row, msg="x" * 1_000) for row in range(40)]
        for number, name in enumerate(names)
    })  # fmt: skip
    tracemalloc.start()
    try:
        count, last = 0, 0
        with searching(db_path, "s_%Y%m%d") as search:
            for batch in search.batches():
                count += len(batch)
                assert last <= batch[0].record.micro_ts
                last = batch[-1].record.micro_ts
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 300 * 40
    assert peak < 8 << 20


@pytest.mark.parametrize(("query", "index"), [
    (Query(), "a_date_idx"),
    (Query(BASE_TS_US, BASE_TS_US + SECOND), "a_date_idx"),
    (Query(BASE_TS_US, None, (equals("--method", ["method 1"]),)), "a_date_idx"),
    (Query(None, None, (equals("--callid", ["call-1@host"]),)), "a_callid_idx"),
    (Query(BASE_TS_US, None, (equals("--from-user", ["from_user 1"]),)), "a_from_user_idx"),
    (Query(None, None, (equals("--to-user", ["a", "b"]),)), "a_to_user_idx"),
    (Query(None, None, (equals("--ruri-user", ["ruri_user 1"]), node_is("x"))), "a_ruri_user_idx"),
])  # fmt: skip
def test_search_uses_the_indexes(db_path: Path, query: Query, index: str) -> None:
    """No statement walks over a table: by Call-ID and user through their indexes, by time through that of date."""
    store(db_path, {"a": [at(number * SECOND, number) for number in range(300)]})
    reader = SpyReader(db_path)
    reader.open()
    list(Search(SqlTables(reader), read_patterns(["a"]), query).batches())
    reader.close()
    plan = plan_of(db_path, reader)
    assert any(index in step for step in plan)
    for step in plan:
        assert not step.startswith("SCAN a") or "COVERING INDEX a_date_idx" in step, plan


def test_search_by_a_user_of_most_messages_goes_by_time(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that would find most of the table is not asked again and again."""
    monkeypatch.setattr(scan, "SEARCH_KEYS", 100)
    rows = [at(number * SECOND, number, from_user="alice") for number in range(300)]
    store(db_path, {"a": rows})
    reader = SpyReader(db_path)
    reader.open()
    search = Search(SqlTables(reader), read_patterns(["a"]), Query(conditions=(equals("--from-user", ["alice"]),)))
    assert [found.record for batch in search.batches() for found in batch] == rows
    reader.close()
    assert sum("a_from_user_idx" in step for step in plan_of(db_path, reader)) == 1


def test_search_goes_on_while_its_tables_are_dropped(db_path: Path, log: pytest.LogCaptureFixture) -> None:
    """Rotation does not wait for a slow reader; what is gone is counted."""
    store(db_path, {"a": [at(number, number) for number in range(1_000)], "b": [at(2_000), at(3_000)]})
    with searching(db_path, "a|b") as search:
        batches = search.batches()
        first = next(batches)
        with contextlib.closing(sqlite3.connect(db_path, timeout=1)) as connection:
            connection.execute("DROP TABLE a")
        rest = [found.record for batch in batches for found in batch]
    assert offsets(rest) == [2_000, 3_000]
    assert search.found == len(first) + 2
    assert "dropped while it was read" in log.text or search.vanished


def test_search_sees_what_is_stored_meanwhile_or_not_but_never_twice(db_path: Path) -> None:
    """A writer is not kept from writing, and its checkpoint not from shrinking the log."""
    rows = [at(number * 1_000, number) for number in range(2_000)]
    store(db_path, {"a": rows})
    with searching(db_path, "a") as search:
        batches = search.batches()
        found = [one.record for one in next(batches)]
        with contextlib.closing(sqlite3.connect(db_path, timeout=1)) as connection:
            connection.execute(
                "INSERT INTO a SELECT NULL, date, micro_ts" + ", ''" * 42 + ", NULL, NULL FROM a LIMIT 5"
            )
            connection.commit()
            assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        found += [one.record for batch in batches for one in batch]
    assert [record for record in found if record.msg] == rows


@pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be read as a header" * 40])
def test_search_in_a_file_that_is_no_database_cannot_start(db_path: Path, content: bytes) -> None:
    """An empty file has no table; any other is refused. A missing one is not created."""
    with pytest.raises(CannotStart, match="no such database"):
        find(db_path, "a")
    assert not db_path.exists()
    db_path.write_bytes(content)
    if content:
        with pytest.raises(CannotStart, match="not a database"):
            find(db_path, "a")
    else:
        assert find(db_path, "a") == []
