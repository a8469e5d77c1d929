"""``sipcap store`` as a user runs it: inputs, tables, exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time
from pathlib import Path

import pytest

from sipcap.ndjson import encode_records
from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.messages import BASE_TS_US, sip
from tests.support.records import line_of, numbers_of, report_record, rows_of, sip_lines, sip_record, tables_of

SECRET = "s3cret"


def test_store_pipe_into_the_default_database(sipcap: RunSipcap, db_path: Path) -> None:
    """Without options, what comes in on stdin is in sipcap.db, and the counters are on stderr."""
    done = sipcap("store", stdin=sip_lines(25) + encode_records([report_record(1)]))
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr == b"sipcap: received 26, stored 25, reported 1\n"
    assert (numbers_of(db_path), numbers_of(db_path, "report_capture")) == (list(range(25)), [1])


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_store_nothing_is_done_with_nothing(sipcap: RunSipcap, db_path: Path, data: bytes) -> None:
    """An empty input is no failure."""
    done = sipcap("store", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"sipcap: received 0, stored 0\n")
    assert tables_of(db_path) == set()


def test_store_stdin_closed_is_done_with_nothing(tmp_path: Path) -> None:
    """A program that is started without stdin finds it empty, and its database is not its stdin."""
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *SIPCAP, "store"],
        capture_output=True, cwd=tmp_path, env=environment(), timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"sipcap: received 0, stored 0\n")


def test_store_files_and_stdin_in_the_order_given(sipcap: RunSipcap, tmp_path: Path, db_path: Path) -> None:
    """Several inputs are read one after the other; - is stdin; one may be a named pipe."""
    (tmp_path / "a").write_bytes(sip_lines(2, 10))
    (tmp_path / "b").write_bytes(sip_lines(2, 20)[:-1])
    os.mkfifo(tmp_path / "fifo")
    writer = subprocess.Popen(["sh", "-c", f"cat {tmp_path}/a > {tmp_path}/fifo"])
    done = sipcap("store", "b", "-", "fifo", "a", stdin=sip_lines(2, 30))
    assert writer.wait(30) == 0
    assert done.returncode == 0
    assert numbers_of(db_path) == [20, 21, 30, 31, 10, 11, 10, 11]


def test_store_many_files_do_not_use_up_descriptors(tmp_path: Path, db_path: Path) -> None:
    """``store *.ndjson`` works for any number of files."""
    for number in range(60):
        (tmp_path / f"{number:03}.ndjson").write_bytes(sip_lines(1, number))
    script = 'ulimit -n 40; exec "$@" *.ndjson'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *SIPCAP, "store"],
        capture_output=True, cwd=tmp_path, env=environment(), timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert numbers_of(db_path) == list(range(60))


@pytest.mark.parametrize("name", ["missing.ndjson", "."])
def test_store_file_that_cannot_be_is_a_usage_error(sipcap: RunSipcap, tmp_path: Path, name: str) -> None:
    """A wrong file name shows before a database is made."""
    assert sipcap("store", name).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_store_hand_made_line_gets_its_columns(sipcap: RunSipcap, db_path: Path) -> None:
    """Time and message are enough."""
    done = sipcap("store", stdin=json.dumps({"micro_ts": BASE_TS_US, "msg": sip().decode()}).encode())
    assert done.returncode == 0
    expected = [("INVITE", "abc123@host", "2023-11-14 22:13:20")]
    assert rows_of(db_path, columns=["method", "callid", "date"]) == expected


# Bad lines


def test_store_bad_lines_are_named_and_exit_is_1(sipcap: RunSipcap, db_path: Path) -> None:
    """Something was rejected: the job is done, and says so."""
    done = sipcap("store", "-", stdin=sip_lines(2) + b"bad\n" + sip_lines(1, 2) + b'{"msg":"x"}')
    assert done.returncode == 1
    first, second, last = done.stderr.decode().splitlines()
    assert first.startswith("sipcap: warning: stdin:3: not JSON")
    assert second == "sipcap: warning: stdin:5: key micro_ts is missing or no integer"
    assert last == "sipcap: received 5, stored 3, rejected 2 (bad_line 2)"
    assert numbers_of(db_path) == [0, 1, 2]


@pytest.mark.parametrize(
    ("bad", "options"), [(b"bad\n", ["--strict"]), (b"\xff\n", ["--strict"]), (line_of(sip_record(9), v=2), [])]
)
def test_store_input_error_is_4_with_everything_before_stored(
    sipcap: RunSipcap, tmp_path: Path, db_path: Path, bad: bytes, options: list[str]
) -> None:
    """Input that is not what it says ends the job; what was before it is in the database, what is behind it is not."""
    (tmp_path / "second").write_bytes(sip_lines(3, 100))
    done = sipcap("store", *options, "-", "second", stdin=sip_lines(3) + bad + sip_lines(3, 50))
    assert done.returncode == 4
    assert b"sipcap: error: stdin:4: " in done.stderr
    assert numbers_of(db_path) == [0, 1, 2]


# Tables


def test_store_tables_by_the_messages_time(sipcap: RunSipcap, db_path: Path) -> None:
    """A pattern of one day, a list of tables, the table of reports."""
    done = sipcap(
        "store",
        "--table",
        "day_%Y%m%d",
        "--report-table",
        "rep_%H",
        stdin=sip_lines(2) + encode_records([report_record()]),
    )
    assert done.returncode == 0
    assert tables_of(db_path) == {"day_20231114", "rep_22"}
    sipcap("store", "--table", "a|b", "--table", "c", "--mt-mode", "round_robin", stdin=sip_lines(6))
    assert [numbers_of(db_path, table) for table in "abc"] == [[0, 3], [1, 4], [2, 5]]


def test_store_tables_with_hostile_names(sipcap: RunSipcap, db_path: Path) -> None:
    """What a user calls a table is a name, whatever stands in it."""
    name = 't"; DROP TABLE u; --'
    assert sipcap("store", "--table", "u", stdin=sip_lines(1)).returncode == 0
    assert sipcap("store", "--table", name, stdin=sip_lines(1, 1)).returncode == 0
    assert (tables_of(db_path), numbers_of(db_path, name)) == ({"u", name}, [1])


@pytest.mark.parametrize("options", [["--table", ""], ["--table", "|"], ["--report-table", " "], ["--table", b"\xff"]])
def test_store_tables_that_cannot_be_cannot_start(sipcap: RunSipcap, tmp_path: Path, options: list[str]) -> None:
    """A name that no table can have shows before anything is read or made."""
    names = [os.fsdecode(option) for option in options]
    assert sipcap("store", *names, stdin=sip_lines(1)).returncode == 3
    assert list(tmp_path.iterdir()) == []


def test_store_table_for_reports_is_one(sipcap: RunSipcap) -> None:
    """A second pattern for reports is not silently ignored."""
    assert sipcap("store", "--report-table", "a|b").returncode == 2


# Options from elsewhere


def test_store_options_from_the_environment(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Every option has its variable, and the option wins."""
    env = {"SIPCAP_DB_URL": "sqlite:///env.db", "SIPCAP_STORE_TABLE": "t", "SIPCAP_STORE_STRICT": "1"}
    assert sipcap("store", stdin=sip_lines(2), env=env).returncode == 0
    assert numbers_of(tmp_path / "env.db", "t") == [0, 1]
    assert sipcap("store", stdin=b"bad\n", env=env).returncode == 4
    env["SIPCAP_STORE_DB_URL"] = "sqlite:///own.db"
    assert sipcap("store", "--table", "u", stdin=sip_lines(1), env=env).returncode == 0
    assert numbers_of(tmp_path / "own.db", "u") == [0]
    assert sipcap("store", "--db-url", "sqlite:///opt.db", stdin=sip_lines(1), env=env).returncode == 0
    assert numbers_of(tmp_path / "opt.db", "t") == [0]


