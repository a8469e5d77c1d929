"""``--hook`` as a user gives it: the examples, and hooks that do what they should not."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, SIPCAP, RunSipcap, environment
from tests.support.background import Start, imbalance, wait_for
from tests.support.messages import chunk, hep3, hep3_datagram, hep3_with, sip, usual_chunks
from tests.support.packets import sip_capture
from tests.support.receiving import send_udp
from tests.support.records import rows_of, tables_of

EXAMPLES = ROOT / "examples" / "hooks"


def rtcp(*blocks: dict[str, Any], cid: bytes = b"call-1") -> bytes:
    """A report as agents send it."""
    payload = json.dumps({"sender_information": {}, "report_blocks": blocks}).encode()
    correlation = (chunk(17, cid),) if cid else ()
    return hep3(*usual_chunks(payload_type=5), *correlation, chunk(15, payload))


def hook_file(folder: Path, body: str) -> str:
    """A hook ``on(request)`` in a file of its own."""
    (folder / "hook.py").write_text(f"import os, sys, time\nfrom sipcap.hooks import Route\nkept = []\n{body}\n")
    return "hook.py:on"


def test_readme_of_hooks_has_one_that_works(sipcap: RunSipcap, tmp_path: Path) -> None:
    """With the import that it names: it is loaded, and asked."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (EXAMPLES / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "hook.py").write_text(code)
    done = sipcap("replay", str(ROOT / "examples" / "call.pcap"), "--hook", "hook.py:on_request")
    assert b"hook_error" not in done.stderr
    assert (done.returncode, done.stdout.count(b"\n") > 5) == (0, True), done.stderr


def test_example_that_drops_scanners(listen: Start) -> None:
    """Scanners are not stored, and counted; everybody else is."""
    process = listen("--hook", f"{EXAMPLES / 'drop_scanners.py'}:on_request")
    scanner = sip("OPTIONS", {"User-Agent": "friendly-scanner"})
    vicious = sip("REGISTER", {"From": '"sipvicious" <sip:sipvicious@1.1.1.1>;tag=1'})
    send_udp(process.port, *map(hep3_with, (scanner, sip(), vicious, sip("BYE"))))
    wait_for(lambda: process.output.count(b"\n") == 2, "two lines")
    assert [line["method"] for line in process.lines] == ["INVITE", "BYE"]
    assert process.stop() == 0
    assert (process.summary["filtered"], imbalance(process.summary)) == ({"hook": 2}, 0)


def test_example_that_routes_by_trunk(listen: Start, sipcap: RunSipcap, db_path: Path) -> None:
    """``listen --hook | store`` puts each trunk's messages into its table, for their own day."""
    process = listen("--hook", f"{EXAMPLES / 'route_by_trunk.py'}:on_request")
    trunk = bytes((192, 0, 2, 1)), 5060
    other = bytes((10, 9, 9, 9)), 5060
    for source, destination in ((trunk, other), (other, trunk), (other, other)):
        send_udp(process.port, hep3(*usual_chunks(source=source, destination=destination), chunk(15, sip())))
    wait_for(lambda: process.output.count(b"\n") == 3, "three lines")
    assert process.stop() == 0
    assert sipcap("store", stdin=process.output).returncode == 0
    assert tables_of(db_path) == {"sip_carrier1_20231114", "sip_capture"}
    assert len(rows_of(db_path, "sip_carrier1_20231114")) == 2


def test_example_that_keeps_rtcp_of_bad_calls(run: Start, db_path: Path) -> None:
    """In ``run``, too: reports of bad calls in their table, those of good ones are not stored, SIP as always."""
    process = run("--hook", f"{EXAMPLES / 'rtcp_reports.py'}:on_request", "--nonsip-hook")
    bad, good = {"fraction_lost": 80, "ia_jitter": 3}, {"fraction_lost": 0, "ia_jitter": 3}
    odd = hep3(*usual_chunks(payload_type=5), chunk(17, b"c"), chunk(15, b"\x80\xc8\0\6"))
    send_udp(process.port, rtcp(good, bad), rtcp(good), rtcp(bad, cid=b""), odd, hep3_with(sip()))
    wait_for(lambda: db_path.exists() and "sip_capture" in tables_of(db_path), "a table")
    assert process.stop() == 0
    assert [row[0] for row in rows_of(db_path, "rtcp_bad_20231114", ["correlation_id"])] == ["call-1"]
    assert len(rows_of(db_path, "rtcp_capture", ["msg"])) == 1
    assert (process.summary["filtered"], imbalance(process.summary)) == ({"hook": 2}, 0)


