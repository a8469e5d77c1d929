"""SQLite files that are no databases, full, locked, moved away, and shared."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sipcap.errors import CannotStart, SinkError
from sipcap.sinks import sqlite
from sipcap.sinks.sqlite import SqliteSink
from tests.conftest import ROOT, environment
from tests.sinks.test_sqlite import query, rows, sink_at
from tests.support.records import numbers_of, sip_record
from tests.support.storing import locked


@pytest.fixture
def sink(db_path: Path) -> Iterator[SqliteSink]:
    """A sink over a new file."""
    with sink_at(db_path) as opened:
        yield opened


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged."""
    monkeypatch.setattr(logging.getLogger("sipcap"), "propagate", True)
    caplog.set_level(logging.INFO, "sipcap")
    return caplog


def _file(path: Path) -> bytes:
    with sink_at(path) as sink:
        sink.write("a", {"t": rows(*map(sip_record, range(500)))})
    return path.read_bytes()


def test_open_what_is_no_database_cannot_start(tmp_path: Path) -> None:
    """A text file, a folder, a device, a pipe, a missing folder: one line with the reason, nothing changed."""
    good = _file(tmp_path / "good.db")
    (tmp_path / "text").write_bytes(b"hello, " * 1_000)
    (tmp_path / "other").write_bytes(good[:100] + os.urandom(len(good) - 100))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = {path.name for path in tmp_path.iterdir()}
    missing = ("no/folder", "text/x.db", "/dev/null", "nul\0", "x" * 300)
    for name in (*before - {"good.db"}, *missing):
        with pytest.raises(CannotStart, match=r"(?s)^cannot (open|use) ") as caught:
            SqliteSink(tmp_path / name).open()
        assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "text").read_bytes() == b"hello, " * 1_000


@pytest.mark.parametrize("size", [50, 1_000, 8_192, 100_000])
def test_open_truncated_database_is_refused_or_fails_as_a_whole(db_path: Path, size: int) -> None:
    """A damaged file takes no batch in part, and is no reason to blame single rows."""
    good = _file(db_path)
    assert len(good) > 200_000
    db_path.write_bytes(good[:size])
    sink = SqliteSink(db_path)
    try:
        sink.open()
        sink.write("b", {"t": rows(*map(sip_record, range(500)))})
    except CannotStart as error:
        assert "as an SQLite database" in str(error)
    except SinkError as error:
        assert error.transient
    else:
        pytest.fail("a damaged database took records")
    finally:
        sink.close()


