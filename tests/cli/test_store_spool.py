"""``sipcap store --spool``: what becomes of records while somebody holds the database."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Any

import pytest

from sipcap.sinks.base import Row
from sipcap.sinks.identity import identity_of
from sipcap.spool import Spool
from tests.conftest import TIMEOUT_S, RunSipcap
from tests.support.background import imbalance
from tests.support.pipes import wait_until
from tests.support.records import line_of, numbers_of, sip_lines, sip_record
from tests.support.storing import locked, start_store, wait_for_rows

OPTIONS = ("--spool", "spool", "--batch-interval", "0.1", "--log-format", "json")


def _files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "spool").glob("*/*"))


def _summary(said: bytes) -> dict[str, Any]:
    found = [json.loads(line) for line in said.splitlines()]
    counters: dict[str, Any] = next(line for line in reversed(found) if "received" in line)
    return counters


def _fill_spool(folder: Path, db_path: Path, count: int, batch: int = 2_000) -> None:
    """Keep records as a process does whose database is away."""
    spool = Spool(folder / "spool", 1 << 30)
    place = spool.place("default", f"sipcapture {identity_of(f'sqlite:///{db_path}')}")
    for first in range(0, count, batch):
        rows = [Row(sip_record(number), {}) for number in range(first, min(first + batch, count))]
        place.keep(f"test-{first}", {"sip_capture": rows}, "database is locked")
    spool.close()


def _start(folder: Path, db_path: Path, *args: str) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """A process that has stored its first record, so that nothing but the lock can be in its way."""
    program = start_store(folder, *OPTIONS, *args)
    assert program.stdin is not None
    program.stdin.write(sip_lines(1))
    program.stdin.flush()
    wait_for_rows(db_path, 1)
    return program, program.stdin


def test_spool_locked_database_gets_every_record_once(tmp_path: Path, db_path: Path) -> None:
    """While it is locked, records are read on and kept; when it is let go, all go in, with the next ones."""
    program, stdin = _start(tmp_path, db_path)
    with locked(db_path):
        for first in range(1, 30_001, 1_000):
            stdin.write(sip_lines(1_000, first))
        stdin.flush()
        wait_until(lambda: len(_files(tmp_path)) >= 10)
    stdin.write(sip_lines(1_000, 30_001))
    stdin.flush()
    wait_for_rows(db_path, 31_001)
    wait_until(lambda: not _files(tmp_path))
    _, said = program.communicate(timeout=TIMEOUT_S)
    counted = _summary(said)
    assert program.returncode == 0
    assert (counted["received"], counted["stored"], counted["spooled"], imbalance(counted)) == (31_001, 31_001, 0, 0)
    assert sorted(numbers_of(db_path)) == list(range(31_001))


def test_spool_of_an_earlier_process_goes_in_by_itself(tmp_path: Path, db_path: Path, sipcap: RunSipcap) -> None:
    """The next process for the same database takes it in and says how many; one for another does not."""
    _fill_spool(tmp_path, db_path, 5_000)
    other = sipcap("store", *OPTIONS, "--db-url", "sqlite:///other.db")
    assert _summary(other.stderr)["recovered"] == 0
    assert b"5000 record(s) wait for another database" in other.stderr
    done = sipcap("store", *OPTIONS, "--db-url", f"sqlite:///{db_path}", stdin=sip_lines(10, 5_000))
    counted = _summary(done.stderr)
    assert (done.returncode, counted["received"], counted["recovered"], counted["stored"]) == (0, 10, 5_000, 5_010)
    assert (imbalance(counted), _files(tmp_path)) == (0, [])
    assert not list((tmp_path / "spool").iterdir())
    assert sorted(numbers_of(db_path)) == list(range(5_010))


def test_spool_killed_process_loses_nothing_that_was_kept(tmp_path: Path, db_path: Path, sipcap: RunSipcap) -> None:
    """After kill -9 while the spool is being taken in, the next process stores the rest, each record once."""
    _fill_spool(tmp_path, db_path, 20_000, batch=100)
    program = start_store(tmp_path, *OPTIONS)
    wait_for_rows(db_path, 1)
    program.send_signal(signal.SIGKILL)
    program.communicate(timeout=TIMEOUT_S)
    assert _files(tmp_path)
    done = sipcap("store", *OPTIONS)
    assert (done.returncode, imbalance(_summary(done.stderr)), _files(tmp_path)) == (0, 0, [])
    assert sorted(numbers_of(db_path)) == list(range(20_000))


def test_spool_file_by_hand_is_stored_once(tmp_path: Path, db_path: Path, sipcap: RunSipcap) -> None:
    """A file named on the command line goes in under its own id: twice, or by itself as well, does no harm."""
    _fill_spool(tmp_path, db_path, 50)
    (path,) = _files(tmp_path)
    for _ in range(2):
        done = sipcap("store", str(path))
        assert (done.returncode, done.stderr) == (0, b"sipcap: received 50, stored 50\n")
    done = sipcap("store", *OPTIONS)
    assert (done.returncode, _files(tmp_path)) == (0, [])
    assert numbers_of(db_path) == list(range(50))


def test_spool_torn_file_by_hand_is_refused(tmp_path: Path, db_path: Path, sipcap: RunSipcap) -> None:
    """What is not whole gives 4; under another name, the lines that are there can be stored."""
    _fill_spool(tmp_path, db_path, 50)
    (path,) = _files(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:20]))
    done = sipcap("store", str(path))
    assert (done.returncode, b"it is not whole" in done.stderr) == (4, True)
    path.rename(tmp_path / "rest.ndjson")
    done = sipcap("store", "rest.ndjson")
    assert (done.returncode, numbers_of(db_path)) == (0, list(range(20)))


def test_spool_keeps_the_capture_mode(tmp_path: Path, db_path: Path, sipcap: RunSipcap) -> None:
    """Records that name another mode wait for its database, and go in there."""
    (tmp_path / "modes.ini").write_text(
        f"[sipcap]\ndb_url = sqlite:///{db_path}\n[capture_mode:b]\ndb_url = sqlite:///b.db\ntable_name = bees\n"
    )
    sipcap("store", "--db-url", "sqlite:///b.db", "--table", "bees", stdin=sip_lines(1))
    lines = b"".join(line_of(sip_record(number), _mode="b") for number in range(1, 30))
    with locked(tmp_path / "b.db"):
        done = sipcap("store", "--config", "modes.ini", *OPTIONS, stdin=lines, timeout_s=2 * TIMEOUT_S)
    assert (done.returncode, _summary(done.stderr)["spooled"]) == (0, 29)
    done = sipcap("store", "--config", "modes.ini", *OPTIONS)
    assert (_summary(done.stderr)["recovered"], _files(tmp_path)) == (29, [])
    assert numbers_of(tmp_path / "b.db", "bees") == list(range(30))


def test_spool_full_gives_5(tmp_path: Path, db_path: Path) -> None:
    """What had no place is counted; everything else waits."""
    program, _ = _start(tmp_path, db_path, "--spool-max", "20kB", "--batch-size", "10")
    with locked(db_path):
        _, said = program.communicate(sip_lines(100, 1), TIMEOUT_S)
    counted = _summary(said)
    assert program.returncode == 5
    assert (counted["spooled"] > 0, counted["dropped"]["spool_full"] > 0, imbalance(counted)) == (True, True, 0)


@pytest.mark.parametrize("place", ["/proc/spool", "file"])
def test_spool_that_cannot_be_written_gives_3(tmp_path: Path, sipcap: RunSipcap, place: str) -> None:
    """It shows at the start."""
    (tmp_path / "file").mkdir()
    if place == "file":
        (tmp_path / "file").rmdir()
        (tmp_path / "file").symlink_to("/dev/null/x")
    done = sipcap("store", "--spool", place)
    assert (done.returncode, b"cannot write the spool" in done.stderr) == (3, True)


def test_spool_takes_what_was_read_at_a_stop(tmp_path: Path, db_path: Path) -> None:
    """SIGTERM while the database is locked: every record that was read waits in the spool."""
    program, stdin = _start(tmp_path, db_path, "--drain-timeout", "1")
    with locked(db_path):
        stdin.write(sip_lines(500, 1))
        stdin.flush()
        time.sleep(0.5)
        program.send_signal(signal.SIGTERM)
        code = program.wait(TIMEOUT_S)
        _, said = program.communicate(timeout=TIMEOUT_S)
    counted = _summary(said)
    assert (code, counted["received"], counted["spooled"], imbalance(counted)) == (143, 501, 500, 0)
