"""``sipcap store`` that is told to stop: what is in a pipe is read to its end, within a bound."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import TIMEOUT_S, RunSipcap
from tests.support.records import numbers_of, sip_lines
from tests.support.storing import locked, start_store, wait_for_rows, wait_for_start

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def close(program: subprocess.Popen[bytes]) -> bytes:
    """End of input; returns what the program said until it ended."""
    _, said = program.communicate(timeout=TIMEOUT_S)
    return said


@BOTH
def test_stop_reads_a_pipe_on_to_its_end(tmp_path: Path, db_path: Path, number: int) -> None:
    """Ctrl-C on a whole pipeline loses nothing: what the writer still says is stored, and the job is done."""
    program = start_store(tmp_path)
    assert program.stdin is not None
    program.stdin.write(sip_lines(5))
    program.stdin.flush()
    wait_for_rows(db_path, 5)
    program.send_signal(number)
    time.sleep(0.3)
    assert program.poll() is None
    program.stdin.write(sip_lines(5_000, 5))
    said = close(program)
    assert (program.returncode, said) == (0, b"sipcap: received 5005, stored 5005\n")
    assert numbers_of(db_path) == list(range(5_005))


@BOTH
def test_stop_with_a_pipe_that_does_not_end_gives_up_after_its_time(tmp_path: Path, db_path: Path, number: int) -> None:
    """A writer that goes on is left after --drain-timeout; everything that was read is stored."""
    program = start_store(tmp_path, "--drain-timeout", "1", "--batch-interval", "60")
    assert program.stdin is not None
    program.stdin.write(sip_lines(5))
    program.stdin.flush()
    wait_for_start(program, db_path)
    began_s = time.monotonic()
    program.send_signal(number)
    assert program.wait(TIMEOUT_S) == 128 + number
    assert 0.9 < time.monotonic() - began_s < 8
    assert close(program) == b"sipcap: received 5, stored 5\n"
    assert numbers_of(db_path) == list(range(5))


@BOTH
def test_stop_in_a_file_is_at_once_with_what_was_read_stored(tmp_path: Path, db_path: Path, number: int) -> None:
    """A file does not run away: nothing more is read, and what was read is in the database in its order."""
    (tmp_path / "input").write_bytes(sip_lines(40_000))
    program = start_store(tmp_path, "input", stdin=subprocess.DEVNULL)
    wait_for_rows(db_path, 2_000)
    program.send_signal(number)
    said = close(program)
    assert program.returncode == 128 + number
    stored = numbers_of(db_path)
    assert 2_000 <= len(stored) < 40_000
    assert stored == list(range(len(stored)))
    assert said == f"sipcap: received {len(stored)}, stored {len(stored)}\n".encode()


@BOTH
def test_second_signal_leaves_at_once(tmp_path: Path, db_path: Path, number: int) -> None:
    """Whoever asks twice does not wait, and what was committed stays."""
    program = start_store(tmp_path)
    assert program.stdin is not None
    program.stdin.write(sip_lines(5))
    program.stdin.flush()
    wait_for_rows(db_path, 5)
    program.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    began_s = time.monotonic()
    program.send_signal(number)
    assert program.wait(TIMEOUT_S) == 128 + number
    assert time.monotonic() - began_s < 3
    close(program)
    assert numbers_of(db_path) == list(range(5))


def test_second_signal_leaves_at_once_while_the_database_is_locked(sipcap: RunSipcap, db_path: Path) -> None:
    """Waiting for somebody else's lock is no reason not to hear."""
    assert sipcap("store", stdin=sip_lines(5)).returncode == 0
    with locked(db_path):
        program = start_store(db_path.parent, "--batch-size", "5")
        assert program.stdin is not None
        program.stdin.write(sip_lines(5, 5))
        program.stdin.flush()
        wait_for_start(program, db_path)
        time.sleep(0.5)
        program.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        began_s = time.monotonic()
        program.send_signal(signal.SIGTERM)
        assert program.wait(TIMEOUT_S) == 143
        assert time.monotonic() - began_s < 3
        close(program)
    assert numbers_of(db_path) == list(range(5))


def test_stop_ends_retries_within_the_time_to_drain(tmp_path: Path) -> None:
    """Retries that would go on for minutes end with the time to drain, and say what is unwritten."""
    folder = tmp_path / "folder"
    folder.mkdir()
    retrying = ("--insert-retries", "500", "--insert-retry-timeout", "300", "--drain-timeout", "1")
    program = start_store(tmp_path, "--db-url", "sqlite:///folder/x.db", "--batch-interval", "0.01", *retrying)
    assert program.stdin is not None
    program.stdin.write(sip_lines(5))
    program.stdin.flush()
    wait_for_rows(folder / "x.db", 5)
    folder.rename(tmp_path / "away")
    program.stdin.write(sip_lines(5, 5))
    program.stdin.flush()
    time.sleep(1.0)
    began_s = time.monotonic()
    program.send_signal(signal.SIGTERM)
    assert program.wait(TIMEOUT_S) == 5
    assert time.monotonic() - began_s < 8
    assert b"5 record(s) that were read could not be stored" in close(program)


def test_stop_of_a_pipeline_ends_both_stages_well(tmp_path: Path, db_path: Path) -> None:
    """A signal to both stages, as Ctrl-C sends it, loses no line that the first one still writes."""
    (tmp_path / "part").write_bytes(sip_lines(100))
    script = "trap : INT; for n in 1 2 3 4 5; do cat part; sleep 0.2; done"  # ends in its own time
    writer = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, cwd=tmp_path)
    assert writer.stdout is not None
    program = start_store(tmp_path, stdin=writer.stdout.fileno())
    writer.stdout.close()
    wait_for_rows(db_path, 100)
    for stage in (writer, program):
        stage.send_signal(signal.SIGINT)
    assert close(program) == b"sipcap: received 500, stored 500\n"
    assert (program.returncode, writer.wait(TIMEOUT_S)) == (0, 0)
    assert len(numbers_of(db_path)) == 500