def test_file_moved_away_while_we_run_is_whole_and_a_new_one_begun(
    sink: SqliteSink, db_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """A rotation by ``mv`` loses nothing: the old file has all that was committed, without its -wal."""
    sink.write("a", {"t": rows(sip_record(1))})
    moved = db_path.with_name("moved.db")
    db_path.rename(moved)
    sink.write("b", {"t": rows(sip_record(2))})
    sink.write("c", {"t": rows(sip_record(3))})
    assert (numbers_of(moved, "t"), numbers_of(db_path, "t")) == ([1], [2, 3])
    assert [text.split(" was ")[1] for text in said.messages] == ["moved away or removed; beginning a new one"]


def test_file_removed_while_we_run_is_begun_anew(sink: SqliteSink, db_path: Path) -> None:
    """What is written goes into a file that is there, not into one that nobody can open any more."""
    sink.write("a", {"t": rows(sip_record(1))})
    for path in list(db_path.parent.iterdir()):
        path.unlink()
    sink.write("b", {"t": rows(sip_record(2))})
    assert numbers_of(db_path, "t") == [2]


def test_file_removed_with_its_folder_is_an_outage(tmp_path: Path) -> None:
    """Until there is a place for the file again, the database is away."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with sink_at(folder / "x.db") as sink:
        sink.write("a", {"t": rows(sip_record(1))})
        folder.rename(tmp_path / "moved")
        for _ in range(2):
            with pytest.raises(SinkError, match="No such file") as caught:
                sink.write("b", {"t": rows(sip_record(2))})
            assert caught.value.transient
        folder.mkdir()
        sink.write("b", {"t": rows(sip_record(2))})
    assert (numbers_of(tmp_path / "moved" / "x.db", "t"), numbers_of(folder / "x.db", "t")) == ([1], [2])


# Several processes


def _write_batches(path: Path, first: int, barrier: Any) -> None:
    barrier.wait(30)
    with sink_at(path) as sink:
        for number in range(first, first + 20):
            sink.write(str(number), {f"t{number % 3}": rows(sip_record(number), sip_record(number))})
    os._exit(0)


def test_processes_at_once_create_and_fill_one_database(db_path: Path) -> None:
    """Several programs may start at the same moment on a file that is not there; each batch is in it once."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    writers = [context.Process(target=_write_batches, args=(db_path, first, barrier)) for first in (0, 100, 200, 300)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    stored = [number for table in ("t0", "t1", "t2") for number in numbers_of(db_path, table)]
    assert sorted(stored) == sorted(2 * [first + number for first in (0, 100, 200, 300) for number in range(20)])
    assert query(db_path, "PRAGMA journal_mode") == [("wal",)]
    assert query(db_path, "PRAGMA auto_vacuum") == [(2,)]
    assert query(db_path, "PRAGMA integrity_check") == [("ok",)]


def test_write_waits_for_a_lock(sink: SqliteSink, db_path: Path) -> None:
    """A lock that is held for a moment is waited for."""
    sink.write("a", {"t": rows(sip_record(1))})
    with locked(db_path) as other:
        threading.Timer(0.5, lambda: other.execute("ROLLBACK")).start()
        sink.write("b", {"t": rows(sip_record(2))})
    assert numbers_of(db_path, "t") == [1, 2]


def test_write_to_a_file_that_stays_locked_is_an_outage(
    sink: SqliteSink, db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is bounded, its end is no fault of the rows, and the same batch can be written later."""
    monkeypatch.setattr(sqlite, "SQLITE_BUSY_S", 0.3)
    sink.write("a", {"t": rows(sip_record(1))})
    with locked(db_path):
        began_s = time.monotonic()
        with pytest.raises(SinkError, match="database is locked") as caught:
            sink.write("b", {"t": rows(sip_record(2))})
        assert caught.value.transient
        assert 0.25 < time.monotonic() - began_s < 10
    sink.write("b", {"t": rows(sip_record(2))})
    assert numbers_of(db_path, "t") == [1, 2]


def test_write_that_waits_hears_signals(sink: SqliteSink, db_path: Path) -> None:
    """Whoever wants to stop us does not wait for SQLite's patience."""
    heard: list[float] = []
    handler = signal.signal(signal.SIGALRM, lambda *_: heard.append(time.monotonic()))
    try:
        with locked(db_path) as other:
            began_s = time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            threading.Timer(2.0, lambda: other.execute("ROLLBACK")).start()
            sink.write("a", {"t": rows(sip_record(1))})
    finally:
        signal.signal(signal.SIGALRM, handler)
    assert heard[0] - began_s < 1.0


def test_open_locked_file_waits_and_then_cannot_start(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new file that somebody holds is waited for within bounds; one that is set up already needs no lock."""
    monkeypatch.setattr(sqlite, "SQLITE_BUSY_S", 0.3)
    query(db_path, "CREATE TABLE theirs (x)")
    with locked(db_path), pytest.raises(CannotStart, match="database is locked"):
        SqliteSink(db_path).open()
    db_path.unlink()
    _file(db_path)
    with locked(db_path), sink_at(db_path):
        pass


# A full disk


def _fill(path: Path, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    stored = 0
    with sink_at(path) as sink:
        try:
            while True:
                sink.write(str(stored), {"t": rows(*[sip_record(stored, msg="x" * 10_000)] * 20)})
                stored += 1
        except SinkError as error:
            os._exit(stored if error.transient else 255)


def test_write_beyond_the_limit_of_a_file_is_an_outage(db_path: Path) -> None:
    """Where a file cannot grow, what was stored before is there, the last batch is not, and no row is to blame."""
    writer = multiprocessing.get_context("fork").Process(target=_fill, args=(db_path, 3_000_000))
    writer.start()
    writer.join(60)
    assert writer.exitcode is not None
    assert 2 < writer.exitcode < 100
    assert len(numbers_of(db_path, "t")) == 20 * writer.exitcode
    assert query(db_path, "PRAGMA integrity_check") == [("ok",)]


FULL_DISK = """
import sys
from pathlib import Path
from sipcap.errors import SinkError
from sipcap.sinks.base import Row
from sipcap.sinks.sqlite import SqliteSink
from tests.support.records import numbers_of, sip_record

folder = Path(sys.argv[1])
sink = SqliteSink(folder / "x.db")
sink.open()
ballast = folder / "ballast"
ballast.write_bytes(bytes(1 << 20))
stored = 0
def store():
    global stored
    sink.write(str(stored), {"t": [Row(sip_record(stored, msg="x" * 10_000), {})] * 20})
    stored += 1
try:
    while True:
        store()
except SinkError as error:
    assert error.transient, error
    assert "full" in str(error) or "disk I/O" in str(error), error
assert stored > 0
ballast.unlink()
store()
sink.close()
assert numbers_of(folder / "x.db", "t") == [number for number in range(stored) for _ in range(20)]
"""


def test_write_on_a_full_disk_is_an_outage_that_passes(tmp_path: Path) -> None:
    """When the disk is full the batch fails as a whole, and it is stored once there is room again."""
    script = f'mount -t tmpfs -o size=4m none {tmp_path} && exec {sys.executable} -c "$1" {tmp_path}'
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", FULL_DISK],
        capture_output=True,
        env=environment(),
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    if b"unshare" in done.stderr or b"mount:" in done.stderr:
        pytest.skip("no private mounts here")
    assert (done.returncode, done.stderr) == (0, b"")
