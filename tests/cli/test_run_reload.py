"""``sipcap run --config`` and its signals: SIGHUP, SIGUSR1; and the switch."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest

from sipcap.errors import ControlError
from tests.support.background import background, wait_for
from tests.support.captured import messages_in, texts
from tests.support.messages import hep3_datagram
from tests.support.receiving import connect, send_udp
from tests.support.services import LISTEN, USUAL, Sender, kill, service

IN_FORCE = "the new configuration is in force"


def test_reload_changes_what_the_file_says_and_keeps_the_socket(tmp_path: Path) -> None:
    """Records go to the new table from then on; a sender notices nothing."""
    with service(tmp_path) as running:
        send_udp(running.process.port, *map(hep3_datagram, range(10)))
        running.wait_for_stored(10)
        running.configure(f"{USUAL}table_name = later\n{LISTEN}")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: IN_FORCE in running.process.said, "the reload")
        send_udp(running.process.port, *map(hep3_datagram, range(10, 20)))
        running.wait_for_stored(20)
        counted = running.stop()
    assert counted["received"] == 20
    assert messages_in(tmp_path / "sipcap.db") == texts(range(10))
    assert messages_in(tmp_path / "sipcap.db", "later") == texts(range(10, 20))


def test_reload_opens_and_closes_what_has_changed(tmp_path: Path) -> None:
    """A listener that is new is heard, one that is gone is not, and what it had taken in is stored."""
    more = "[listen:more]\nlisten = tcp:127.0.0.1:0\n"
    with service(tmp_path, USUAL + LISTEN) as running:
        running.configure(USUAL + LISTEN + more)
        assert running.call("sipcapture.reload") == "Reloaded"
        _, _, tcp = running.process.ports(3)
        with connect(tcp) as client:
            client.sendall(hep3_datagram(0))
            running.wait_for_stored(1)
        running.configure(USUAL + LISTEN)
        assert running.call("sipcapture.reload") == "Reloaded"
        with pytest.raises(ConnectionRefusedError):
            wait_for(lambda: connect(tcp).close(), "the end of the listener")
        assert running.stop()["stored"] == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f"{USUAL}tabel_name = x\n{LISTEN}",
            "modes.ini:7: unknown key tabel_name in [sipcap]; did you mean table_name?",
        ),
        (f"{USUAL}[listen:hep]\nlisten = udp:192.0.2.1:5\n", "cannot listen on udp:192.0.2.1:5"),
        (f"{USUAL}event_callback = gone.py:hook\n{LISTEN}", "gone.py"),
        (f"{USUAL}dead_letter = gone/dead\n{LISTEN}", "cannot write dead letters to gone/dead"),
    ],
    ids=["unknown key", "address of another machine", "hook that is not there", "folder that is not there"],
)
def test_reload_of_what_cannot_be_used_changes_nothing(tmp_path: Path, text: str, reason: str) -> None:
    """It says what is wrong, to who asked or in the log, and goes on as before."""
    with service(tmp_path) as running:
        running.configure(text)
        with pytest.raises(ControlError, match=re.escape(reason)):
            running.call("sipcapture.reload")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the configuration before stays in force" in running.process.said, "the refusal")
        assert reason in running.process.said
        send_udp(running.process.port, *map(hep3_datagram, range(10)))
        running.wait_for_stored(10)
        wait_for(lambda: len(running.process.workers) == 2, "the end of what was started")
        running.stop()
    assert messages_in(tmp_path / "sipcap.db") == texts(range(10))


def test_reload_without_a_change_starts_no_process(tmp_path: Path) -> None:
    """A file that says what it said costs nobody his connection."""
    with service(tmp_path) as running:
        workers = running.workers
        assert running.call("sipcapture.reload") == "Reloaded"
        assert running.workers == workers
        running.stop()


def test_reload_every_second_under_load_loses_nothing(tmp_path: Path) -> None:
    """Each time something is different: every message that was sent is stored, once."""
    with service(tmp_path) as running:
        with Sender(running.process.ports(1), rate=1_500) as sender:
            for turn in range(6):
                time.sleep(1.0)
                running.configure(f"{USUAL}capture_node = node{turn}\n{LISTEN}children = {1 + turn % 2}\n")
                running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: running.counters["received"] == sender.sent, "all that was sent")
        assert running.process.said.count(IN_FORCE) >= 5
        counted = running.stop()
    assert (counted["received"], counted["stored"], counted["dropped"]) == (sender.sent, sender.sent, {})
    assert counted["kernel_dropped"] == 0
    assert messages_in(tmp_path / "sipcap.db") == texts(range(sender.sent))


def test_switch_off_holds_for_new_processes_and_over_a_reload(tmp_path: Path) -> None:
    """What is switched off stays off until somebody switches it on; what it lets pass is counted."""
    with service(tmp_path) as running:
        port = running.process.port
        assert running.call("sipcapture.status", "off") == "Disabled"
        send_udp(port, *map(hep3_datagram, range(10)))
        wait_for(lambda: running.counters["filtered"] == {"capture_off": 10}, "the messages")
        (worker,) = running.workers
        kill(worker)
        wait_for(lambda: running.workers not in ([], [worker]), "another worker")
        running.configure(f"{USUAL}capture_node = other\n{LISTEN}")
        running.call("sipcapture.reload")
        send_udp(port, *map(hep3_datagram, range(10, 20)))
        wait_for(lambda: running.counters["filtered"] == {"capture_off": 20}, "the messages")
        assert running.call("sipcapture.status", "check") == "Disabled"
        assert running.call("sipcapture.status", "on") == "Enabled"
        send_udp(port, *map(hep3_datagram, range(20, 30)))
        running.wait_for_stored(10)
        counted = running.stop()
    assert (counted["received"], counted["stored"], counted["filtered"]) == (30, 10, {"capture_off": 20})
    assert messages_in(tmp_path / "sipcap.db") == texts(range(20, 30))


def test_switch_of_one_mode_leaves_the_others_on(tmp_path: Path) -> None:
    """A capture mode that is off stores nothing; the rest goes on."""
    text = f"""{USUAL}{LISTEN}
