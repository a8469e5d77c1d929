"""``sipcap run`` under systemd: what it tells, sockets that are handed in, the user that it becomes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RunSipcap
from tests.support.background import wait_for
from tests.support.captured import locked, messages_in, texts
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp
from tests.support.services import LISTEN, USUAL, kill, service

# Hands descriptors 3 and further to the program, as systemd does.
HAND_IN = """
import os, socket, sys
port = int(sys.argv[1])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("127.0.0.1", port))
tcp = socket.socket(); tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); tcp.bind(("127.0.0.1", port))
tcp.listen()
udp, tcp = udp.detach(), tcp.detach()
high = [os.dup2(fd, 20 + place) for place, fd in enumerate((udp, tcp))]
os.closerange(3, 20)
for place, fd in enumerate(high):
    os.dup2(fd, 3 + place)
    os.close(fd)
os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Listener:
    """The other end of the notify socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._told: list[str] = []

    @property
    def told(self) -> list[str]:
        """All lines so far."""
        try:
            while True:
                self._told += self._socket.recv(65_536).decode().split("\n")
        except BlockingIOError:
            return self._told

    def close(self) -> None:
        """Close it."""
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Listener]:
    """Somebody who listens at ``notify`` in the folder of the test."""
    found = Listener(tmp_path / "notify")
    yield found
    found.close()


def test_run_tells_of_its_start_reloads_and_end(tmp_path: Path, systemd: Listener) -> None:
    """Type=notify-reload: READY when it receives, RELOADING with the time and READY again, STOPPING."""
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
    with service(tmp_path, env=env) as running:
        wait_for(lambda: "READY=1" in systemd.told, "READY")
        assert any(line.startswith("STATUS=capture is on") for line in systemd.told)
        wait_for(lambda: systemd.told.count("WATCHDOG=1") >= 3, "the watchdog's food")
        running.configure(f"{USUAL}capture_node = other\n{LISTEN}")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: systemd.told.count("READY=1") == 2, "the end of the reload")
        begun = systemd.told.index("RELOADING=1")
        assert systemd.told[begun + 1].startswith("MONOTONIC_USEC=")
        running.stop()
    assert "STOPPING=1" in systemd.told


def test_run_goes_on_while_a_reload_waits_for_its_processes(tmp_path: Path, systemd: Listener) -> None:
    """A hook that takes long to load: the watchdog is fed, a killed worker comes back, questions are answered."""
    (tmp_path / "hook.py").write_text("import time\ntime.sleep(4)\ndef on(request): return 1\n")
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
    with service(tmp_path, env=env) as running:
        wait_for(lambda: "READY=1" in systemd.told, "READY")
        (worker,) = running.workers
        running.configure(f"{USUAL}event_callback = hook.py:on\n{LISTEN}")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "RELOADING=1" in systemd.told, "the reload")
        kill(worker)
        wait_for(lambda: running.workers not in ([], [worker]), "another worker")
        send_udp(running.process.port, *map(hep3_datagram, range(10)))
        running.wait_for_stored(10)
        running.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: '"stored": 10' in running.process.said, "the counters")
        assert systemd.told.count("READY=1") == 1
        wait_for(lambda: systemd.told.count("READY=1") == 2, "the end of the reload")
        told = systemd.told
        assert told[told.index("RELOADING=1") :].count("WATCHDOG=1") > 20
        assert "the new configuration is in force" in running.process.said
        send_udp(running.process.port, *map(hep3_datagram, range(10, 20)))
        running.settle(20)
        assert running.stop()["stored"] == 20


def test_run_stopped_while_a_reload_waits_ends_soon(tmp_path: Path) -> None:
    """Nobody waits for processes that are not needed any more, and what has come is stored."""
    (tmp_path / "hook.py").write_text("import time\ntime.sleep(600)\ndef on(request): return 1\n")
    with service(tmp_path, f"{USUAL}drain_timeout = 1\n{LISTEN}") as running:
        running.configure(f"{USUAL}drain_timeout = 1\nevent_callback = hook.py:on\n{LISTEN}")
        running.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(running.process.workers) == 4, "the new processes")
        send_udp(running.process.port, *map(hep3_datagram, range(10)))
        running.wait_for_stored(10)
        began_s = time.monotonic()
        assert running.stop()["stored"] == 10
        assert time.monotonic() - began_s < 8


def test_run_takes_over_the_sockets_that_are_handed_in(tmp_path: Path, udp_port: int) -> None:
    """Those that a listener names are used, whoever may bind there; the others are made."""
    listen = f"[listen:hep]\nlisten = udp:127.0.0.1:{udp_port}, tcp:127.0.0.1:{udp_port}, udp:127.0.0.1:0\n"
    before = (sys.executable, "-c", HAND_IN, str(udp_port))
    with service(tmp_path, USUAL + listen, before=before) as running:
        send_udp(udp_port, *map(hep3_datagram, range(10)))
        send_udp(running.process.ports(3)[2], *map(hep3_datagram, range(10, 20)))
        with socket.create_connection(("127.0.0.1", udp_port)) as client:
            client.sendall(hep3_datagram(20))
            running.wait_for_stored(21)
        assert "that was handed in" not in running.process.said
        running.stop()
    assert messages_in(tmp_path / "sipcap.db") == texts(range(21))


def test_run_closes_sockets_that_nobody_names(tmp_path: Path, udp_port: int) -> None:
    """What systemd opened and no listener is for would collect what nobody reads; it says so."""
    before = (sys.executable, "-c", HAND_IN, str(udp_port))
    with service(tmp_path, before=before) as running:
        assert running.process.said.count("that was handed in") == 2
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", udp_port))
        running.stop()


def test_run_keeps_its_spool_in_the_state_directory(tmp_path: Path) -> None:
    """$STATE_DIRECTORY, else $XDG_STATE_HOME/sipcap: the spool is on without a word about it."""
    state = tmp_path / "state"
    with service(tmp_path, env={"STATE_DIRECTORY": f"{state}:{tmp_path / 'second'}"}) as running:
        send_udp(running.process.port, hep3_datagram(0))
        running.wait_for_stored(1)
        with locked(tmp_path / "sipcap.db"):
            send_udp(running.process.port, *map(hep3_datagram, range(1, 6)))
            wait_for(lambda: running.counters["spooled"] == 5, "the spool")
            assert running.stats()["stores"][0]["spool_records"] in (0, 5)  # looked at once a second
        running.wait_for_stored(6)
        running.stop()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert not (tmp_path / "second").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_run_becomes_the_user_when_the_sockets_are_open() -> None:
    """A port below 1024 is heard; every process has the user's rights alone, and its files are the user's."""
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))  # a place that the user can reach
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    text = USUAL.replace("sqlite:///sipcap.db", f"sqlite:///{folder}/sip.db") + "user = nobody\n"
    try:
        with service(
            folder, f"{text}dead_letter = {folder}/dead\n[listen:hep]\nlisten = udp:127.0.0.1:999\n"
        ) as running:
            send_udp(999, *map(hep3_datagram, range(10)))
            running.wait_for_stored(10)
            for pid in (running.process.pid, *running.workers, *running.storing):
                status = Path(f"/proc/{pid}/status").read_text()
                uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
                groups = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
                assert set(uids) == {str(nobody.pw_uid)}
                assert "0" not in groups
            running.stop()
        assert {path.owner() for path in (folder / "sip.db", folder / "dead", folder / ".state/sipcap")} == {"nobody"}
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_run_as_a_user_owns_and_removes_its_control_sockets() -> None:
    """The user may ask the service, and in a folder where only owners may remove files, nothing is left."""
    nobody = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o1777)  # as /tmp is
    text = USUAL.replace("sqlite:///sipcap.db", f"sqlite:///{folder}/sip.db")
    text += f"user = nobody\nspool = off\nbinrpc_socket = {folder}/binrpc.sock\nrpc_fifo = {folder}/rpc.fifo\n"
    try:
        with service(folder, f"{text}{LISTEN}") as running:
            made = [folder / name for name in ("control.sock", "binrpc.sock", "rpc.fifo")]
            assert {path.lstat().st_uid for path in made} == {nobody.pw_uid}
            running.stop()
        assert not any(path.exists() for path in made)
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_run_as_a_user_who_may_not_write_beside_the_database_is_3(sipcap: RunSipcap) -> None:
    """SQLite itself would only speak of a database that is read-only."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        url = f"sqlite:///{folder}/sip.db"
        done = sipcap("run", "-q", "--listen", "udp:127.0.0.1:0", "--user", "nobody", "--spool", "off", "--db-url", url)
        assert done.returncode == 3
        assert f"user nobody cannot make files in {folder}".encode() in done.stderr
    finally:
        shutil.rmtree(folder)


def test_run_as_a_user_that_is_not_there_is_3(sipcap: RunSipcap) -> None:
    """It says so before anything is received."""
    done = sipcap("run", "-q", "--listen", "udp:127.0.0.1:0", "--user", "no-such-user")
    assert (done.returncode, done.stderr) == (3, b"sipcap: error: there is no user no-such-user\n")


def test_run_whose_worker_cannot_start_is_3(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A hook that cannot be loaded shows in a worker; the service ends, and says why."""
    (tmp_path / "hook.py").write_text("raise ValueError('boom')\n")
    done = sipcap("run", "-q", "--listen", "udp:127.0.0.1:0", "--hook", "hook.py:f")
    assert done.returncode == 3
    assert b"boom" in done.stderr
    assert done.stderr.count(b"\n") == 1
