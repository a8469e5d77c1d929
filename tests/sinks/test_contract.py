"""What every sink of records does, whatever the database: see ``sipcap/sinks/base.py``."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipcap.batching import Batcher, BatchOptions
from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.errors import SinkError
from sipcap.ndjson import encode_records
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, Record, SipRecord, message_bytes
from sipcap.sinks.base import RemembersBatches, Row
from sipcap.sinks.registry import open_sink
from tests.conftest import SIPCAP, TIMEOUT_S, environment
from tests.support.databases import Database, RowDict, rows_of
from tests.support.records import records, report_record, sip_lines, sip_record

UTC = "2023-11-14 22:13:20"


def stored_text(database: Database, text: str) -> str:
    """How a column of text holds a value: PostgreSQL, for one, has no NUL."""
    return text if database.takes_nul else text.replace("\0", "\ufffd")


def assert_equal(database: Database, row: RowDict, record: Record) -> None:
    """A row holds all of a record: its columns, its exact message, its envelope."""
    columns = SIP_COLUMNS if isinstance(record, SipRecord) else REPORT_COLUMNS
    for name in columns:
        value = getattr(record, name)
        if name != "msg":
            assert row[name] == (stored_text(database, value) if isinstance(value, str) else value), name
    exact = row["msg"].encode() if row["msg_raw"] is None else bytes(row["msg_raw"])
    assert exact == message_bytes(record)
    line = json.loads(encode_records([record]))
    rest = {key: value for key, value in line.items() if key not in {"v", "kind", "msg_b64", *columns}}
    assert json.loads(row["envelope"] or "{}") == rest


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(records, min_size=1, max_size=8))
def test_write_any_record_comes_back_equal(database: Database, found: list[Record]) -> None:
    """Every column of any record is read back as it was, the message byte by byte, and counted if it could not be."""
    tables: dict[str, list[Row]] = {"sip_any": [], "report_any": []}
    for record in found:
        record.date = UTC  # the one column that has a form to keep
        tables[f"{record.kind}_any"].append(Row(record, {}))
    for name in tables.keys() & database.tables():
        database.execute(f"DELETE FROM {name}")
    sink = database.sink()
    adjusted = sink.write(uuid.uuid4().hex, {name: rows for name, rows in tables.items() if rows})
    sink.close()
    texts = [name for name in SIP_COLUMNS if name != "msg"]
    inexact = [each for each in found if any("\0" in str(getattr(each, name, "")) for name in texts)]
    assert adjusted == (0, 0 if database.takes_nul else len(inexact))
    for name, rows in tables.items():
        if rows:
            for stored, row in zip(database.rows(name), rows, strict=True):
                assert_equal(database, stored, row.record)


def test_write_report_comes_back_equal(database: Database) -> None:
    """Reports have a table of their own kind, with everything of theirs in it."""
    report = report_record(1, msg="a\0b", payload_type=5)
    database.sink().write("1", {"rtcp_capture": rows_of(report)})
    (row,) = database.rows("rtcp_capture")
    assert_equal(database, row, report)


def test_write_both_kinds_share_a_table(database: Database) -> None:
    """SIP and reports may go into one table, which has the columns of SIP."""
    database.sink().write("1", {"mixed": rows_of(sip_record(1), report_record(2), sip_record(3))})
    assert sorted(row["micro_ts"] - sip_record(0).micro_ts for row in database.rows("mixed")) == [1, 2, 3]


def test_write_huge_message_comes_back_equal(database: Database) -> None:
    """A message of megabytes is stored, as text and as bytes."""
    payload = bytes(range(256)) * 12_000
    record = sip_record(1, msg=payload.decode(errors="replace"), msg_b64=payload)
    database.sink().write("1", {"sip_capture": rows_of(record)})
    assert_equal(database, database.rows()[0], record)


def test_write_unknown_keys_are_in_the_envelope(database: Database) -> None:
    """Keys that sipcap does not know come out again."""
    database.sink().write("1", {"sip_capture": [Row(sip_record(1), {"x-site": "Zürich", "n": [1, None]})]})
    assert json.loads(database.rows()[0]["envelope"]) == {"x-site": "Zürich", "n": [1, None]}


def test_write_same_batch_twice_stores_it_once(database: Database) -> None:
    """A batch whose commit was in doubt may be given again, also by a new process."""
    tables = {"sip_capture": rows_of(sip_record(1), sip_record(2))}
    sink = database.sink()
    sink.write("same", tables)
    sink.write("same", tables)
    database.sink().write("same", tables)
    sink.write("other", tables)
    assert len(database.rows()) == 4


def test_write_refused_row_stores_nothing_of_the_batch(database: Database) -> None:
    """A batch is whole or absent over all its tables, and its id stays free."""
    make_choosy(database)
    sink = database.sink()
    tables = {"sip_capture": rows_of(sip_record(1)), "choosy": rows_of(sip_record(2), sip_record(3, method="BAD"))}
    for _ in range(2):
        with pytest.raises(SinkError) as caught:
            sink.write("1", tables)
        assert not caught.value.transient
    assert "sip_capture" not in database.tables() or database.rows() == []
    assert database.rows("choosy", "micro_ts") == []
    sink.write("1", {"choosy": rows_of(sip_record(2))})
    assert len(database.rows("choosy", "micro_ts")) == 1


def make_choosy(database: Database) -> None:
    """A foreign table that refuses rows of method BAD."""
    database.execute(
        "CREATE TABLE choosy (micro_ts bigint NOT NULL, method varchar(50) NOT NULL CHECK (method <> 'BAD'), msg text)"
    )


def test_write_machine_in_tokyo_stores_utc(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the zone of the process nor the server's changes a date."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        database.sink().write("1", {"sip_capture": rows_of(sip_record(1))})
    finally:
        monkeypatch.undo()
        time.tzset()
    assert database.rows()[0]["date"] == UTC


def test_write_two_writers_at_once_lose_nothing(database: Database) -> None:
    """Two processes' worth of writers fill the same tables, in different order."""
    failures: list[BaseException] = []

    def fill(writer: int) -> None:
        names = ("one", "two") if writer else ("two", "one")
        try:
            with contextlib.closing(open_sink(database.url)) as sink:
                for batch in range(10):
                    sink.write(f"{writer}-{batch}", {name: rows_of(*map(sip_record, range(20))) for name in names})
        except BaseException as error:  # noqa: BLE001  # shown by the assertion
            failures.append(error)

    threads = [threading.Thread(target=fill, args=(writer,)) for writer in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert failures == []
    assert [len(database.rows(name)) for name in ("one", "two")] == [400, 400]


def test_store_processes_that_start_at_once_create_each_table_once(database: Database, tmp_path: Path) -> None:
    """Several processes may find the same tables missing in the same moment."""
    (tmp_path / "lines").write_bytes(sip_lines(20))
    command = [*SIPCAP, "store", "--db-url", database.url, "--table", "one_%Y|two_%Y", str(tmp_path / "lines")]
    env = environment({"SIPCAP_STORE_MT_MODE": "round_robin"})
    started = [subprocess.Popen(command, env=env, cwd=tmp_path, stderr=subprocess.PIPE) for _ in range(4)]
    said = [each.communicate(timeout=TIMEOUT_S)[1] for each in started]
    assert [each.returncode for each in started] == [0] * 4, said
    assert [len(database.rows(name)) for name in ("one_2023", "two_2023")] == [40, 40]


def test_batcher_refused_rows_are_dead_letters_alone(database: Database, tmp_path: Path) -> None:
    """Rows that the database refuses are found among the others, which are stored."""
    make_choosy(database)
    counters = Counters()
    letters = DeadLetterFile(tmp_path / "dead.ndjson")
    batcher = Batcher(database.sink(), BatchOptions(size=100), counters, letters)
    for number in range(100):
        batcher.add("choosy", Row(sip_record(number, method="BAD" if number in {0, 50, 51} else "INVITE"), {}))
    batcher.flush()
    letters.close()
    assert (counters.stored, counters.dead_letter) == (97, 3)
    assert len(database.rows("choosy", "micro_ts")) == 97
    lines: list[dict[str, Any]] = [
        msgspec.json.decode(line) for line in (tmp_path / "dead.ndjson").read_bytes().splitlines()
    ]
    assert [line["callid"] for line in lines] == ["call-0@host", "call-50@host", "call-51@host"]
    assert {line["_table"] for line in lines} == {"choosy"}


def test_close_twice_does_no_harm(database: Database) -> None:
    """A sink may be closed more than once."""
    sink = database.sink()
    sink.close()
    sink.close()


def test_ledger_keeps_the_ids_of_batches_that_wait_in_a_spool(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old id goes, but none of a time from which something may still come: it would be stored twice."""
    monkeypatch.setattr("sipcap.sinks.server._LEDGER_CLEAN_EVERY", 2)
    monkeypatch.setattr("sipcap.sinks.sqlite._LEDGER_CLEAN_EVERY", 2)
    sink = database.sink()
    assert isinstance(sink, RemembersBatches)
    sink.write("committed in doubt", {"sip_capture": rows_of(sip_record(0))})
    two_days = 2 * 86_400
    database.execute(f"UPDATE sipcap_batches SET committed_s = committed_s - {two_days}")
    sink.remember_since(lambda: time.time() - two_days + 60)
    for number in range(3):
        sink.write(f"live {number}", {"sip_capture": rows_of(sip_record(1 + number))})
    sink.write("committed in doubt", {"sip_capture": rows_of(sip_record(0))})
    assert len(database.rows()) == 4
    sink.remember_since(lambda: float("inf"))
    for number in range(3, 6):
        sink.write(f"live {number}", {"sip_capture": rows_of(sip_record(1 + number))})
    ids = {row["batch_id"] for row in database.execute("SELECT batch_id FROM sipcap_batches")}
    assert "committed in doubt" not in ids
    assert "live 0" in ids