@pytest.mark.parametrize(("body", "reason"), [
    ("def on(request): raise ValueError(request.source_ip)", "hook_error"),
    ("def on(request): sys.exit(0)", "hook_error"),
    ("def on(request): return 'yes'", "hook_error"),
    ("def on(request): time.sleep(60)", "hook_timeout"),
    ("def on(request):\n    while True: pass", "hook_timeout"),
])  # fmt: skip
def test_hook_that_fails_costs_its_messages_only(tmp_path: Path, listen: Start, body: str, reason: str) -> None:
    """It raises, exits, talks nonsense, sleeps, loops: each message is counted, and reports go on."""
    process = listen("--hook", hook_file(tmp_path, body), "--hook-timeout", "0.2")
    report = hep3(*usual_chunks(payload_type=5), chunk(15, b"{}"))
    send_udp(process.port, hep3_datagram(0), hep3_datagram(1), report)
    wait_for(lambda: process.output.count(b"\n") == 1, "the report")
    assert process.stop() == 0
    assert (process.summary["rejected"], process.summary["reported"]) == ({reason: 2}, 1)
    assert imbalance(process.summary) == 0
    assert process.said.count("; the message is dropped") == 1


def test_hook_that_leaks_and_prints_and_forks_threads_harms_nothing(tmp_path: Path, listen: Start) -> None:
    """It keeps every request, opens files, writes to stdout, starts threads: the lines are whole and all there."""
    body = (
        "import threading\n"
        "def on(request):\n"
        "    kept.append((request, os.open(os.devnull, 0)))\n"
        "    print('{}')\n"
        "    threading.Thread(target=time.sleep, args=(0.1,), daemon=True).start()\n"
    )
    process = listen("--hook", hook_file(tmp_path, body))
    send_udp(process.port, *map(hep3_datagram, range(300)))
    wait_for(lambda: process.output.count(b"\n") == 300, "300 lines")
    assert len({line["micro_ts"] for line in process.lines}) == 300
    assert process.stop() == 0
    assert (process.summary["stored"], process.summary["hook_calls"], imbalance(process.summary)) == (300, 300, 0)


def test_hook_that_runs_out_of_files_is_an_error_of_the_hook(tmp_path: Path, listen: Start) -> None:
    """What it uses up it lacks itself; UDP goes on."""
    hook = hook_file(tmp_path, "def on(request): kept.append(os.open(os.devnull, 0))")
    process = listen("--hook", hook, before=("prlimit", "--nofile=64"))
    send_udp(process.port, *map(hep3_datagram, range(200)))
    wait_for(lambda: "too many" in process.said.lower() and process.output.count(b"\n") > 9, "the end of files")
    assert process.stop() == 0
    assert process.summary["rejected"]["hook_error"] > 100
    assert (process.summary["received"], imbalance(process.summary)) == (200, 0)


def test_hook_in_every_worker(tmp_path: Path, listen: Start) -> None:
    """Several processes share the socket; whichever takes a message asks its own copy of the hook."""
    body = "def on(request): return Route(table=f'pid_{os.getpid()}')"
    process = listen("--hook", hook_file(tmp_path, body), "--children", "3")
    wait_for(lambda: len(process.workers) == 3, "three workers")
    pids = {f"pid_{pid}" for pid in process.workers}
    send_udp(process.port, *map(hep3_datagram, range(600)))
    wait_for(lambda: process.output.count(b"\n") == 600, "600 lines")
    assert {line["_table"] for line in process.lines} <= pids
    assert process.stop() == 0
    assert process.summary["hook_calls"] == 600


