"""A running service, asked and switched from outside: its own clients, Kamailio's, Prometheus."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sipcap.service.control.client import ControlClient, Unreachable
from tests.conftest import RunSipcap
from tests.service.control.test_programs import kamcmd, kamctl
from tests.support.background import Background, Start, background, imbalance, wait_for
from tests.support.captured import messages_in, texts
from tests.support.controlling import connected
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp

CONFIG = """
[sipcap]
capture_on = 1
db_url = sqlite:///{folder}/sipcap.db
control_socket = {folder}/control.sock
binrpc_socket = {folder}/binrpc.sock
rpc_fifo = {folder}/rpc.fifo
metrics_listen = 127.0.0.1:0
spool = {folder}/spool

[listen:hep]
mode = hep
listen = udp:127.0.0.1:0
children = 2

[capture_mode:mode1]
db_url = sqlite:///{folder}/mode1.db
table_name = registrations

[route:registrations]
methods = REGISTER
capture_mode = mode1
"""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Background]:
    """``sipcap run`` with all control sockets, two workers and two databases."""
    (tmp_path / "modes.ini").write_text(CONFIG.format(folder=tmp_path))
    with background(tmp_path, "run", "--config", "modes.ini", "--log-format", "json") as process:
        process.ports()
        wait_for(lambda: process.ended or is_reachable(tmp_path), "the control socket")
        yield process


def is_reachable(folder: Path) -> bool:
    """Whether the service answers."""
    with closing(ControlClient(str(folder / "control.sock"), 5.0)) as client:
        try:
            client.call("core.version")
        except Unreachable:
            return False
        return True


def call(folder: Path, method: str, *params: str) -> Any:
    """One call over the control socket."""
    with closing(ControlClient(str(folder / "control.sock"), 20.0)) as client:
        return client.call(method, *params)


def counters(folder: Path) -> dict[str, Any]:
    """Those of the whole service."""
    found: dict[str, Any] = call(folder, "sipcapture.stats")["counters"]
    return found


def settled(folder: Path, received: int) -> dict[str, Any]:
    """The counters, once so many messages have come and nothing is under way."""

    def is_settled() -> bool:
        now = counters(folder)
        return bool(now["received"] == received and not now["pending"])

    wait_for(is_settled, f"{received} messages")
    found = counters(folder)
    assert imbalance(found) == 0
    return found


def test_service_switched_off_lets_pass_and_counts(service: Background, tmp_path: Path, sipcap: RunSipcap) -> None:
    """Off holds at once in every worker, what comes meanwhile is counted, and on goes on."""
    send_udp(service.port, *map(hep3_datagram, range(20)))
    settled(tmp_path, 20)
    assert sipcap("status", "off", "--socket", "control.sock").stdout == b"Disabled\n"
    send_udp(service.port, *map(hep3_datagram, range(20, 50)))
    off = settled(tmp_path, 50)
    assert (off["stored"], off["filtered"]) == (20, {"capture_off": 30})
    assert sipcap("status", "on", "--socket", "control.sock").stdout == b"Enabled\n"
    send_udp(service.port, *map(hep3_datagram, range(50, 60)))
    assert settled(tmp_path, 60)["stored"] == 30
    assert service.stop() == 0
    stored = messages_in(tmp_path / "sipcap.db") + messages_in(tmp_path / "mode1.db", "registrations")
    assert sorted(stored) == sorted(texts([*range(20), *range(50, 60)]))
    assert imbalance(service.summary) == 0


def test_service_switched_off_stays_off(service: Background, tmp_path: Path) -> None:
    """Over a reload, and in workers that are started again."""
    call(tmp_path, "sipcapture.status", "off")
    with (tmp_path / "modes.ini").open("a") as file:
        file.write("; another configuration\n[capture_mode:mode2]\ntable_name = other\n")
        file.write(f"db_url = sqlite:///{tmp_path}/mode1.db\n")
    assert call(tmp_path, "sipcapture.reload") == "Reloaded"
    assert "mode2" in call(tmp_path, "sipcapture.stats")["modes"]
    workers = [worker["pid"] for worker in call(tmp_path, "sipcapture.stats")["listeners"][0]["workers"]]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)

    def are_back() -> bool:
        now = call(tmp_path, "sipcapture.stats")["listeners"][0]["workers"]
        return all(worker["pid"] and worker["restarts"] == 1 for worker in now)

    wait_for(are_back, "the workers")
    assert call(tmp_path, "sipcapture.status", "check") == "Disabled"
    before = counters(tmp_path)["received"]
    send_udp(service.port, *map(hep3_datagram, range(10)))
    assert settled(tmp_path, before + 10)["filtered"]["capture_off"] >= 10
    assert messages_in(tmp_path / "sipcap.db") == []


def test_service_switches_one_mode(service: Background, tmp_path: Path) -> None:
    """The others go on."""
    call(tmp_path, "sipcapture.status", "off", "mode1")
    send_udp(service.port, *map(hep3_datagram, range(60)))
    now = settled(tmp_path, 60)
    assert call(tmp_path, "sipcapture.stats")["modes"] == {"default": True, "mode1": False}
    assert now["filtered"]["capture_off"] == 60 - now["stored"] > 0
    assert len(messages_in(tmp_path / "sipcap.db")) == now["stored"] > 0


def test_service_with_a_bad_file_refuses_to_reload(service: Background, tmp_path: Path) -> None:
    """The answer names what is wrong, and the service goes on as before."""
    (tmp_path / "modes.ini").write_text(CONFIG.format(folder=tmp_path).replace("capture_on", "captre_on"))
    with pytest.raises(Exception, match="captre_on"):
        call(tmp_path, "sipcapture.reload")
    send_udp(service.port, hep3_datagram(1))
    assert settled(tmp_path, 1)["stored"] == 1


def test_service_answers_kamailios_clients(service: Background, tmp_path: Path) -> None:
    """Real kamcmd and kamctl steer a real service."""
    assert kamcmd(tmp_path, "sipcapture.status", "check") == "Enabled\n"
    assert kamcmd(tmp_path, "sipcapture.status", "off") == "Disabled\n"
    assert '"result": "Disabled"' in kamctl(tmp_path, "rpc", "sipcapture.status", "check")
    assert '"result": "Enabled"' in kamctl(tmp_path, "rpc", "sipcapture.status", "on")
    send_udp(service.port, *map(hep3_datagram, range(60)))
    settled(tmp_path, 60)
    wait_for(lambda: statistics(tmp_path) == 60, "the statistics")


def statistics(folder: Path) -> int:
    """All messages that the module's statistics count."""
    lines = kamcmd(folder, "stats.get_statistics", "sipcapture:").splitlines()
    assert [line.partition(" = ")[0].removeprefix("sipcapture:") for line in lines] == [
        "captured_replies", "captured_replies[mode1]", "captured_requests", "captured_requests[mode1]",
    ]  # fmt: skip
    return sum(int(line.partition(" = ")[2]) for line in lines)


