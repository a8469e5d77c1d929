"""SIGUSR1: a command that works prints its counters and goes on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.background import Background, Start, background, imbalance, wait_for
from tests.support.database_server import free_port
from tests.support.messages import BASE_TS_US, hep3_datagram, sip_message
from tests.support.packets import sip_capture
from tests.support.receiving import send_udp
from tests.support.records import sip_lines

JSON = ("--log-format", "json")


def answers(process: Background) -> list[dict[str, Any]]:
    """The counters that it has said so far."""
    lines = [json.loads(line) for line in process.said.splitlines()]
    return [line for line in lines if "received" in line]


def ask(process: Background, **wanted: int) -> dict[str, Any]:
    """Ask until the counters are as wanted; those."""

    def told() -> bool:
        seen = len(answers(process))
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: process.ended or len(answers(process)) > seen, "an answer")
        assert not process.ended, process.said
        return wanted.items() <= answers(process)[-1].items()

    wait_for(told, f"{wanted}")
    found = answers(process)[-1]
    assert (found["level"], imbalance(found)) == ("info", 0)
    return found


@pytest.mark.parametrize("children", ["1", "3"])
def test_listen_asked_says_the_sum_of_its_processes_and_goes_on(listen: Start, children: str) -> None:
    """The one that was started adds them up; the signal does nothing to the others."""
    process = listen("--children", children)
    send_udp(process.port, *map(hep3_datagram, range(20)))
    for pid in process.workers:
        os.kill(pid, signal.SIGUSR1)
    ask(process, received=20, stored=20)
    send_udp(process.port, *map(hep3_datagram, range(20, 30)))
    ask(process, received=30, stored=30)
    assert process.stop() == 0
    assert process.output.count(b"\n") == 30


def test_listen_asked_while_its_reader_does_not_read_says_what_is_pending(listen: Start) -> None:
    """That is when one wants to know; what is on its way is counted."""
    reading, writing = os.pipe()
    process = listen(stdout=writing)
    os.close(writing)
    port = process.port
    for first in range(0, 400, 100):
        send_udp(port, *map(hep3_datagram, range(first, first + 100)))
        ask(process, received=first + 100)
    assert ask(process)["pending"] > 0
    os.close(reading)
    assert process.wait() == 0


def hears(process: Background) -> bool:
    """Whether a process handles SIGUSR1, as the kernel says."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1)


def test_listen_asked_says_it_as_no_warning(tmp_path: Path) -> None:
    """It was asked for: also said where nothing but warnings is wanted."""
    with background(tmp_path, "listen", "-q", "--listen", "udp:127.0.0.1:0") as process:
        wait_for(lambda: hears(process), "its start")
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: process.ended or process.said.endswith("\n"), "the counters")
        assert process.said == "sipcap: received 0, stored 0\n"


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[int]:
    """The end to write of a pipe called ``fifo`` in the test's folder."""
    os.mkfifo(tmp_path / "fifo")
    writing = os.open(tmp_path / "fifo", os.O_RDWR)
    yield writing
    with contextlib.suppress(OSError):
        os.close(writing)


FROM_FIFO = ("sh", "-c", 'exec "$@" <fifo', "sh")


@pytest.mark.parametrize("command", ["store", "report"])
def test_store_and_report_asked_say_what_is_stored_and_go_on(tmp_path: Path, fifo: int, command: str) -> None:
    """While the input goes on."""
    kind = "stored" if command == "store" else "reported"
    with background(tmp_path, command, *JSON, before=FROM_FIFO) as process:
        os.write(fifo, sip_lines(5))
        wait_for(lambda: process.ended or hears(process), "its start")
        ask(process, received=5, **{kind: 5})
        os.write(fifo, sip_lines(5, 5))
        ask(process, received=10, **{kind: 10})
        os.close(fifo)
        assert process.wait() == 0


def test_store_asked_while_its_database_is_away_answers(tmp_path: Path, fifo: int) -> None:
    """Also while it waits between two attempts."""
    with background(
        tmp_path, "store", *JSON, "--spool", "spool", "--insert-retries", "500", "--insert-retry-timeout", "300",
        "--db-url", f"mysql://u@127.0.0.1:{free_port()}/d", "--drain-timeout", "1", before=FROM_FIFO,
    ) as process:  # fmt: skip
        os.write(fifo, sip_lines(5))
        wait_for(lambda: process.ended or hears(process), "its start")
        ask(process, received=5, pending=5)
        assert process.stop() == 128 + signal.SIGTERM


@pytest.mark.parametrize("is_sent", [False, True], ids=["lines", "HEP"])
def test_replay_asked_says_what_has_been_read_and_goes_on(tmp_path: Path, fifo: int, is_sent: bool) -> None:
    """From a pipe that goes on, to lines and to a collector."""
    collector = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    collector.bind(("127.0.0.1", 0))
    to = ("--to", f"udp:127.0.0.1:{collector.getsockname()[1]}") if is_sent else ()
    path = sip_capture(tmp_path / "x.pcap", map(sip_message, range(5)), first_us=BASE_TS_US)
    with background(tmp_path, "replay", *JSON, *to, "fifo") as process:
        os.write(fifo, path.read_bytes())
        wait_for(lambda: process.ended or hears(process), "its start")
        ask(process, received=5, stored=5)
        os.close(fifo)
        assert process.wait() == 0
    collector.close()