@pytest.mark.parametrize("children", ["1", "2"])
def test_hook_that_hangs_costs_its_worker_and_shows_where(tmp_path: Path, listen: Start, children: str) -> None:
    """What holds on to the interpreter cannot be ended by a signal: the process is, and shows where; all is counted."""
    body = "def on(request):\n    if b'BYE' in request.message: sum(range(10**13))"
    process = listen("--hook", hook_file(tmp_path, body), "--hook-timeout", "0.2", "--children", children)
    send_udp(process.port, *map(hep3_with, (sip(), sip(), sip())))
    wait_for(lambda: process.output.count(b"\n") == 3, "three lines")
    send_udp(process.port, hep3_with(sip("BYE")))
    assert process.wait() == 5
    assert "in on" in process.said
    counted = process.summary
    assert (counted["received"], counted["stored"], counted["dropped"]) == (4, 3, {"worker_killed": 1})
    assert imbalance(counted) == 0


def test_hook_that_is_slow_at_a_stop_costs_what_there_is_no_time_for(tmp_path: Path, listen: Start) -> None:
    """Its process ends by itself, in time: what was answered is out, and the rest is counted by its reason."""
    process = listen("--hook", hook_file(tmp_path, "def on(request): time.sleep(0.1)"), "--drain-timeout", "2")
    send_udp(process.port, *map(hep3_datagram, range(200)))
    wait_for(lambda: process.output.count(b"\n") > 2, "the first lines")
    assert process.stop() == 5
    counted = process.summary
    assert counted["stored"] == process.output.count(b"\n") >= 10
    assert counted["dropped"] == {"drain_timeout": 200 - counted["stored"]}
    assert imbalance(counted) == 0


def test_hook_that_has_started_threads_keeps_them(tmp_path: Path, listen: Start) -> None:
    """A thread that refreshes a list, say, is started when the file is loaded, and goes on beside the capture."""
    body = (
        "import threading\nnumbers = []\n"
        "def refresh():\n    while True: numbers.append(0); time.sleep(0.01)\n"
        "threading.Thread(target=refresh, daemon=True).start()\n"
        "def on(request):\n    before = len(numbers)\n    time.sleep(0.2)\n    return int(len(numbers) > before)"
    )
    process = listen("--hook", hook_file(tmp_path, body))
    send_udp(process.port, *map(hep3_datagram, range(3)))
    wait_for(lambda: process.output.count(b"\n") == 3, "three lines")
    assert process.stop() == 0
    assert process.summary["stored"] == 3


AT_EXIT = """import atexit, sys
from atexit import register
calls = []
def say(*words): sys.stdout.write(' '.join(map(str, words)) + '\\n')  # a line in one piece: processes share the output
def tell(*args): say('ending', *args, len(calls))
register(tell, 'loaded')
atexit.register(tell, 'forgotten', 0)
atexit.unregister(tell)
atexit.register(say, 'first', 'registered')
register(lambda: 1 / 0)
register(lambda: say('ending with', len(calls)))
def on(request):
    calls.append(1)
    if len(calls) == 1: register(lambda: say('closed', len(calls)))
"""


@pytest.mark.parametrize("children", [1, 2])
def test_hook_has_its_exit_handlers_called_in_each_process(tmp_path: Path, listen: Start, children: int) -> None:
    """Where it has counted something, and once; also those that its first call registers. They print to stderr."""
    process = listen("--hook", hook_file(tmp_path, AT_EXIT), "--children", str(children))
    wait_for(lambda: len(process.workers) == children, "all workers")
    send_udp(process.port, *map(hep3_datagram, range(40)))
    wait_for(lambda: process.output.count(b"\n") == 40, "40 lines")
    assert process.stop() == 0
    assert (process.output.count(b"\n"), process.summary["stored"]) == (40, 40)
    numbers = [int(number) for number in re.findall(r"ending with (\d+)\n", process.said)]
    assert (len(numbers), sum(numbers)) == (children, 40)
    closed = [int(number) for number in re.findall(r"closed (\d+)\n", process.said)]
    assert sorted(closed) == sorted(filter(None, numbers))
    assert process.said.count("first registered\n") == process.said.count("division by zero") == children
    assert not re.search("ending (loaded|forgotten)", process.said)


def test_hook_of_run_has_its_exit_handlers_called_in_each_process(tmp_path: Path, run: Start, db_path: Path) -> None:
    """Also those that the first call registers."""
    process = run("--hook", hook_file(tmp_path, AT_EXIT), "--children", "2")
    send_udp(process.port, *map(hep3_datagram, range(40)))
    wait_for(lambda: db_path.exists() and "sip_capture" in tables_of(db_path), "a table")
    assert process.stop() == 0
    numbers = [int(number) for number in re.findall(r"ending with (\d+)\n", process.said)]
    assert (len(numbers), sum(numbers)) == (2, process.summary["stored"])
    assert process.summary["stored"] == 40
    assert process.said.count("first registered\n") == 2