def test_service_shows_prometheus_what_it_counts(service: Background, tmp_path: Path) -> None:
    """The same numbers as in its state, and health."""
    address = re.findall(r"metrics: listening on (127\.0\.0\.1:\d+)", service.said)[0]
    send_udp(service.port, *map(hep3_datagram, range(60)), b"junk")
    settled(tmp_path, 61)

    def samples() -> dict[str, float]:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as page:
            families = text_string_to_metric_families(page.read().decode())
        found: dict[str, float] = {}
        for sample in (sample for family in families for sample in family.samples):
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found

    wait_for(lambda: samples().get("sipcap_requests_total", 0) + samples().get("sipcap_responses_total", 0) == 60)
    now = samples()
    assert (now["sipcap_received_total"], now["sipcap_stored_total"], now["sipcap_rejected_total"]) == (61, 60, 1)
    assert now["sipcap_workers_running"] == 2
    wait_for(lambda: samples()["sipcap_batch_seconds_count"] >= 2, "latencies of both databases")
    wait_for(lambda: samples()["sipcap_database_seconds_count"] >= 2, "latencies of both databases")
    wait_for(lambda: samples()["sipcap_captured_requests_total"] + samples()["sipcap_captured_replies_total"] == 60)
    with urllib.request.urlopen(f"http://{address}/healthz", timeout=20) as page:
        assert page.read() == b"ok\n"