def test_store_url_from_a_file(sipcap: RunSipcap, tmp_path: Path) -> None:
    """@FILE keeps a URL out of the list of processes; a missing file is not shown as a URL."""
    (tmp_path / "url").write_text("sqlite:///from_file.db\nmore\n")
    assert sipcap("store", "--db-url", "@url", stdin=sip_lines(1)).returncode == 0
    assert numbers_of(tmp_path / "from_file.db") == [0]
    assert sipcap("store", stdin=sip_lines(1, 1), env={"SIPCAP_DB_URL": "@url"}).returncode == 0
    assert numbers_of(tmp_path / "from_file.db") == [0, 1]
    assert sipcap("store", "--db-url", "@missing").returncode == 2


@pytest.mark.parametrize("url", [f"nosuch://u:{SECRET}@h/db", f"u:{SECRET}@h/db", f"sqlite://u:{SECRET}@h/db", SECRET])
@pytest.mark.parametrize("way", ["option", "environment", "file"])
def test_store_url_that_cannot_be_used_is_3_without_its_password(
    sipcap: RunSipcap, tmp_path: Path, url: str, way: str
) -> None:
    """No message shows what may be a secret, however the URL was given."""
    (tmp_path / "url").write_text(url)
    args = {"option": ["--db-url", url], "environment": [], "file": ["--db-url", "@url"]}[way]
    done = sipcap(
        "store", "-vv", *args, stdin=sip_lines(1), env={"SIPCAP_DB_URL": url} if way == "environment" else None
    )
    assert (done.returncode, done.stdout) == (3, b"")
    assert SECRET.encode() not in done.stderr
    assert done.stderr.count(b"\n") == 1


# A terminal


def test_store_terminal_as_stdin_is_told_that_it_waits(tmp_path: Path) -> None:
    """A user who forgot the pipe is not left wondering; typed lines are stored, Ctrl-D ends it."""
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [*SIPCAP, "store"], stdin=theirs, stderr=subprocess.PIPE, cwd=tmp_path, env=environment()
    )
    os.close(theirs)
    assert program.stderr is not None
    assert program.stderr.readline() == b"sipcap: reading NDJSON from the terminal; end with Ctrl-D\n"
    os.write(ours, b'{"micro_ts":7,"msg":"typed"}\n\x04')
    assert program.wait(TIMEOUT_S) == 0
    program.stderr.close()
    os.close(ours)
    assert rows_of(tmp_path / "sipcap.db", columns=["msg"]) == [("typed",)]


def test_store_terminal_ends_at_once_on_ctrl_c(tmp_path: Path) -> None:
    """There is no writer at a terminal whose last words are to be waited for; typed lines are stored."""
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [*SIPCAP, "store", "--batch-interval", "60"],
        stdin=theirs, stderr=subprocess.PIPE, cwd=tmp_path, env=environment(), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert program.stderr is not None
    program.stderr.readline()
    os.write(ours, b'{"micro_ts":7,"msg":"typed"}\n')
    time.sleep(1.0)
    began_s = time.monotonic()
    program.send_signal(2)
    assert program.wait(TIMEOUT_S) == 130
    assert time.monotonic() - began_s < 5
    program.stderr.close()
    os.close(ours)
    assert rows_of(tmp_path / "sipcap.db", columns=["msg"]) == [("typed",)]
