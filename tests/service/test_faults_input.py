"""``sipcap run`` under input and hooks that end Kamailio's module: it goes on, and everything is accounted for."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.background import wait_for
from tests.support.captured import messages_in, texts
from tests.support.deadly import PACKETS
from tests.support.messages import hep3_datagram, hep3_with, sip
from tests.support.receiving import connect, send_udp
from tests.support.services import USUAL, Sender, Service, service

BOTH = "[listen:hep]\nlisten = udp:127.0.0.1:0, tcp:127.0.0.1:0\n"
HOOK = "nonsip_hook = 1\nevent_callback = hook.py:on\n"
LARGE = sip(body=b"x" * 40_000)


def _processor_s(pid: int) -> float:
    """What a process has used of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _restarts(running: Service) -> int:
    return sum(int(worker["restarts"]) for each in running.stats()["listeners"] for worker in each["workers"])


def test_fault_packets_that_end_kamailio_are_counted_and_the_rest_is_stored(tmp_path: Path) -> None:
    """Each of them several times, between good messages, with a hook that is asked about all: no process ends."""
    (tmp_path / "hook.py").write_text("def on(request):\n    return 1\n")
    with service(tmp_path, USUAL + HOOK + BOTH) as running:
        udp, _ = running.process.ports(2)
        number = 0
        for _ in range(3):
            for packet in PACKETS.values():
                send_udp(udp, packet, hep3_datagram(number))
                number += 1
        counted = running.settle(2 * number)
        assert counted["filtered"] == {}
        assert _restarts(running) == 0
        assert running.stop()["dropped"] == {}
    stored = messages_in(tmp_path / "sipcap.db")
    assert [text for text in stored if text in set(texts(range(number)))] == texts(range(number))
    assert len(stored) == counted["stored"]


def test_fault_streams_that_confuse_kamailio_lose_nothing_else(tmp_path: Path) -> None:
    """A header in two reads, a length of 0, a long frame, junk as payload: the connection goes on, without a spin."""
    frames = map(hep3_datagram, range(6))
    with service(tmp_path, USUAL + BOTH) as running:
        _, tcp = running.process.ports(2)
        with connect(tcp) as client:
            first = next(frames)
            client.sendall(first[:2])
            time.sleep(0.1)
            client.sendall(first[2:] + hep3_with(b"junk") + next(frames) + hep3_with(LARGE) + next(frames))
            client.sendall(PACKETS["packet of length 0"] + next(frames) + PACKETS["report 5 without chunk 1"])
            client.sendall(next(frames) + PACKETS["empty family"] + next(frames))
            wait_for(lambda: set(texts(range(6))) <= set(messages_in(tmp_path / "sipcap.db")), "the good ones")
            client.sendall(b"HEP3\0\0")
            (worker,) = running.workers
            before_s = _processor_s(worker)
            time.sleep(0.5)
            assert _processor_s(worker) - before_s < 0.3
        assert LARGE.decode() in messages_in(tmp_path / "sipcap.db")
        assert _restarts(running) == 0
        assert running.stop()["rejected"]["not_sip"] == 1


def test_fault_hook_that_raises_and_sleeps_costs_its_messages_only(tmp_path: Path) -> None:
    """Every tenth message ends in an error, every fiftieth after the time: all others are stored, and it is said."""
    (tmp_path / "hook.py").write_text(
        "import itertools, time\n"
        "turns = itertools.count(1)\n"
        "def on(request):\n"
        "    turn = next(turns)\n"
        "    if turn % 50 == 0:\n"
        "        time.sleep(60)\n"
        "    if turn % 10 == 0:\n"
        "        raise ValueError(turn)\n"
    )
    with service(tmp_path, USUAL + HOOK + "hook_timeout = 0.1\n" + BOTH) as running:
        send_udp(running.process.port, *map(hep3_datagram, range(300)))
        counted = running.settle(300)
        assert counted["rejected"] == {"hook_error": 24, "hook_timeout": 6}
        assert _restarts(running) == 0
        assert "the message is dropped" in running.process.said
        assert running.stop()["stored"] == 270
    left_out = range(9, 300, 10)
    assert messages_in(tmp_path / "sipcap.db") == texts(set(range(300)) - set(left_out))


def test_fault_hook_that_leaks_memory_costs_its_worker_now_and_then(tmp_path: Path) -> None:
    """When it has used up what it may take, the worker is started again, at the same port; all is accounted for."""
    (tmp_path / "hook.py").write_text("kept = []\ndef on(request):\n    kept.append(bytearray(1_000_000))\n")
    bounded = ("prlimit", "--as=400000000")
    with service(tmp_path, USUAL + HOOK + BOTH, before=bounded) as running:
        port = running.process.port
        with Sender([port], rate=500, most=2_000) as sender:
            wait_for(lambda: _restarts(running) >= 2, "two restarts")
        wait_for(lambda: running.counters["received"] == sender.sent, "the messages")
        counted = running.settle()
        assert 0 < counted["rejected"]["hook_error"] < 1_000
        assert counted["dropped"] == {}
        assert "has used up the memory of its process" in running.process.said
        assert "Traceback" not in running.process.said
        assert running.process.stop() == 0
    stored = messages_in(tmp_path / "sipcap.db")
    assert len(stored) == len(set(stored)) == counted["stored"] > 300
    assert set(stored) <= set(texts(range(sender.sent)))
