"""``sipcap run`` while its processes are killed: it goes on, the counters add up, and nothing is stored twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.background import is_running, wait_for
from tests.support.captured import messages_in, texts
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp
from tests.support.services import LISTEN, USUAL, Sender, kill, service

TWO_DATABASES = f"""{USUAL}
[listen:hep]
listen = udp:127.0.0.1:0
children = 2
[capture_mode:other]
db_url = sqlite:///other.db
[route:odd]
methods = INVITE, ACK, BYE
capture_mode = other
"""


def stored_once(*paths: Path) -> int:
    """How many messages databases hold together; each once."""
    found = [message for path in paths for message in messages_in(path)]
    assert len(found) == len(set(found))
    return len(found)


def test_run_worker_killed_is_started_again(tmp_path: Path) -> None:
    """A capturing process that is killed costs nothing that was stored; another one takes its place."""
    with service(tmp_path) as running:
        port = running.process.port
        send_udp(port, *map(hep3_datagram, range(50)))
        running.wait_for_stored(50)
        (worker,) = running.workers
        kill(worker)
        wait_for(lambda: running.workers not in ([], [worker]), "another worker")
        send_udp(port, *map(hep3_datagram, range(50, 100)))
        running.wait_for_stored(100)
        assert running.stats()["listeners"][0]["workers"][0]["restarts"] == 1
        assert "listener hep, process 1 was killed by SIGKILL" in running.process.said
        counted = running.stop()
    assert (counted["received"], counted["stored"], counted["dropped"]) == (100, 100, {})
    assert messages_in(tmp_path / "sipcap.db") == texts(range(100))


@pytest.mark.parametrize("text", [USUAL + LISTEN, TWO_DATABASES], ids=["one database", "two databases"])
def test_run_killed_processes_under_load_leave_the_counters_balanced(tmp_path: Path, text: str) -> None:
    """Whoever is killed, in whatever it does: what was lost is counted, what is stored is there once."""
    with service(tmp_path, text) as running:
        with Sender(running.process.ports(1)) as sender:
            for _ in range(4):
                time.sleep(0.4)
                kill(running.workers[0])
                time.sleep(0.4)
                for pid in running.storing:
                    kill(pid)
                wait_for(lambda: len(running.storing) >= 1, "another storing process")
        wait_for(lambda: not running.counters["pending"], "that nothing is under way")
        counted = running.stop()
    rows = stored_once(tmp_path / "sipcap.db", tmp_path / "other.db")
    assert set(counted["dropped"]) <= {"worker_killed"}
    assert counted["received"] <= sender.sent
    # A batch that was committed in the moment of the kill is in the database and counts as lost.
    lost = counted["dropped"].get("worker_killed", 0)
    assert counted["stored"] <= rows <= counted["stored"] + lost
    assert counted["stored"] > 0.2 * sender.sent


def test_run_killed_itself_leaves_nothing_behind_and_nothing_is_lost(tmp_path: Path) -> None:
    """Without the supervisor the others store what they have, and end; the next start goes on."""
    with service(tmp_path, TWO_DATABASES) as running:
        send_udp(running.process.port, *map(hep3_datagram, range(200)))
        wait_for(lambda: running.counters["received"] == 200, "the messages")
        processes = [*running.workers, *running.storing]
        kill(running.process.pid)
        wait_for(lambda: not any(map(is_running, processes)), "the end of all processes")
    assert stored_once(tmp_path / "sipcap.db", tmp_path / "other.db") == 200


def test_run_silent_worker_is_killed_and_started_again(tmp_path: Path) -> None:
    """A worker that shows no life (a hook that nothing can end) costs itself alone."""
    with service(tmp_path, USUAL + "hook_timeout = 0.1\n" + LISTEN) as running:
        (worker,) = running.workers
        os.kill(worker, signal.SIGSTOP)
        send_udp(running.process.port, *map(hep3_datagram, range(5)))
        wait_for(lambda: running.workers not in ([], [worker]), "another worker")
        running.wait_for_stored(5)
        assert "has been silent" in running.process.said
        running.stop()


def test_run_storing_process_that_breaks_down_again_and_again_is_started_with_pauses(tmp_path: Path) -> None:
    """Each start that follows soon on the last waits longer."""
    with service(tmp_path) as running:
        began_s = time.monotonic()
        for _ in range(4):
            (pid,) = running.storing
            kill(pid)
            wait_for(lambda last=pid: running.storing not in ([], [last]), "another process")  # type: ignore[misc]
        assert time.monotonic() - began_s > 0.1 + 0.2 + 0.4 + 0.8
        running.stop()
