"""Upkeep of servers beside capture, beside others who do the same, and without rights."""

from __future__ import annotations

import subprocess
import threading
import time
import uuid
from pathlib import Path

import pytest

from sipcap.tables import Step
from sipcap.upkeep import served as served_module
from sipcap.upkeep.carrying import Outcome
from tests.calls.helpers import SECOND, at
from tests.conftest import TIMEOUT_S
from tests.support.databases import ServedDatabase
from tests.support.messages import BASE_TS_US
from tests.support.pipes import wait_until
from tests.support.records import sip_lines
from tests.support.storing import start_store
from tests.upkeep.served import DAY_S, count, day, do, store


def test_two_at_once_do_no_harm(served: ServedDatabase) -> None:
    """Both drop, delete and create the same: each thing happens once, nobody fails."""
    names = [day(number) for number in range(6)]
    store(served, {**{name: [at(0)] for name in names}, "a": [at(number) for number in range(300)]})
    steps = [*(Step("drop", name) for name in names), Step("delete", "a", before_us=BASE_TS_US + 200),
             Step("create", "x")]  # fmt: skip
    outcomes: list[list[Outcome]] = []
    threads = [threading.Thread(target=lambda: outcomes.append(do(served.url, *steps))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(outcomes) == 2
    assert [outcome.error for each in outcomes for outcome in each if outcome.error] == []
    assert served.tables() == {"a", "x", "sipcap_batches"}
    assert count(served, "a") == 100
    assert sum(outcome.done for each in outcomes for outcome in each if outcome.step.action == "drop") == 6


def feed(program: subprocess.Popen[bytes], stop: threading.Event, sent: list[int]) -> None:
    """Give a program numbered records until told to stop."""
    assert program.stdin is not None
    while not stop.is_set():
        program.stdin.write(sip_lines(100, len(sent) * 100))
        program.stdin.flush()
        sent.append(100)
        time.sleep(0.01)


def test_capture_goes_on_beside_upkeep(served: ServedDatabase, tmp_path: Path) -> None:
    """A real store writes without a failed batch while other tables come and go, and its own is emptied and dropped."""
    store(served, {"a": [at(-DAY_S * SECOND, number) for number in range(3_000)], "b": [at(0)]})
    program = start_store(tmp_path, "--db-url", served.url, "--table", "a", "--insert-retries", "0")
    stop, sent = threading.Event(), list[int]()
    feeder = threading.Thread(target=feed, args=(program, stop, sent))
    feeder.start()
    wait_until(lambda: count(served, "a") > 3_000)
    outcomes = do(
        served.url, Step("create", "x"), Step("delete", "a", before_us=BASE_TS_US - SECOND), Step("drop", "b")
    )
    kept = count(served, "a")
    dropped = do(served.url, Step("drop", "a"))
    wait_until(lambda: "a" in served.tables())
    stop.set()
    feeder.join(TIMEOUT_S)
    _, said = program.communicate(timeout=TIMEOUT_S)
    assert (program.returncode, said) == (0, f"sipcap: received {sum(sent)}, stored {sum(sent)}\n".encode())
    assert [outcome.error for outcome in (*outcomes, *dropped)] == [""] * 4
    assert (outcomes[1].rows, kept > 0, dropped[0].done) == (3_000, True, True)
    assert 0 < count(served, "a") <= sum(sent)


def test_table_in_use_is_left_for_the_next_time(served: ServedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers behind a DROP wait for a second at most; what cannot be dropped is said."""
    monkeypatch.setattr(served_module, "UPKEEP_LOCK_S", 0.5)
    store(served, {"a": [at(0)], "b": [at(0)]})
    with served.server.session(served.name) as run:
        run("BEGIN")
        run("SELECT * FROM a")
        first, second = do(served.url, Step("drop", "a"), Step("drop", "b"))
        run("COMMIT")
    assert (first.done, second.done) == (False, True)
    assert "lock" in first.error.lower()
    assert do(served.url, Step("drop", "a"))[0].done


def test_upkeep_needs_no_superuser(served: ServedDatabase) -> None:
    """An account that owns its tables, or has the rights of a writer, is enough."""
    name, word = f"u{uuid.uuid4().hex[:12]}", "w0rd"
    if served.kind == "postgresql":
        served.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{word}' NOSUPERUSER")
        served.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {name}")
    else:
        served.execute(f"CREATE USER {name}@'%' IDENTIFIED BY '{word}'")
        rights = "SELECT, INSERT, DELETE, CREATE, ALTER, DROP"
        served.execute(f"GRANT {rights} ON {served.name}.* TO {name}@'%'")
    try:
        url = f"{served.kind}://{name}:{word}@{served.server.host}:{served.server.port}/{served.name}"
        steps = [Step("create", name) for name in ("a", "x")]
        steps += [Step("delete", "a", before_us=BASE_TS_US), Step("drop", "a")]
        assert [(outcome.done, outcome.error) for outcome in do(url, *steps)] == [(True, "")] * 4
        if served.kind == "postgresql":
            served.execute("CREATE TABLE b (id serial, micro_ts bigint, msg text)")
            assert "owner" in do(url, Step("drop", "b"))[0].error
    finally:
        if served.kind == "postgresql":
            served.execute(f"DROP OWNED BY {name}")
        served.execute(f"DROP {'ROLE' if served.kind == 'postgresql' else 'USER'} {name}")