def test_hook_of_replay_has_its_exit_handlers_called(sipcap: RunSipcap, tmp_path: Path) -> None:
    """What they print is no line among the records."""
    sip_capture(tmp_path / "c.pcap", [sip(), sip("BYE")], first_us=1_700_000_000_000_000)
    ended = sipcap("replay", "c.pcap", "--hook", hook_file(tmp_path, AT_EXIT))
    assert [json.loads(line)["method"] for line in ended.stdout.splitlines()] == ["INVITE", "BYE"]
    assert b"closed 2\nending with 2\n" in ended.stderr


@pytest.mark.parametrize(("hook", "code", "said"), [
    ("nowhere.py:on", 3, "No such file"), ("os", 3, "must be MODULE:CALLABLE"), ("os:nothing", 3, "nothing"),
])  # fmt: skip
def test_hook_that_is_not_there_stops_the_start(sipcap: RunSipcap, hook: str, code: int, said: str) -> None:
    """Nothing is received before the hook is there."""
    ended = sipcap("listen", "--listen", "udp:127.0.0.1:0", "--hook", hook, "--duration", "0")
    assert (ended.returncode, ended.stdout) == (code, b"")
    assert said in ended.stderr.decode()


def test_hook_timeout_must_be_a_time(sipcap: RunSipcap) -> None:
    """No time at all would be no bound."""
    assert sipcap("listen", "--hook-timeout", "0", "--duration", "0").returncode == 2


def test_hook_of_replay_sees_the_capture(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A hook works on files as on the network: what is no HEP has version -1."""
    sip_capture(tmp_path / "c.pcap", [sip(), sip("BYE")], first_us=1_700_000_000_000_000)
    hook = hook_file(
        tmp_path, "def on(request): return int(request.hep('version') == -1 and b'BYE' in request.message)"
    )
    ended = sipcap("replay", "c.pcap", "--hook", hook)
    assert [json.loads(line)["method"] for line in ended.stdout.splitlines()] == ["BYE"]
    assert sipcap("replay", "c.pcap", "--hook", hook, "--to", "127.0.0.1:9").returncode == 2


def test_hook_and_its_capture_mode_through_a_pipe(sipcap: RunSipcap, tmp_path: Path) -> None:
    """``listen --hook | store --config`` honours the mode that a hook names."""
    (tmp_path / "modes.ini").write_text(
        "[sipcap]\ncapture_on = 1\ndb_url = sqlite:///d.db\n[capture_mode:m1]\ndb_url = sqlite:///one.db\n"
        "table_name = calls\n"
    )
    sip_capture(tmp_path / "c.pcap", [sip(), sip("BYE")], first_us=1_700_000_000_000_000)
    hook = hook_file(tmp_path, "def on(request): return Route(capture_mode='m1') if b'BYE' in request.message else 1")
    lines = sipcap("replay", "c.pcap", "--hook", hook).stdout
    assert sipcap("store", "--config", "modes.ini", stdin=lines).returncode == 0
    assert rows_of(tmp_path / "one.db", "calls", ["method"]) == [("BYE",)]
    assert rows_of(tmp_path / "d.db", "sip_capture", ["method"]) == [("INVITE",)]


def test_second_signal_ends_a_capture_whose_hook_sleeps(tmp_path: Path) -> None:
    """Nobody waits for a hook who does not want to."""
    hook = hook_file(tmp_path, "def on(request): sys.stderr.write('in\\n'); sys.stderr.flush(); time.sleep(60)")
    args = [*SIPCAP, "listen", "--listen", "udp:127.0.0.1:0", "--hook", hook, "--hook-timeout", "50"]
    with subprocess.Popen(
        args, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "listening on" in line:
                send_udp(int(line.rpartition(":")[2]), hep3_datagram(0))
            if line == "in\n":
                break
        began_s = time.monotonic()
        process.terminate()
        time.sleep(0.3)
        process.terminate()
        process.wait(30)
        assert time.monotonic() - began_s < 20
    assert process.returncode == 143
