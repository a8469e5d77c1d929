"""``sipcap run`` when a reload comes at a bad time, or finds that nothing more can be had."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path

import pytest

from sipcap.errors import ControlError
from tests.support.background import imbalance, wait_for
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp
from tests.support.services import LISTEN, USUAL, service

IN_FORCE = "the new configuration is in force"
STAYS = "the configuration before stays in force"


def _descriptors(pid: int) -> list[int]:
    return [int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()]


def test_reload_without_descriptors_is_refused_and_the_service_goes_on(tmp_path: Path) -> None:
    """Wherever they come to an end: a pipe, a socket, a file. It ends as ever, and everything is counted."""
    more = "[listen:more]\nlisten = udp:127.0.0.1:0\n"
    with service(tmp_path) as running:
        process = running.process
        before = sorted(_descriptors(process.pid))
        for extra in range(16, 0, -1):
            most = before[-1] + extra
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, most))
            running.configure(f"{USUAL}capture_node = node{extra}\n{LISTEN}{more}")
            answers = process.said.count(IN_FORCE) + process.said.count(STAYS)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: process.said.count(IN_FORCE) + process.said.count(STAYS) > answers, f"{most}")  # noqa: B023
            wait_for(lambda: process.ended or len(process.workers) <= 3, "the end of what was started or replaced")
        assert "Too many open files" in process.said
        assert process.said.count(STAYS) > 3
        send_udp(process.port, *map(hep3_datagram, range(10)))
        counted = running.stop()
    assert (counted["received"], counted["stored"]) == (10, 10)
    assert "bug" not in process.said


def test_reloads_keep_no_descriptors(tmp_path: Path) -> None:
    """A service that is reloaded every hour runs for years."""
    with service(tmp_path) as running:
        before = len(_descriptors(running.process.pid))
        for turn in range(5):
            running.configure(f"{USUAL}capture_node = node{turn}\n{LISTEN}")
            assert running.call("sipcapture.reload") == "Reloaded"
        wait_for(lambda: len(running.process.workers) == 2, "the end of those before")
        wait_for(lambda: len(_descriptors(running.process.pid)) <= before, "their end")
        running.stop()


def test_reload_of_a_service_that_ends_is_refused_at_once(tmp_path: Path) -> None:
    """A slow hook has it drain for a while; what there is no time for is counted, and nothing is killed."""
    (tmp_path / "slow.py").write_text("import time\ndef on(request): time.sleep(0.1)\n")
    text = f"{USUAL}drain_timeout = 4\nevent_callback = slow.py:on\n{LISTEN}"
    with service(tmp_path, text) as running:
        send_udp(running.process.port, *map(hep3_datagram, range(200)))
        running.wait_for_stored(3)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        began_s = time.monotonic()
        with pytest.raises(ControlError, match="the service ends"):
            running.call("sipcapture.reload")
        assert time.monotonic() - began_s < 2
        assert running.process.wait() == 5
        counted = running.process.summary
    assert counted["stored"] > 20
    assert counted["dropped"] == {"drain_timeout": 200 - counted["stored"]}
    assert imbalance(counted) == 0


def test_reload_that_is_refused_tells_no_password(tmp_path: Path) -> None:
    """Neither to who asked, nor in the log, nor in what the service tells of itself."""
    with service(tmp_path) as running:
        running.configure(f"{USUAL}event_callback = mysql://u:geheim@h/db\n{LISTEN}")
        with pytest.raises(ControlError) as failure:
            running.call("sipcapture.reload")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: STAYS in running.process.said, "the refusal")
        wait_for(lambda: running.stats()["errors"], "the error")
        told = f"{failure.value} {running.stats()} {running.process.said}"
        assert "geheim" not in told
        assert "mysql://u:(hidden)@h/db" in running.stats()["errors"][-1]["text"]
        running.stop()


def test_bug_of_the_supervisor_ends_the_service_in_order(tmp_path: Path) -> None:
    """What has been received is stored and counted, and then the bug is told."""
    (tmp_path / "sitecustomize.py").write_text(
        "from sipcap.service.supervisor import Supervisor\n"
        "def broken(self): raise RuntimeError('broken')\n"
        "Supervisor._reload_for_signal = broken\n"
    )
    text = USUAL.replace("batch_interval = 0.1", "batch_interval = 60") + LISTEN
    with service(tmp_path, text, env={"PYTHONPATH": str(tmp_path)}) as running:
        send_udp(running.process.port, *map(hep3_datagram, range(10)))
        wait_for(lambda: running.counters["received"] == 10, "the messages")
        running.process.send_signal(signal.SIGHUP)
        assert running.process.wait() == 70
        counted = running.process.summary
    assert (counted["received"], counted["stored"], counted["dropped"]) == (10, 10, {})
    assert "bug: RuntimeError: broken" in running.process.said
