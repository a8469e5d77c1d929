"""``sipcap report``: any record, or one row made by hand, into a report table."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from sipcap.ndjson import encode_records
from sipcap.record import REPORT_COLUMNS
from tests.conftest import SIPCAP, RunSipcap, environment
from tests.support.messages import BASE_TS_US, chunk, hep3, sip, usual_chunks
from tests.support.packets import sip_capture
from tests.support.records import line_of, report_record, rows_of, sip_record, tables_of


def alone(folder: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``sipcap report`` with /dev/null as stdin."""
    return subprocess.run(
        [*SIPCAP, "report", *args], stdin=subprocess.DEVNULL, capture_output=True, cwd=folder, env=environment(),
        timeout=30, check=False,
    )  # fmt: skip


def test_report_stores_every_record_as_a_row(sipcap: RunSipcap, db_path: Path) -> None:
    """SIP and reports alike: address, time, node and message stay; type is 1 or 2 of a SIP message (spec 6.2)."""
    sip_one = sip_record(1, type=2, correlation_id="c1")
    other = report_record(2, type=3, correlation_id="c2")
    ended = sipcap("report", stdin=encode_records([sip_one, other]))
    assert (ended.returncode, ended.stdout) == (0, b"")
    expected = [tuple(getattr(record, name) for name in REPORT_COLUMNS) for record in (sip_one, other)]
    assert rows_of(db_path, "report_capture", REPORT_COLUMNS) == expected
    assert tables_of(db_path) == {"report_capture"}


def test_report_options_take_the_place_of_each_record_s_own(sipcap: RunSipcap, db_path: Path) -> None:
    """--cid and --data on every row; bytes of the old message are gone with it."""
    lines = encode_records([sip_record(1, msg_b64=b"\xff"), report_record(2, correlation_id="")])
    ended = sipcap("report", "--cid", "mine", "--data", '{"a": 1}', stdin=lines)
    assert ended.returncode == 0
    assert b"not JSON" not in ended.stderr
    assert rows_of(db_path, "report_capture", ["correlation_id", "msg", "msg_raw"]) == [("mine", '{"a": 1}', None)] * 2


def test_report_without_correlation_id_is_refused(sipcap: RunSipcap, db_path: Path) -> None:
    """Nobody would find it; the others are stored, and the exit code tells."""
    lines = encode_records([report_record(1, correlation_id=""), report_record(2)])
    ended = sipcap("--log-format", "json", "report", stdin=lines)
    summary = json.loads(ended.stderr.splitlines()[-1])
    assert (ended.returncode, summary["rejected"], summary["reported"]) == (1, {"no_cid": 1}, 1)
    assert len(rows_of(db_path, "report_capture", ["id"])) == 1


def test_report_table_is_a_pattern_and_wins_over_marks(sipcap: RunSipcap, db_path: Path) -> None:
    """The table is one for the row's time, wherever the record was meant to go; unknown keys stay with it."""
    line = line_of(sip_record(1), _table="elsewhere", _mode="m", site="berlin")
    assert sipcap("report", "--table", "r_%Y%m%d", stdin=line).returncode == 0
    assert tables_of(db_path) == {"r_20231114"}
    ((envelope,),) = rows_of(db_path, "r_20231114", ["envelope"])
    assert json.loads(envelope) == {"site": "berlin"}


def test_report_makes_one_row_where_there_is_no_input(tmp_path: Path, db_path: Path) -> None:
    """Addresses empty, ports and type 0; the text is stored as it is."""
    ended = alone(tmp_path, "--cid", "abc@host", "--data", " text \t\u00fc", "--time", "2023-11-14 22:13:20.123456")
    assert ended.returncode == 0
    assert b"--data is not JSON" in ended.stderr
    (row,) = rows_of(db_path, "report_capture", REPORT_COLUMNS)
    assert row == (
        "2023-11-14 22:13:20", BASE_TS_US, "abc@host", "", 0, "", 0, 0, 0, 0, "homer01", " text \t\u00fc",
    )  # fmt: skip


def test_report_one_row_needs_a_correlation_id(tmp_path: Path, db_path: Path) -> None:
    """As every row."""
    assert alone(tmp_path, "--data", "{}").returncode == 1
    assert rows_of(db_path, "report_capture", ["id"]) == []


def test_report_without_input_and_options_stores_nothing(tmp_path: Path) -> None:
    """An empty input is an empty input."""
    ended = alone(tmp_path)
    assert ended.returncode == 0
    assert b"received 0" in ended.stderr


def test_report_of_an_empty_pipe_makes_no_row(sipcap: RunSipcap) -> None:
    """A pipe that brings nothing is no terminal: a job that found nothing reports nothing."""
    ended = sipcap("report", "--cid", "c", "--data", "{}", stdin=b"")
    assert ended.returncode == 0
    assert b"received 0" in ended.stderr


