"""``sipcap store`` when the database refuses rows, is locked, full or damaged, or the program is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.messages import BASE_TS_US
from tests.support.records import numbers_of, rows_of, sip_lines, tables_of
from tests.support.storing import locked, start_store, wait_for_rows, wait_for_start


@pytest.fixture
def trigger_db(db_path: Path) -> Path:
    """A database whose table sip_capture refuses record 500 for itself."""
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        connection.execute(f"CREATE TABLE sip_capture (micro_ts CHECK (micro_ts <> {BASE_TS_US + 500}), callid, msg)")
    return db_path


def test_store_refused_row_goes_to_the_dead_letters_and_comes_back(sipcap: RunSipcap, trigger_db: Path) -> None:
    """One row of a thousand is put aside, the others are stored; later the file is stored like any other."""
    dead = trigger_db.with_name("dead.ndjson")
    done = sipcap("store", "--dead-letter", "dead.ndjson", stdin=sip_lines(1_000))
    assert done.returncode == 1
    assert b"CHECK constraint failed" in done.stderr
    assert done.stderr.endswith(b"\nsipcap: received 1000, stored 999, dead_letter 1\n")
    assert numbers_of(trigger_db) == [number for number in range(1_000) if number != 500]
    (letter,) = map(json.loads, dead.read_text().splitlines())
    assert (letter["micro_ts"], letter["_table"]) == (BASE_TS_US + 500, "sip_capture")
    assert "CHECK" in letter["_error"]
    trigger_db.unlink()
    assert sipcap("store", "--table", "elsewhere", "dead.ndjson").returncode == 0
    assert (tables_of(trigger_db), numbers_of(trigger_db)) == ({"sip_capture"}, [500])
    assert rows_of(trigger_db, columns=["envelope"]) == [(None,)]


def test_store_refused_row_without_dead_letters_is_5(sipcap: RunSipcap, trigger_db: Path) -> None:
    """A record that is nowhere remains unwritten."""
    done = sipcap("store", stdin=sip_lines(600) + b"bad\n")
    assert done.returncode == 5
    assert b"received 601, stored 599, rejected 1 (bad_line 1), dropped 1 (database 1)\n" in done.stderr
    assert done.stderr.endswith(b"sipcap: error: 1 record(s) remain unwritten\n")
    assert len(numbers_of(trigger_db)) == 599


def test_store_refused_row_and_a_bad_input_is_5(sipcap: RunSipcap, trigger_db: Path) -> None:
    """Of two failures, the worse one gives the code, and both are told."""
    done = sipcap("store", "--strict", "--batch-size", "10", stdin=sip_lines(600) + b"bad\n")
    assert done.returncode == 5
    assert b"stdin:601: not JSON" in done.stderr
    assert b"1 record(s) remain unwritten" in done.stderr


def test_store_refused_row_with_full_dead_letters_is_5(sipcap: RunSipcap, trigger_db: Path) -> None:
    """A full disk under the dead letters is said at the end, and the other records are stored."""
    done = sipcap("store", "--dead-letter", "/dev/full", stdin=sip_lines(600))
    assert done.returncode == 5
    assert b"No space left on device" in done.stderr
    assert b"dropped 1 (dead_letter 1)" in done.stderr
    assert len(numbers_of(trigger_db)) == 599


@pytest.mark.parametrize("path", ["no/such/folder/dead", "input.ndjson/dead"])
def test_store_dead_letters_that_cannot_be_written_cannot_start(sipcap: RunSipcap, tmp_path: Path, path: str) -> None:
    """An unwritable dead-letter file shows before anything is read."""
    (tmp_path / "input.ndjson").write_bytes(sip_lines(1))
    done = sipcap("store", "--dead-letter", path, "input.ndjson")
    assert done.returncode == 3
    assert b"cannot write dead letters" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["input.ndjson"]


@pytest.mark.parametrize("name", ["dead.ndjson", "link", "-"])
def test_store_dead_letters_are_not_their_own_input(sipcap: RunSipcap, trigger_db: Path, name: str) -> None:
    """A file that grows while it is read would never end."""
    dead = trigger_db.with_name("dead.ndjson")
    dead.write_bytes(sip_lines(1, 500))
    trigger_db.with_name("link").symlink_to(dead)
    if name == "-":
        with dead.open("rb") as stdin:
            done = subprocess.run(
                [*SIPCAP, "store", "--dead-letter", "dead.ndjson"],
                stdin=stdin, capture_output=True, cwd=dead.parent, env=environment(), timeout=TIMEOUT_S, check=False,
            )  # fmt: skip
    else:
        done = sipcap("store", name, env={"SIPCAP_STORE_DEAD_LETTER": "dead.ndjson"})
    assert done.returncode == 2
    assert dead.read_bytes() == sip_lines(1, 500)


def test_store_no_create_stores_nothing_in_tables_that_are_missing(sipcap: RunSipcap, db_path: Path) -> None:
    """--no-create leaves tables to the administrator; what has none is unwritten."""
    done = sipcap("store", "--no-create", stdin=sip_lines(50))
    assert done.returncode == 5
    assert b"does not exist, and --no-create is set" in done.stderr
    assert b"dropped 50 (database 50)" in done.stderr
    assert tables_of(db_path) == set()


# The database is away


def test_store_locked_database_is_waited_for(sipcap: RunSipcap, db_path: Path) -> None:
    """Somebody else's long transaction delays the records and costs none."""
    assert sipcap("store", stdin=sip_lines(5)).returncode == 0
    with locked(db_path) as other, start_store(db_path.parent) as program:
        assert program.stdin is not None
        assert program.stderr is not None
        program.stdin.write(sip_lines(5, 5))
        program.stdin.close()
        wait_for_start(program, db_path)
        time.sleep(1.0)
        assert program.poll() is None
        other.execute("ROLLBACK")
        assert program.wait(TIMEOUT_S) == 0
        assert program.stderr.read() == b"sipcap: received 5, stored 5\n"
    assert numbers_of(db_path) == list(range(10))


