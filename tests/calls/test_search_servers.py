"""Search in the databases of servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from sipcap.calls import scan
from sipcap.calls.query import Condition, Query, address_is, equals, node_is
from sipcap.calls.readers.base import Reader
from sipcap.calls.readers.registry import open_reader
from sipcap.calls.rebuild import Found
from sipcap.calls.scan import SqlTables
from sipcap.calls.search import Search
from sipcap.errors import CannotStart
from sipcap.ndjson import encode_records
from sipcap.patterns import read_patterns
from sipcap.record import Record, SipRecord, date_text
from tests.calls.helpers import SECOND, at, offsets
from tests.calls.served import find, reading, store
from tests.conftest import run_sipcap
from tests.support.databases import ServedDatabase
from tests.support.messages import BASE_TS_US
from tests.support.records import records as any_records
from tests.support.records import report_record

UTC = date_text(BASE_TS_US // SECOND)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(st.tuples(any_records, st.binary(max_size=30)), min_size=1, max_size=6))
def test_search_gives_any_record_back(served: ServedDatabase, found: list[tuple[Record, bytes]]) -> None:
    """Every column, the message byte by byte, the envelope; PostgreSQL alone has no NUL in other columns."""
    stored: dict[str, list[Record]] = {"sip_any": [], "report_any": []}
    for record, payload in found:
        record.date = UTC
        record.msg = payload.decode("utf-8", "replace")
        record.msg_b64 = payload if record.msg.encode() != payload else UNSET
        if isinstance(record, SipRecord):
            record.payload_type = 1
        if served.kind == "postgresql":
            for name in record.__struct_fields__:
                if name not in {"msg", "node_name", "source_mac", "tags"} and isinstance(getattr(record, name), str):
                    setattr(record, name, getattr(record, name).replace("\0", ""))
        stored[f"{record.kind}_any"].append(record)
    for name in stored.keys() & served.tables():
        served.execute(f"DELETE FROM {name}")
    store(served, {name: records for name, records in stored.items() if records})
    for name, records in stored.items():
        if records:
            assert find(served, name) == sorted(records, key=lambda one: one.micro_ts)


def test_search_gives_one_stream_in_the_order_of_time(served: ServedDatabase) -> None:
    """Rows of several tables and patterns, stored in any order; those of one time as they were stored."""
    day = 86_400 * SECOND
    store(served, {
        "s_20231114": [at(9), at(3), at(3, 1), at(7 * SECOND)], "s_20231115": [at(day), at(day - 5)],
        "s_20231332": [at(0)], "c": [at(4), at(day + 1)],
    })  # fmt: skip
    records = find(served, "s_%Y%m%d|c")
    assert offsets(records) == [3, 3, 4, 9, 7 * SECOND, day - 5, day, day + 1]
    assert [record.msg for record in records[:2]] == ["msg 0", "msg 1"]
    query = Query(BASE_TS_US + 4, BASE_TS_US + day)
    assert offsets(find(served, "s_%Y%m%d|c", query)) == [4, 9, 7 * SECOND, day - 5]


CONDITIONS: list[tuple[Condition, list[int]]] = [
    (equals("--callid", ["call-2@host", "call-4@host"]), [2, 4]),
    (equals("--callid", ["CALL-2@host"]), []),
    (equals("--callid", ["call-2@host "]), []),
    (equals("--from-user", ["from_user 1"]), [1]),
    (equals("--to-user", ["to_user 3"]), [3]),
    (equals("--ruri-user", ["ruri_user 4"]), [4]),
    (equals("--method", ["method 0"]), [0]),
    (address_is("2001:DB8::1"), [5]),
    (node_is("node 2"), [2]),
    (node_is("x'%_"), [6]),
    (equals("--callid", ["' OR 1=1 --", "%s"]), []),
]  # fmt: skip


def test_search_by_a_condition_finds_exactly_that(served: ServedDatabase) -> None:
    """To the letter, whatever the collation of a column is; quotes and percent signs are only characters."""
    rows = [at(number, number) for number in range(5)]
    rows += [at(5, 5, source_ip="2001:db8::1"), at(6, 6, node="x'%_:7")]
    store(served, {'a%s`"b': rows})
    for condition, expected in CONDITIONS:
        assert offsets(find(served, 'a%%s`"b', Query(conditions=(condition,)))) == expected, condition


@pytest.mark.parametrize("keys", [2])
def test_search_in_small_pieces_finds_the_same(
    served: ServedDatabase, monkeypatch: pytest.MonkeyPatch, keys: int
) -> None:
    """Many rows of one moment, of one Call-ID, with and without indexes: each comes once, wherever a piece ends."""
    for name, value in (
        ("SEARCH_KEYS", keys),
        ("SEARCH_WINDOW_ROWS", 3),
        ("_FIRST_WINDOW_ROWS", 2),
        ("_SLOW_ROWS", keys),
        ("_SLOW_KEYS", keys),
    ):
        monkeypatch.setattr(scan, name, value)
    rows: list[Record] = [at(second * SECOND, number, callid="one")
                          for second in (0, 1, 1, 1, 1, 2, 4) for number in range(2)]  # fmt: skip
    store(served, {"a": rows})
    if served.kind == "postgresql":
        served.execute("CREATE TABLE b AS SELECT * FROM a")
    else:
        served.execute("CREATE TABLE b ENGINE=MyISAM SELECT * FROM a")
    served.execute("CREATE TABLE c (LIKE b)" if served.kind == "postgresql" else "CREATE TABLE c LIKE b")
    served.execute("CREATE INDEX c_date ON c (date)")
    served.execute("INSERT INTO c SELECT * FROM b")
    one_call = Query(conditions=(equals("--callid", ["one"]),))
    for table in "abc":
        assert find(served, table) == rows
        assert find(served, table, one_call) == rows


def plans(reader: Reader, database: ServedDatabase, query: Query) -> Iterator[str]:
    """How the server carries out what is asked of one table, as it estimates."""
    statements: list[tuple[str, Sequence[Any]]] = []
    execute = reader.execute

    def spy(sql: str, params: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        statements.append((sql, params))
        return execute(sql, params)

    reader.execute = spy  # type: ignore[method-assign]
    assert list(Search(SqlTables(reader), read_patterns(["a"]), query).batches())
    for sql, params in statements:
        if " FROM " in sql and reader.quote("a") in sql:
            yield str([list(map(str, row)) for row in execute(f"EXPLAIN {sql}", params)])


@pytest.mark.parametrize(("query", "index"), [
    (Query(BASE_TS_US + 900_000 * SECOND, BASE_TS_US + 901_000 * SECOND), "date"),
    (Query(None, None, (equals("--callid", ["call-7@host"]),)), "callid"),
    (Query(BASE_TS_US, None, (equals("--from-user", ["from_user 7"]),)), "from_user"),
])  # fmt: skip
def test_search_uses_the_indexes(served: ServedDatabase, query: Query, index: str) -> None:
    """By Call-ID and user through their indexes, by time through that of date; never over the whole table."""
    store(served, {"a": [at(number * SECOND * 900, number, msg="x" * 100) for number in range(6_000)]})
    served.execute("ANALYZE a" if served.kind == "postgresql" else "ANALYZE TABLE a")
    with reading(served) as reader:
        found = list(plans(reader, served, query))
    assert any(index in plan for plan in found)
    for plan in found:
        assert "Seq Scan" not in plan, plan
        assert "'ALL'" not in plan, plan


def test_search_goes_on_when_the_connection_was_lost(served: ServedDatabase, caplog: pytest.LogCaptureFixture) -> None:
    """What was not yet read is read over a new one: nothing comes twice, nothing is missing."""
    rows = [at(number, number) for number in range(1_500)]
    store(served, {"a": rows})
    found: list[Found] = []
    with reading(served) as reader:
        batches = Search(SqlTables(reader), read_patterns(["a"]), Query()).batches()
        found += next(batches)
        if served.kind == "postgresql":
            served.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sipcap'")
        else:
            for row in served.execute("SHOW PROCESSLIST"):
                if row["db"] == served.name and row["Command"] == "Sleep":
                    served.execute(f"KILL {row['Id']}")
        for batch in batches:
            found += batch
    assert [one.record for one in found] == rows
    assert "connecting again" in caplog.text


def test_search_holds_no_lock_between_its_batches(served: ServedDatabase) -> None:
    """A slow reader keeps nobody from writing or dropping."""
    store(served, {"a": [at(number, number) for number in range(1_500)], "b": [at(5_000)]})
    with reading(served) as reader:
        search = Search(SqlTables(reader), read_patterns(["a|b"]), Query())
        batches = search.batches()
        first = next(batches)
        wait = "SET lock_timeout = '2s'" if served.kind == "postgresql" else "SET lock_wait_timeout = 2"
        with served.server.session(served.name) as run:
            run(wait)
            run("DROP TABLE a")
        rest = [found.record for batch in batches for found in batch]
    assert offsets(rest) == [5_000]
    assert search.found == len(first) + 1


def test_search_that_cannot_connect_says_why_without_the_password(served: ServedDatabase) -> None:
    """Wrong database, wrong password, nobody there: exit code 3, one line."""
    url = served.url
    for wrong in (
        url.replace(served.name, "nosuch"),
        url.replace("@127", "x@127"),
        url.replace(str(served.server.port), "1"),
    ):
        with pytest.raises(CannotStart) as failure:
            open_reader(wrong)
        assert failure.value.exit_code == 3
        assert "\n" not in str(failure.value)
        assert "c%40p" not in str(failure.value)
        assert "c@p" not in str(failure.value)


def test_search_from_the_command_line_gives_back_what_was_stored(served: ServedDatabase, tmp_path: Path) -> None:
    """``sipcap store`` and then ``sipcap search`` over tables of days and of reports, to the byte."""
    day = 86_400 * SECOND
    payloads = (b"plain", "grüße 😀".encode(), b"\xff\xfe\0bad", b"nul\0", b"\xef\xbf\xbd", b"\x1b[31m\r\n\t")
    lines = b""
    for number, payload in enumerate(payloads):
        text = payload.decode("utf-8", "replace")
        more: dict[str, Any] = {} if text.encode() == payload else {"msg_b64": payload}
        line = encode_records([at(number * day, number, msg=text, **more, vlan=7, tags="ä")])
        lines += line[:-2] + b',"tenant":{"id":1.5,"x":[null]}}\n'
    reports = encode_records([report_record(number, payload_type=5) for number in range(3)])
    done = run_sipcap(["store", "-q", "--db-url", served.url, "--table", "s_%Y%m%d"], tmp_path, stdin=lines + reports)
    assert done.returncode == 0
    for table, expected in (("s_%Y%m%d", lines), ("rtcp_capture", reports)):
        done = run_sipcap(["search", "--db-url", served.url, "--table", table], tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout == expected