def test_report_at_a_terminal_makes_one_row(tmp_path: Path, db_path: Path) -> None:
    """Nobody is made to type records."""
    leader, follower = os.openpty()
    ended = subprocess.run(
        [*SIPCAP, "report", "--cid", "c"], stdin=follower, capture_output=True, cwd=tmp_path, env=environment(),
        timeout=30, check=False,
    )  # fmt: skip
    os.close(leader)
    os.close(follower)
    assert ended.returncode == 0
    assert rows_of(db_path, "report_capture", ["correlation_id", "msg"]) == [("c", "")]


def test_report_data_that_is_no_text_is_kept_exactly(tmp_path: Path, db_path: Path) -> None:
    """A command line may hold any bytes."""
    ended = subprocess.run(
        [*SIPCAP, "report", b"--cid", b"c\xff", b"--data", b"a\xffb"], stdin=subprocess.DEVNULL, capture_output=True,
        cwd=tmp_path, env=environment(), timeout=30, check=False,
    )  # fmt: skip
    assert ended.returncode == 0
    rows = rows_of(db_path, "report_capture", ["correlation_id", "msg", "msg_raw"])
    assert rows == [("c\ufffd", "a\ufffdb", b"a\xffb")]


@pytest.mark.parametrize("args", [
    ("--time", "now"), ("--table", "a|b"), ("--table", ""), ("--schema", "homer7", "--table", "t"), ("--time", "soon"),
])  # fmt: skip
def test_report_wrong_use_is_told(sipcap: RunSipcap, args: tuple[str, ...]) -> None:
    """A time without a row of its own, two tables, tables where the schema has fixed ones."""
    assert sipcap("report", *args, stdin=encode_records([report_record(1)])).returncode == 2


def test_report_with_homer7_goes_to_its_tables(sipcap: RunSipcap, db_path: Path) -> None:
    """Its readers know its tables by name."""
    lines = encode_records([report_record(1, type=5, payload_type=100)])
    assert sipcap("report", "--schema", "homer7", stdin=lines).returncode == 0
    assert tables_of(db_path) == {"hep_proto_100_default"}


def test_report_through_a_capture_mode(sipcap: RunSipcap, tmp_path: Path) -> None:
    """The database options of store: a mode's database, a dead-letter file, the variable for the URL."""
    (tmp_path / "modes.ini").write_text("[sipcap]\ncapture_on = 1\n[capture_mode:m1]\ndb_url = sqlite:///one.db\n")
    args = ("report", "--config", "modes.ini", "--capture-mode", "m1", "--dead-letter", "dead.ndjson")
    assert sipcap(*args, stdin=encode_records([report_record(1)])).returncode == 0
    env = {"SIPCAP_DB_URL": "sqlite:///two.db"}
    assert sipcap("report", stdin=encode_records([report_record(2)]), env=env).returncode == 0
    assert [tables_of(tmp_path / name) for name in ("one.db", "two.db")] == [{"report_capture"}] * 2


def test_report_dead_letters_are_stored_by_store(sipcap: RunSipcap, tmp_path: Path, db_path: Path) -> None:
    """What the database refuses waits in the file with its table, and goes there later."""
    sipcap("store", stdin=encode_records([sip_record(1)]))
    import sqlite3

    with sqlite3.connect(db_path) as connection:
        connection.execute("CREATE TABLE r (micro_ts INTEGER, correlation_id TEXT CHECK (correlation_id <> 'bad'))")
    connection.close()
    lines = encode_records([report_record(1, correlation_id="bad"), report_record(2, correlation_id="good")])
    assert sipcap("report", "--table", "r", "--dead-letter", "dead.ndjson", stdin=lines).returncode == 1
    assert rows_of(db_path, "r", ["correlation_id"]) == [("good",)]
    (letter,) = [json.loads(line) for line in (tmp_path / "dead.ndjson").read_bytes().splitlines()]
    assert (letter["_table"], letter["kind"], letter["correlation_id"]) == ("r", "report", "bad")


def test_report_of_a_capture_in_one_pipe(sipcap: RunSipcap, tmp_path: Path, db_path: Path) -> None:
    """``replay | report``: HEP in a capture keeps its correlation id, and SIP the Call-ID that stands for it."""
    packets = [hep3(*usual_chunks(payload_type=34), chunk(17, b"mos@call"), chunk(15, b'{"MOS":4.2}')), sip()]
    sip_capture(tmp_path / "c.pcap", packets, first_us=BASE_TS_US)
    lines = sipcap("replay", "c.pcap").stdout
    assert sipcap("report", stdin=lines).returncode == 0
    rows = rows_of(db_path, "report_capture", ["correlation_id", "type"])
    assert rows == [("mos@call", 34), ("abc123@host", 1)]