def test_store_database_that_stays_locked_is_5_with_everything_before_stored(
    sipcap: RunSipcap, db_path: Path, tmp_path: Path
) -> None:
    """A batch that cannot be stored ends the job with the reason; or it goes to the dead letters, for later."""
    assert sipcap("store", stdin=sip_lines(5)).returncode == 0
    (tmp_path / "input").write_bytes(sip_lines(5, 5))
    with locked(db_path):
        with (tmp_path / "input").open("rb") as stdin:
            plain = start_store(tmp_path, stdin=stdin.fileno())
        keeping = start_store(tmp_path, "--dead-letter", "dead.ndjson", "input", stdin=subprocess.DEVNULL)
        outcomes = [program.communicate(timeout=TIMEOUT_S)[1] for program in (plain, keeping)]
    assert [program.returncode for program in (plain, keeping)] == [5, 5]
    assert b"sipcap.db: database is locked; 5 record(s) that were read could not be stored\n" in outcomes[0]
    assert b"received 5, stored 0, dead_letter 5" in outcomes[1]
    assert b"5 record(s) remain unwritten" in outcomes[1]
    assert numbers_of(db_path) == list(range(5))
    assert sipcap("store", "dead.ndjson").returncode == 0
    assert numbers_of(db_path) == list(range(10))


def test_store_retries_are_counted_and_told(sipcap: RunSipcap, tmp_path: Path) -> None:
    """--insert-retries tries again, --insert-retry-timeout bounds it, and both end well if the database is back."""
    folder = tmp_path / "folder"
    folder.mkdir()
    options = ("--db-url", "sqlite:///folder/x.db", "--batch-interval", "0.01")
    program = start_store(tmp_path, *options, "--insert-retries", "500", "--insert-retry-timeout", "60")
    assert program.stdin is not None
    program.stdin.write(sip_lines(5))
    program.stdin.flush()
    wait_for_rows(folder / "x.db", 5)
    folder.rename(tmp_path / "away")
    program.stdin.write(sip_lines(5, 5))
    program.stdin.close()
    time.sleep(1.0)
    (tmp_path / "away").rename(folder)
    assert program.wait(TIMEOUT_S) == 0
    assert program.stderr is not None
    said = program.stderr.read()
    program.stderr.close()
    assert b"No such file or directory; trying again\n" in said
    assert b"the database takes records again\n" in said
    assert b"received 10, stored 10, retries " in said
    assert numbers_of(folder / "x.db") == list(range(10))