def test_service_shows_prometheus_losses_before_the_first(service: Background, tmp_path: Path) -> None:
    """Each well-known reason has a sample with 0, so that a rate sees the first loss; others come by themselves."""
    address = re.findall(r"metrics: listening on (127\.0\.0\.1:\d+)", service.said)[0]

    def lost() -> dict[str, float]:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        return {
            f"{family.name.removeprefix('sipcap_')} {sample.labels['reason']}": sample.value
            for family in families
            for sample in family.samples
            if "reason" in sample.labels
        }

    before = lost()
    assert not any(before.values())
    for wanted in (
        "filtered capture_off", "rejected short", "rejected missing_header", "rejected hook_error",
        "rejected hook_timeout", "dropped worker_killed", "dropped spool_full", "dropped dead_letter",
    ):  # fmt: skip
        assert wanted in before
    send_udp(service.port, b"HEP3", *[b"\1\x10" + bytes(30)] * 2)
    settled(tmp_path, 3)
    wait_for(lambda: sum(lost().values()) == 3, "the losses")
    after = lost()
    assert after["rejected short"] == 1
    assert {name: after[name] for name in before if before[name] != after[name]} == {"rejected short": 1}


def test_service_flooded_at_its_control_socket_loses_nothing(service: Background, tmp_path: Path) -> None:
    """Capture goes on beside clients that ask for everything as fast as they can."""
    stop = threading.Event()

    def flood() -> None:
        request = b'{"jsonrpc":"2.0","method":"sipcapture.stats","id":1}\n'
        while not stop.is_set():
            try:
                with connected(tmp_path / "control.sock") as client:
                    client.settimeout(0.2)
                    for _ in range(50):
                        client.sendall(request * 20)
                        client.recv(65_536)
            except OSError:
                continue

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for first in range(0, 2_000, 50):
            send_udp(service.port, *map(hep3_datagram, range(first, first + 50)))
        assert settled(tmp_path, 2_000)["stored"] == 2_000
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert service.stop() == 0
    assert service.summary["stored"] == 2_000


def test_service_leaves_no_sockets_and_replaces_those_of_one_that_was_killed(tmp_path: Path) -> None:
    """Private ones, while it runs."""
    (tmp_path / "modes.ini").write_text(CONFIG.format(folder=tmp_path))
    names = [tmp_path / name for name in ("control.sock", "binrpc.sock", "rpc.fifo")]
    for end in (signal.SIGKILL, signal.SIGTERM):
        with background(tmp_path, "run", "--config", "modes.ini") as process:
            wait_for(lambda: is_reachable(tmp_path), "the control socket")
            assert [stat.S_IMODE(name.stat().st_mode) for name in names] == [0o600] * 3
            process.stop(end)
        assert [name.exists() for name in names] == [end == signal.SIGKILL] * 3


def test_service_without_a_word_is_found_where_clients_look(run: Start, tmp_path: Path, sipcap: RunSipcap) -> None:
    """In the user's own folder; a second one goes on without, and says so."""
    if Path("/run/sipcap").exists():
        pytest.skip("there is a place for a service of the system here")
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    first = run(env=env)
    wait_for(lambda: (tmp_path / "sipcap.sock").exists() and first.ports())
    assert sipcap("status", env=env).stdout == b"Enabled\n"
    second = run("--db-url", "sqlite:///second.db", "--spool", "off", env=env)
    wait_for(lambda: "another process answers there" in second.said)
    send_udp(second.port, hep3_datagram(1))
    assert second.stop() == 0
    assert (second.summary["stored"], sipcap("status", env=env).stdout) == (1, b"Enabled\n")
    assert json.loads(sipcap("status", "--json", env=env).stdout)["pid"] == first.pid


def test_service_that_cannot_make_its_socket_does_not_start(tmp_path: Path, sipcap: RunSipcap) -> None:
    """One that was asked for; exit 3."""
    (tmp_path / "modes.ini").write_text(CONFIG.format(folder=tmp_path).replace("/control.sock", "/missing/x"))
    done = sipcap("run", "--config", "modes.ini")
    assert (done.returncode, b"missing/x: No such file" in done.stderr) == (3, True)
