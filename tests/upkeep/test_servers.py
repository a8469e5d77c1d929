"""Looking after the tables of database servers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sipcap.errors import SinkError
from sipcap.patterns import Period, read_patterns
from sipcap.record import date_text
from sipcap.sinks.base import Row
from sipcap.sinks.registry import open_sink
from sipcap.tables import Step, chosen, plan_rotate
from sipcap.upkeep.carrying import carry_out
from sipcap.upkeep.registry import open_upkeep
from tests.calls.helpers import SECOND, at
from tests.conftest import run_sipcap
from tests.support.databases import ServedDatabase
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record
from tests.upkeep.served import BASE_S, DAY_S, count, day, do, pieces_of, store, upkeep_of


def test_look_tells_sizes_rows_and_times(served: ServedDatabase) -> None:
    """Small tables are counted; an empty one has no times, one that is gone is not there."""
    store(served, {"a": [at(number * SECOND, number) for number in range(100)], "b": [report_record()]})
    do(served.url, Step("create", "x"))
    with upkeep_of(served.url) as upkeep:
        assert sorted(upkeep.names()) == ["a", "b", "x"]
        assert [upkeep.form(name) for name in ("a", "b", "x", "gone")] == ["sip", "report", "sip", ""]
        assert [upkeep.nth_oldest("a", number) for number in (1, 3, 200)] == [BASE_TS_US, BASE_TS_US + 2 * SECOND, None]
    pieces = pieces_of(served.url, "a", "x", "gone")
    assert set(pieces) == {"a", "x"}
    assert (pieces["a"].rows, pieces["a"].exact, pieces["x"].rows) == (100, True, 0)
    assert (pieces["a"].oldest_us, pieces["a"].newest_us) == (BASE_TS_US, BASE_TS_US + 99 * SECOND)
    assert (pieces["x"].oldest_us, pieces["x"].newest_us) == (None, None)
    assert pieces["a"].size_bytes > 0


def test_steps_create_drop_and_delete(served: ServedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sink would create; named tables and no others; old rows in batches, to the microsecond."""
    monkeypatch.setattr("sipcap.upkeep.served.DELETE_ROWS", 7)
    monkeypatch.setattr(f"sipcap.upkeep.{served.kind}.DELETE_ROWS", 7)
    hostile = 'x"; DROP TABLE b; --`%s'
    store(served, {"a": [at(number * SECOND // 2, number) for number in range(40)], "b": [at(0)], hostile: [at(0)]})
    step = Step("delete", "a", before_us=BASE_TS_US + 10 * SECOND + 1)
    patterns = f"a|x|{hostile.replace('%', '%%')}"
    outcomes = do(served.url, Step("create", "x"), Step("drop", hostile), Step("drop", hostile), step, table=patterns)
    assert [(outcome.done, outcome.error) for outcome in outcomes] == [(True, ""), (True, ""), (False, ""), (True, "")]
    assert outcomes[3].rows == 21
    assert count(served, "a") == 19
    assert served.tables() == {"a", "b", "x", "sipcap_batches"}
    created = served.execute("SELECT * FROM x")
    assert created == []
    store(served, {"x": [at(0)]})


def test_tables_with_renamed_columns_are_looked_after(served: ServedDatabase) -> None:
    """They are created so, and read and emptied by these names; the tables of HOMER 7 keep theirs."""
    columns = {"date": "day", "micro_ts": "time_us", "callid": "call_identity"}
    upkeep = open_upkeep(served.url, columns=columns)
    try:
        steps = [Step("create", "a"), Step("create", "x"), Step("create", "hep_proto_1_call")]
        patterns = read_patterns(["a|x|hep_proto_1_call"])
        assert [outcome.error for outcome in carry_out(upkeep, steps, patterns)] == ["", "", ""]
        sink = open_sink(served.url, columns=columns)
        sink.write("one", {"a": [Row(at(number * SECOND, number), {}) for number in range(40)]})
        sink.close()
        assert served.execute("SELECT count(*) AS n FROM a WHERE call_identity <> '' AND time_us > 0")[0]["n"] == 40
        assert [upkeep.form(name) for name in ("a", "x", "hep_proto_1_call")] == ["sip", "sip", "homer7"]
        (piece,) = upkeep.look({"a"})
        assert (piece.rows, piece.oldest_us, piece.newest_us) == (40, BASE_TS_US, BASE_TS_US + 39 * SECOND)
        assert upkeep.nth_oldest("a", 3) == BASE_TS_US + 2 * SECOND
        assert upkeep.delete(Step("delete", "a", before_us=BASE_TS_US + 10 * SECOND), lambda: False) == 10
    finally:
        upkeep.close()


def test_create_of_a_name_that_the_server_would_cut_is_refused(postgresql: ServedDatabase) -> None:
    """PostgreSQL would make another table than the sink asks for."""
    name = "a" * 64
    assert "63 bytes" in do(postgresql.url, Step("create", name), table=name)[0].error
    assert postgresql.tables() == set()


def test_rotate_by_size_twice_deletes_once(served: ServedDatabase) -> None:
    """A server's files stay as large as they were when rows are deleted: what is left counts."""
    store(served, {"a": [at(number * SECOND, number, msg="x" * 3_000) for number in range(2_000)]})
    served.execute("VACUUM ANALYZE a" if served.kind == "postgresql" else "ANALYZE TABLE a")
    left = []
    with upkeep_of(served.url) as upkeep:
        limit = chosen(upkeep.look({"a"}), read_patterns(["a"]))[0].piece.size_bytes // 2
        for _ in range(3):
            pieces = chosen(upkeep.look({"a"}), read_patterns(["a"]))
            steps = plan_rotate(pieces, BASE_S + 9_999, None, limit, upkeep.nth_oldest)
            list(carry_out(upkeep, steps, read_patterns(["a"])))
            left.append(count(served, "a"))
    assert 800 <= left[0] <= 1_200
    assert left[0] - left[2] < 200


def partitioned(database: ServedDatabase) -> list[str]:
    """A table ``t`` with two days as partitions and one for everything later; their names."""
    first, second, third = (date_text(BASE_S // DAY_S * DAY_S + n * DAY_S) for n in range(3))
    names = [day(n).replace("s_", "p") for n in range(2)]
    store(database, {"a": []})
    store(database, {"a": [at(0)]})
    if database.kind == "postgresql":
        database.execute("CREATE TABLE t (LIKE a INCLUDING DEFAULTS) PARTITION BY RANGE (date)")
        database.execute("CREATE INDEX ON t (date)")
        database.execute(f"CREATE TABLE {names[0]} PARTITION OF t FOR VALUES FROM ('{first}') TO ('{second}')")
        database.execute(f"CREATE TABLE {names[1]} PARTITION OF t FOR VALUES FROM ('{second}') TO ('{third}')")
        database.execute("CREATE SEQUENCE ids")
        database.execute("ALTER TABLE t ALTER id SET DEFAULT nextval('ids')")
    else:
        database.execute("CREATE TABLE t LIKE a")
        database.execute("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (id, date)")
        database.execute(
            f"ALTER TABLE t PARTITION BY RANGE COLUMNS (date) (PARTITION {names[0]} VALUES LESS THAN ('{second}'),"
            f" PARTITION {names[1]} VALUES LESS THAN ('{third}'))"
        )
    return names


def test_partitions_are_seen_dropped_and_continued(served: ServedDatabase) -> None:
    """By their bounds: the past goes at once, the future is made as the past was."""
    names = partitioned(served)
    store(served, {"t": [at(number * SECOND) for number in range(5)]})
    start_s = BASE_S // DAY_S * DAY_S
    pieces = pieces_of(served.url, "t")
    assert {name: piece.bounds for name, piece in pieces.items()} == {
        names[0]: Period(start_s, start_s + DAY_S), names[1]: Period(start_s + DAY_S, start_s + 2 * DAY_S),
    }  # fmt: skip
    assert [pieces[name].rows for name in names] == [5, 0]
    assert pieces[names[0]].newest_us == BASE_TS_US + 4 * SECOND
    now_s = start_s + DAY_S + 3_600
    with upkeep_of(served.url) as upkeep:
        all_pieces = upkeep.look({"t"})
        missing = upkeep.missing_partitions(all_pieces, now_s, 2 * DAY_S)
        steps = plan_rotate(chosen(all_pieces, read_patterns(["t"])), now_s, 0, None, upkeep.nth_oldest)
    expected = [day(n).replace("s_", "p") for n in (2, 3)]
    assert [name for name, _ in missing] == expected
    creates = [Step("create", "t", name, period) for name, period in missing]
    assert [(step.action, step.partition) for step in steps] == [("drop", names[0])]
    outcomes = do(served.url, *creates, *creates, *steps, *steps)
    assert [outcome.error for outcome in outcomes] == [""] * 6
    assert [outcome.done for outcome in outcomes[4:]] == [True, False]
    assert set(pieces_of(served.url, "t")) == {names[1], *expected}
    store(served, {"t": [at(3 * DAY_S * SECOND)]})
    assert pieces_of(served.url, "t")[expected[1]].rows == 1


def test_partition_for_everything_else_loses_its_old_rows(served: ServedDatabase) -> None:
    """It has no end and is never dropped."""
    partitioned(served)
    if served.kind == "postgresql":
        served.execute("CREATE TABLE rest PARTITION OF t DEFAULT")
    else:
        served.execute("ALTER TABLE t ADD PARTITION (PARTITION rest VALUES LESS THAN (MAXVALUE))")
    store(served, {"t": [at(5 * DAY_S * SECOND), at(9 * DAY_S * SECOND)]})
    pieces = chosen(pieces_of(served.url, "t").values(), read_patterns(["t"]))
    now_s = BASE_S + 10 * DAY_S
    with upkeep_of(served.url) as upkeep:
        steps = plan_rotate(pieces, now_s, 2 * DAY_S, None, upkeep.nth_oldest)
        assert [(step.action, step.partition) for step in steps][-1] == ("delete", None)
        assert not any(outcome.error for outcome in carry_out(upkeep, steps, read_patterns(["t"])))
    assert {name: piece.rows for name, piece in pieces_of(served.url, "t").items()}["rest"] == 1
    if served.kind == "mysql":
        start_s = BASE_S // DAY_S * DAY_S
        new = Step("create", "t", "p1", Period(start_s + 2 * DAY_S, start_s + 3 * DAY_S))
        assert do(served.url, new)[0].done
        assert set(pieces_of(served.url, "t")) == {"p1", "rest"} | set(pieces_of(served.url, "t")) - {"p1", "rest"}


def test_homer7_tables_and_partitions(served: ServedDatabase) -> None:
    """Made for the time ahead, seen by their bounds or by their own names, and rotated."""
    now_s = BASE_S // 7_200 * 7_200
    create = Step("create", "hep_proto_1_call")
    assert do(served.url, create, table="hep_proto_1_call")[0].done
    if served.kind == "mysql":
        assert pieces_of(served.url, "hep_proto_1_call")["hep_proto_1_call"].bounds is None
        return
    with upkeep_of(served.url) as upkeep:
        missing = upkeep.missing_partitions(upkeep.look({"hep_proto_1_call"}), now_s, 4 * 3_600)
    assert [period for _, period in missing] == [Period(now_s, now_s + 7_200), Period(now_s + 7_200, now_s + 14_400)]
    do(served.url, *(Step("create", "hep_proto_1_call", *one) for one in missing), table="hep_proto_1_call")
    assert set(pieces_of(served.url, "hep_proto_1_call")) == {name for name, _ in missing}
    pattern = read_patterns(["hep_proto_1_call_%Y%m%d_%H%M"])
    with upkeep_of(served.url) as upkeep:
        names = {name for name in upkeep.names() if pattern[0].matches(name)}
        pieces = chosen(upkeep.look(names), pattern)
        steps = plan_rotate(pieces, now_s + 7_201, 0, None, upkeep.nth_oldest)
        assert [step.table for step in steps] == [missing[0][0]]
        assert next(carry_out(upkeep, steps, pattern)).done
    assert set(pieces_of(served.url, "hep_proto_1_call")) == {missing[1][0]}


def test_delete_in_a_table_without_times_is_refused(served: ServedDatabase) -> None:
    """Somebody else's table that the pattern names: an error, and not its rows."""
    served.execute("CREATE TABLE a (id int, name varchar(9))")
    served.execute("INSERT INTO a VALUES (1, 'x')")
    (outcome,) = do(served.url, Step("delete", "a", before_us=BASE_TS_US))
    assert "no table of messages" in outcome.error
    assert count(served, "a") == 1
    with upkeep_of(served.url) as upkeep, pytest.raises(SinkError):
        upkeep.create(Step("create", "a", "p1", Period(0, DAY_S)), "sip")


def test_tables_from_the_command_line(served: ServedDatabase, tmp_path: Path) -> None:
    """All subcommands, as on any other database; the password is not shown."""
    now_us = time.time_ns() // 1_000
    store(served, {f"s_{date_text(now_us // SECOND - n * DAY_S)[:10].replace('-', '')}": [at(now_us - BASE_TS_US)]
                   for n in range(4)})  # fmt: skip
    env = {"SIPCAP_DB_URL": served.url}

    def run(*args: str) -> list[dict[str, Any]]:
        done = run_sipcap(["tables", *args, "--table", "s_%Y%m%d"], tmp_path, env=env)
        assert (done.returncode, done.stderr) == (0, b"")
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert len(run("list")) == 4
    assert [one["action"] for one in run("plan", "--keep", "2d")] == ["drop", "keep", "keep", "keep", "sum"]
    assert [one["done"] for one in run("rotate", "--keep", "2d")] == [True]
    assert len(run("create", "--ahead", "1d")) == 1
    assert len(run("drop", "--before", "now")) == 2
    assert len(served.tables() - {"sipcap_batches"}) == 2
    wrong = run_sipcap(["tables", "list", "--table", "a"], tmp_path, env={"SIPCAP_DB_URL": f"{served.url}x"})
    assert wrong.returncode == 3
    assert b"sip%3A" not in wrong.stderr