@pytest.mark.parametrize(
    ("options", "seconds"), [((), 0), (("--insert-retries", "500", "--insert-retry-timeout", "1"), 1)]
)
def test_store_retries_are_bounded(tmp_path: Path, options: tuple[str, ...], seconds: int) -> None:
    """A database that does not come back ends the job about when it was said."""
    folder = tmp_path / "folder"
    folder.mkdir()
    retrying = ("--insert-retries", "500", "--insert-retry-timeout", str(seconds))
    program = start_store(tmp_path, "--db-url", "sqlite:///folder/x.db", "--batch-interval", "0.01", *retrying)
    assert program.stdin is not None
    program.stdin.write(sip_lines(5))
    program.stdin.flush()
    wait_for_rows(folder / "x.db", 5)
    folder.rename(tmp_path / "away")
    began_s = time.monotonic()
    _, said = program.communicate(sip_lines(5, 5), TIMEOUT_S)
    assert program.returncode == 5
    assert time.monotonic() - began_s < seconds + 5
    assert b"5 record(s) that were read could not be stored" in said
    assert (b"retries" in said) is bool(seconds)
    assert numbers_of(tmp_path / "away" / "x.db") == list(range(5))


# The database is none


def test_store_what_is_no_database_cannot_start(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A text file, a folder, a missing folder, a device: exit 3 with one line, before anything is read."""
    (tmp_path / "text").write_bytes(b"hello, " * 1_000)
    for name in ("text", ".", "no/such/x.db", "/dev/null", "text/x.db"):
        done = sipcap("store", "--db-url", f"sqlite:///{name}", stdin=sip_lines(1))
        assert done.returncode == 3, name
        assert done.stderr.count(b"\n") == 1, done.stderr
    assert (tmp_path / "text").read_bytes() == b"hello, " * 1_000


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
@pytest.mark.parametrize("mode", [0o444, 0o000, None])
def test_store_database_without_permission_cannot_start(mode: int | None) -> None:
    """A file that cannot be written, and a folder where none can be made, show at the start."""
    script = (
        "import os, sys, sipcap.cli.store, sipcap.sinks.sqlite\nfrom sipcap.cli.main import run\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\nsys.exit(run(sys.argv[1:]))"
    )
    with tempfile.TemporaryDirectory(prefix="sipcap-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "x.db"
        if mode is not None:
            path.touch()
            path.chmod(mode)
        done = subprocess.run(
            [*SIPCAP[:4], "-c", script, "store", "--db-url", f"sqlite:///{path}"],
            input=sip_lines(1), capture_output=True, env=environment(), timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        reason = "Permission denied" if mode is None else "it cannot be read and written"
        assert done.stderr.decode() == f"sipcap: error: cannot open {path}: {reason}\n"
    assert done.returncode == 3


# The program is killed


def test_store_killed_leaves_whole_batches(tmp_path: Path, db_path: Path) -> None:
    """Kill -9 in the middle of writing leaves a sound database with whole batches, and the next run goes on."""
    (tmp_path / "input").write_bytes(sip_lines(30_000))
    program = start_store(tmp_path, "--batch-size", "100", "input", stdin=subprocess.DEVNULL)
    wait_for_rows(db_path, 300)
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=TIMEOUT_S)
    stored = numbers_of(db_path)
    assert len(stored) % 100 == 0
    assert stored == list(range(len(stored)))
    with contextlib.closing(sqlite3.connect(db_path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_store_two_at_once_into_one_database(tmp_path: Path, db_path: Path) -> None:
    """Two programs may fill one file at the same time."""
    for number in range(2):
        (tmp_path / str(number)).write_bytes(sip_lines(3_000, number * 3_000))
    options = ("--batch-size", "50", "--table", "a|b", "--mt-mode", "hash")
    programs = [start_store(tmp_path, *options, str(number), stdin=subprocess.DEVNULL) for number in range(2)]
    assert [program.communicate(timeout=TIMEOUT_S)[1] for program in programs] == [
        b"sipcap: received 3000, stored 3000\n"
    ] * 2
    assert sorted(numbers_of(db_path, "a") + numbers_of(db_path, "b")) == list(range(6_000))