[capture_mode:other]
db_url = sqlite:///other.db
[route:all]
hep_type = 1
capture_mode = other
"""
    with service(tmp_path, text) as running:
        running.call("sipcapture.status", "off", "other")
        assert running.stats()["modes"] == {"default": True, "other": False}
        send_udp(running.process.port, *map(hep3_datagram, range(10)))
        wait_for(lambda: running.counters["filtered"] == {"capture_off": 10}, "the messages")
        running.call("sipcapture.status", "on", "other")
        send_udp(running.process.port, *map(hep3_datagram, range(10, 20)))
        running.wait_for_stored(10)
        running.stop()
    assert messages_in(tmp_path / "other.db") == texts(range(10, 20))


def test_switch_of_a_mode_that_a_reload_has_taken_away_is_refused(tmp_path: Path) -> None:
    """Nobody believes to have switched off what is not there; what was off is off again when it comes back."""
    mode = "[capture_mode:extra]\ndb_url = sqlite:///extra.db\ntable_name = x\n"
    with service(tmp_path, USUAL + LISTEN + mode) as running:
        assert running.call("sipcapture.status", "off", "extra") == "Disabled"
        running.configure(USUAL + LISTEN)
        assert running.call("sipcapture.reload") == "Reloaded"
        for word in ("on", "off", "check"):
            with pytest.raises(ControlError, match="No capture mode of the name extra"):
                running.call("sipcapture.status", word, "extra")
        running.configure(USUAL + LISTEN + mode)
        assert running.call("sipcapture.reload") == "Reloaded"
        assert running.call("sipcapture.status", "check", "extra") == "Disabled"
        running.stop()


def test_run_with_a_file_that_does_not_switch_it_on_starts_off_and_says_so(tmp_path: Path) -> None:
    """As the module: capture_on is 0 where nothing else is said."""
    with service(tmp_path, USUAL.replace("capture_on = 1\n", "") + LISTEN) as running:
        wait_for(lambda: "capture_on is 0" in running.process.said, "the word that it is off")
        send_udp(running.process.port, hep3_datagram(0))
        wait_for(lambda: running.counters["filtered"] == {"capture_off": 1}, "the message")
        assert running.stop()["stored"] == 0


def test_run_prints_its_counters_on_sigusr1(tmp_path: Path) -> None:
    """They come at once, and the service goes on."""
    with service(tmp_path) as running:
        send_udp(running.process.port, *map(hep3_datagram, range(10)))
        running.wait_for_stored(10)
        running.process.send_signal(signal.SIGUSR1)
        wait_for(
            lambda: '"stored": 10' in running.process.said or '"stored":10' in running.process.said, "the counters"
        )
        line = next(line for line in map(json.loads, running.process.said.splitlines()) if line.get("stored") == 10)
        assert line["level"] == "info"
        running.stop()


@pytest.mark.parametrize("options", [(), ("-q",)])
def test_run_prints_its_counters_as_what_was_asked_for(tmp_path: Path, options: tuple[str, ...]) -> None:
    """They are no warning, and also there if nothing but warnings is wanted; in JSON their level is info."""
    with background(tmp_path, "run", "--listen", "udp:127.0.0.1:0", *options) as process:
        wait_for((tmp_path / "sipcap.db").exists, "the start")
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: "received 0, stored 0" in process.said, "the counters")
        assert "sipcap: received 0, stored 0" in process.said
        assert "warning" not in process.said
        assert process.stop() == 0


def test_run_hung_up_without_a_file_stops(tmp_path: Path) -> None:
    """A terminal that goes away takes along what was started in it without a configuration."""
    with background(tmp_path, "run", "--listen", "udp:127.0.0.1:0", "--log-format", "json") as process:
        send_udp(process.port, hep3_datagram(0))
        wait_for(lambda: messages_in(tmp_path / "sipcap.db"), "the row")
        assert process.stop(signal.SIGHUP) == 0
        assert process.summary["stored"] == 1


def test_reload_says_what_only_the_next_start_brings(tmp_path: Path) -> None:
    """Control sockets and the user are what they were at the start; a key that is as it was then is not named."""
    with service(tmp_path) as running:
        running.configure(f"{USUAL}metrics_listen = 127.0.0.1:0\nrpc_fifo = rpc.fifo\n{LISTEN}")
        assert running.call("sipcapture.reload") == "Reloaded"
        wait_for(lambda: "only the next start" in running.process.said, "the warning")
        assert "only the next start brings the new values of rpc_fifo, metrics_listen" in running.process.said
        running.configure(f"{USUAL}capture_node = other\n{LISTEN}")
        assert running.call("sipcapture.reload") == "Reloaded"
        wait_for(lambda: running.process.said.count(IN_FORCE) == 2, "the reload")
        running.stop()
    assert running.process.said.count("only the next start") == 1
