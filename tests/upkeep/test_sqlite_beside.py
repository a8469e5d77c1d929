"""Upkeep of an SQLite file beside capture, and beside others who do the same."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import threading
import time
from pathlib import Path

import pytest

from sipcap.errors import SinkError
from sipcap.patterns import read_patterns
from sipcap.record import date_text
from sipcap.tables import Step
from sipcap.upkeep import sqlite_file
from sipcap.upkeep.carrying import Outcome, carry_out
from tests.calls.helpers import SECOND, at, store
from tests.conftest import TIMEOUT_S
from tests.support.messages import BASE_TS_US
from tests.support.pipes import wait_until
from tests.support.records import numbers_of, sip_lines, tables_of
from tests.support.storing import start_store
from tests.upkeep.helpers import DAY_US, do, upkeep_of


def delete(before_us: int, table: str = "a") -> Step:
    """A step that deletes rows."""
    return Step("delete", table, before_us=BASE_TS_US + before_us)


def test_two_at_once_do_no_harm(db_path: Path) -> None:
    """Both drop and delete the same: each thing happens once, nobody fails, nothing else is touched."""
    names = [f"s_{date_text(BASE_TS_US // SECOND + day * 86_400)[:10].replace('-', '')}" for day in range(20)]
    store(db_path, {**{name: [at(0)] for name in names}, "a": [at(number) for number in range(500)], "keep": [at(0)]})
    steps = [*(Step("drop", name) for name in names[:-1]), delete(400), *(Step("create", f"x{n}") for n in range(5))]
    outcomes: list[list[Outcome]] = []
    threads = [threading.Thread(target=lambda: outcomes.append(do(db_path, *steps, table="s_%Y%m%d|a|x0|x1|x2|x3|x4")))
               for _ in range(2)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(outcomes) == 2
    assert not any(outcome.error for each in outcomes for outcome in each)
    assert tables_of(db_path) == {names[-1], "a", "keep", "x0", "x1", "x2", "x3", "x4"}
    assert sum(outcome.done for each in outcomes for outcome in each if outcome.step.action == "drop") == 19
    assert sum(outcome.rows for each in outcomes for outcome in each) == 400


def feed(program: subprocess.Popen[bytes], stop: threading.Event, sent: list[int]) -> None:
    """Give a program numbered records until told to stop."""
    assert program.stdin is not None
    while not stop.is_set():
        program.stdin.write(sip_lines(200, len(sent) * 200))
        program.stdin.flush()
        sent.append(200)
        time.sleep(0.01)


def test_capture_goes_on_beside_upkeep(tmp_path: Path, db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real store writes without a failed batch while tables come, go and are emptied, and space is given back."""
    monkeypatch.setattr(sqlite_file, "UPKEEP_PAUSE_S", 0.05)
    old = [at(number - 9 * DAY_US, number, msg="x" * 500) for number in range(20_000)]
    store(db_path, {"a": old, "x": old[:9_000]})
    program = start_store(tmp_path, "--insert-retries", "0", "--table", "sip_capture")
    stop, sent = threading.Event(), list[int]()
    feeder = threading.Thread(target=feed, args=(program, stop, sent))
    feeder.start()
    wait_until(lambda: "sip_capture" in tables_of(db_path))
    outcomes = do(db_path, Step("create", "b"), delete(-DAY_US), Step("drop", "x"), Step("drop", "a"))
    stop.set()
    feeder.join(TIMEOUT_S)
    _, said = program.communicate(timeout=TIMEOUT_S)
    assert (program.returncode, said) == (0, f"sipcap: received {sum(sent)}, stored {sum(sent)}\n".encode())
    assert numbers_of(db_path) == list(range(sum(sent)))
    assert [(outcome.done, outcome.error) for outcome in outcomes] == [(True, "")] * 4
    assert outcomes[1].rows == 20_000


def test_capture_makes_a_dropped_table_again(tmp_path: Path, db_path: Path) -> None:
    """A table that the writer knows is dropped under it: what comes later is stored, nothing fails."""
    program = start_store(tmp_path, "--table", "a")
    assert program.stdin is not None
    for first in (0, 100):
        program.stdin.write(sip_lines(100, first))
        program.stdin.flush()
        wait_until(lambda: "a" in tables_of(db_path))
        if first == 0:
            wait_until(lambda: len(numbers_of(db_path, "a")) == 100)
            assert do(db_path, Step("drop", "a"))[0].done
    _, said = program.communicate(timeout=TIMEOUT_S)
    assert (program.returncode, said) == (0, b"sipcap: received 200, stored 200\n")
    assert numbers_of(db_path, "a") == list(range(100, 200))


def test_file_that_stays_locked_is_left_for_the_next_time(db_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that gets no turn fails, says why, and the steps after it are tried."""
    monkeypatch.setattr(sqlite_file, "UPKEEP_LOCK_S", 0.2)
    store(db_path, {"a": [at(0)], "b": [at(0)]})
    with upkeep_of(db_path) as upkeep, contextlib.closing(sqlite3.connect(db_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        outcomes = list(carry_out(upkeep, [Step("drop", "a"), Step("drop", "b")], read_patterns(["a|b"])))
        assert ["locked" in outcome.error for outcome in outcomes] == [True, True]
        with pytest.raises(SinkError, match="locked"):
            upkeep.create(Step("create", "x"), "sip")
        other.execute("ROLLBACK")
        assert upkeep.drop(Step("drop", "a"), lambda: False)
