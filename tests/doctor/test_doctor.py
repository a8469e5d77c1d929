"""``sipcap doctor`` on a machine with real troubles; what it says mends them does."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipcap.doctor.machine import clock_is_synchronised, mend_clock
from sipcap.spool import Spool
from tests.conftest import SIPCAP, RunSipcap, environment
from tests.doctor.conftest import Doctor, of
from tests.support.databases import rows_of
from tests.support.messages import chunk, hep3, sip_message, usual_chunks
from tests.support.programs import need, run_tool
from tests.support.receiving import send_udp
from tests.support.records import sip_record
from tests.support.services import LISTEN, USUAL, kill, service

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
FEW = ("--skip", "clock", "--skip", "disk")


def shell(command: str, folder: Path, **variables: str) -> None:
    """Run a command that the doctor proposes; sudo is not needed by root."""
    done = subprocess.run(
        command.replace("sudo ", ""), shell=True, cwd=folder, env=environment(variables), capture_output=True,
        timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can reach."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_doctor_where_all_is_well_ends_with_0(doctor: Doctor, tmp_path: Path) -> None:
    """Nothing is wrong, every group but the skipped one has told something, and nothing is left behind."""
    found = doctor("--listen", "udp:127.0.0.1:0", "--spool", str(tmp_path / "spool"), "--skip", "clock")
    assert not [each for each in found if each["state"] == "wrong"]
    assert {each["check"] for each in found} == {
        "config",
        "service",
        "listeners",
        "databases",
        "drivers",
        "folders",
        "disk",
        "spool",
    }
    assert list(tmp_path.iterdir()) == []


def test_doctor_looks_at_the_clock(doctor: Doctor) -> None:
    """As the kernel has it, with the command that keeps it right."""
    found = next(each for each in doctor("--listen", "udp:127.0.0.1:0") if each["text"].startswith("clock:"))
    known = clock_is_synchronised()
    assert found["state"] == {True: "ok", False: "wrong", None: "unknown"}[known]
    assert (found["command"] == mend_clock()) == (known is False)


def test_doctor_for_people_shows_the_command_below_and_no_control_characters(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A name in a file cannot move the cursor."""
    (tmp_path / "modes.ini").write_text("[sipcap]\ncapture_on = 1\ndead_letter = /nowhere/\x1b[2J/x\n")
    done = sipcap("doctor", "--config", "modes.ini", *FEW)
    assert done.returncode == 1
    assert b"\x1b" not in done.stdout
    assert b"\n          $ sudo install -d -o " in done.stdout


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_doctor_names_who_has_a_port_and_its_command_frees_it(doctor: Doctor, tmp_path: Path, protocol: str) -> None:
    """A port that another process holds: its name and pid, from /proc."""
    kind = "SOCK_DGRAM" if protocol == "udp" else "SOCK_STREAM"
    code = (
        f"import socket, time; s = socket.socket(socket.AF_INET, socket.{kind}); s.bind(('127.0.0.1', 0))\n"
        f"{'s.listen()' if protocol == 'tcp' else ''}\nprint(s.getsockname()[1], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            port = int(other.stdout.readline())
            args = ("--listen", f"{protocol}:127.0.0.1:{port}", *FEW)
            (found,) = of(doctor(*args), "listeners")
            assert f"(pid {other.pid}" in found["text"]
            assert found["command"].startswith(("sudo kill ", "sudo systemctl stop "))
            shell(f"kill {other.pid}", tmp_path)
            other.wait(10)
        finally:
            other.kill()
    assert not of(doctor(*args), "listeners")


def test_doctor_of_an_address_that_is_elsewhere_says_so(doctor: Doctor) -> None:
    """An address of another machine cannot be listened on."""
    (found,) = of(doctor("--listen", "udp:192.0.2.77:9060", *FEW), "listeners")
    assert "this machine has no such address" in found["text"]
    assert found["command"] == "sudo ip address add 192.0.2.77/32 dev lo"


@needs_root
def test_doctor_without_capabilities_names_the_command_that_grants_them(tmp_path: Path) -> None:
    """CAP_NET_RAW for packets, a low port, and a receive buffer beyond net.core.rmem_max."""
    (tmp_path / "modes.ini").write_text(
        "[sipcap]\ncapture_on = 1\n[listen:span]\nmode = mirror\niface = lo\n"
        "[listen:low]\nlisten = udp:127.0.0.1:99\nrcvbuf = 1GiB\n[listen:tunnel]\nmode = ipip\n"
    )
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    bounding = "-net_raw,-net_admin,-net_bind_service"
    done = subprocess.run(
        [need("setpriv"), f"--bounding-set={bounding}", *SIPCAP, "doctor", "--config", "modes.ini", *FEW],
        cwd=tmp_path, env=environment({"XDG_STATE_HOME": str(tmp_path)}), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout.decode()
    assert done.returncode == 1, done.stderr
    assert said.count("no permission to capture packets (CAP_NET_RAW)") == 2
    assert said.count("sudo setcap cap_net_raw,cap_net_admin+eip /") == 2
    assert f"sudo sysctl -w net.core.rmem_max={2**29}" in said
    assert limit <= 99 or "sudo sysctl -w net.ipv4.ip_unprivileged_port_start=99" in said


def test_doctor_of_an_interface_that_is_not_there_names_those_that_are(doctor: Doctor) -> None:
    """A span port that was renamed."""
    (found,) = of(doctor("--mode", "mirror", "--iface", "gone0", *FEW), "listeners")
    assert "there is no interface 'gone0'; there are lo" in found["text"]


def test_doctor_without_a_driver_names_what_to_install(doctor: Doctor, tmp_path: Path) -> None:
    """A library that cannot be imported, as an import hook has it."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nclass Hook:\n    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('pymysql', 'pyodbc', 'psycopg'):\n            raise ImportError(f'no {name} here')\n"
        "sys.meta_path.insert(0, Hook())\n"
    )
    paths = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    for url, module, package in (
        ("mysql://u@127.0.0.1/x", "pymysql", "pymysql"), ("postgresql://u@127.0.0.1/x", "psycopg", "psycopg[binary]"),
        ("unixodbc://u@localhost/x", "pyodbc", "sipcap[odbc]"),
    ):  # fmt: skip
        found = doctor("--listen", "udp:127.0.0.1:0", "--db-url", url, *FEW, env={"PYTHONPATH": paths})
        (driver,) = of(found, "databases")
        assert driver["text"] == f"driver {module}: no {module} here"
        assert driver["command"] == f"{sys.executable} -m pip install '{package}'"


def test_doctor_of_a_program_that_is_missing_names_its_package(doctor: Doctor) -> None:
    """Only where it is wanted."""
    bare = {"PATH": "/nowhere"}
    assert not of(doctor("--listen", "udp:127.0.0.1:0", *FEW, env=bare), "drivers")
    (found,) = of(doctor("--listen", "udp:127.0.0.1:0", "--tshark", *FEW, env=bare), "drivers")
    assert found["command"] == "sudo apt-get install -y tshark"


@needs_root
def test_doctor_of_folders_that_are_not_the_users_is_mended_by_its_commands(doctor: Doctor, open_folder: Path) -> None:
    """Spool, dead letters and database of a service that becomes another user."""
    config = open_folder / "modes.ini"
    config.write_text(
        f"[sipcap]\ncapture_on = 1\nuser = nobody\nspool = {open_folder}/spool\ndead_letter = {open_folder}/dead/x\n"
        f"db_url = sqlite:///{open_folder}/db/sip.db\n{LISTEN}"
    )
    (open_folder / "db").mkdir(mode=0o755)
    (open_folder / "db/sip.db").touch(mode=0o644)
    args = ("--config", str(config), *FEW)
    found = [each for each in doctor(*args) if each["state"] == "wrong"]
    assert len(found) == 4, found
    for each in found:
        assert "nobody" in each["text"] or "there is no folder" in each["text"]
        shell(each["command"], open_folder)
    assert not [each for each in doctor(*args) if each["state"] == "wrong"]
    assert (open_folder / "db/sip.db").stat().st_uid == pwd.getpwnam("nobody").pw_uid


@needs_root
def test_doctor_as_a_user_in_a_folder_of_root_says_so(open_folder: Path) -> None:
    """The rights of who asks are those that count."""
    done = subprocess.run(
        [need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c",
         "import os; from sipcap.doctor.account import Account; from pathlib import Path; "
         "from sipcap.doctor.places import check_folder; print(check_folder('x', Path('.').absolute(), Account()))"],
        cwd=open_folder, env=environment(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    if b"No module named" in done.stderr or b"Permission denied" in done.stderr:
        pytest.skip("the checkout cannot be read by others")
    assert b"state='wrong'" in done.stdout, done.stderr


def test_doctor_of_a_file_that_is_no_database_says_so(doctor: Doctor, tmp_path: Path) -> None:
    """SQLite would refuse it; the file is not touched."""
    (tmp_path / "sip.db").write_text("something else, and longer than a page's head")
    args = ("--listen", "udp:127.0.0.1:0", "--db-url", "sqlite:///sip.db", *FEW)
    (found,) = of(doctor(*args), "databases")
    assert found["text"].endswith("sip.db is no SQLite database")
    shell(found["command"], tmp_path)
    assert not of(doctor(*args), "databases")


def test_doctor_of_a_disk_too_small_for_the_spool_says_what_would_fit(doctor: Doctor, tmp_path: Path) -> None:
    """More than there is, asked for."""
    free = shutil.disk_usage(tmp_path).free
    (tmp_path / "modes.ini").write_text(f"{USUAL}spool = {tmp_path}/spool\nspool_max = {free * 2}\n{LISTEN}")
    (found,) = of(doctor("--config", "modes.ini", "--skip", "clock"), "disk")
    assert "may be needed (spool, capture mode default)" in found["text"]
    option, size = found["command"].split()[-2:]
    assert option == "--spool-max"
    assert 0 < int(size) < free


def test_doctor_of_a_configuration_with_a_mistake_names_its_place(doctor: Doctor, tmp_path: Path) -> None:
    """Nothing else can be looked at."""
    (tmp_path / "modes.ini").write_text("[sipcap]\ncapture_onn = 1\n")
    (found,) = doctor("--config", "modes.ini")
    assert found["text"] == "modes.ini:2: unknown key capture_onn in [sipcap]; did you mean capture_on?"


def test_doctor_finds_strange_and_stray_files_of_a_spool_and_mends_them(doctor: Doctor, tmp_path: Path) -> None:
    """Records for another database go in by the command; damage and strangers are put aside."""
    spool = Spool(tmp_path / "spool", 1 << 20)
    spool.place("gone", "a database of former times").keep("some-id", {"sip_capture": rows_of(sip_record())}, "away")
    spool.close()
    (stray,) = tmp_path.glob("spool/*/*.ndjson")
    damaged = stray.with_name("9" + stray.name[1:])
    damaged.write_bytes(stray.read_bytes()[:-9])
    (stray.parent / "notes.txt").write_text("what is this?")
    args = ("--listen", "udp:127.0.0.1:0", "--spool", "spool", *FEW)
    found = of(doctor(*args), "spool")
    assert len(found) == 3, found
    for each in sorted(found, key=lambda each: "sipcap store" in each["command"]):
        command = each["command"].replace("sipcap store", f"{' '.join(SIPCAP)} store")
        shell(command, tmp_path, SIPCAP_DB_URL=f"sqlite:///{tmp_path}/mended.db")
    assert not of(doctor(*args), "spool")
    assert run_tool("sqlite3", str(tmp_path / "mended.db"), "SELECT count(*) FROM sip_capture").strip() == "1"


def test_doctor_of_a_running_service_sees_skewed_clocks_and_its_own_ports(doctor: Doctor, tmp_path: Path) -> None:
    """HEP dated two days ahead; the port that the service has is rightly taken."""
    with service(tmp_path) as running:
        port = running.process.port
        args = ("--socket", "control.sock", "--listen", f"udp:127.0.0.1:{port}", "--skip", "disk")
        found = doctor(*args)
        assert not of(found, "service")
        assert any("taken by the running service" in each["text"] for each in of(found, "listeners", "ok"))
        assert any("right in all 0 message(s)" in each["text"] for each in of(found, "clock", "ok"))
        ahead_us = (int(time.time()) + 2 * 86_400) * 1_000_000
        send_udp(port, hep3(*usual_chunks(ts_us=ahead_us), chunk(15, sip_message(0))))
        running.wait_for_stored(1)
        found = [each for each in doctor(*args) if "clocks of HEP senders" in each["text"]]
        assert "1 of 1 message(s) were dated so far off" in found[0]["text"]
        assert found[0]["command"] == "sudo timedatectl set-ntp true"
        running.call("sipcapture.status", "off")
        (off,) = of(doctor(*args), "service")
        shell(off["command"].replace("sipcap", " ".join(SIPCAP), 1), tmp_path)
        assert not of(doctor(*args), "service")
        running.stop()


def test_doctor_of_a_service_that_was_killed_finds_its_socket_stale(doctor: Doctor, tmp_path: Path) -> None:
    """The next start replaces it: nothing is wrong."""
    with service(tmp_path) as running:
        workers = running.process.workers
        running.process.send_signal(signal.SIGKILL)
        running.process.wait()
        for pid in workers:
            kill(pid)
        (found,) = of(doctor("--socket", "control.sock", *FEW), "service", "unknown")
    assert "left of one that was killed" in found["text"]


def test_doctor_of_a_socket_of_something_else_says_so(doctor: Doctor, tmp_path: Path) -> None:
    """What answers there speaks no JSON-RPC, or nothing at all: in bounded time."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "x.sock"))
        other.listen()
        began_s = time.monotonic()
        (found,) = of(doctor("--socket", "x.sock", *FEW), "service")
        assert time.monotonic() - began_s < 30
    assert found["command"] == "sudo fuser -v x.sock"


def test_doctor_waits_for_no_server_longer_than_it_says(doctor: Doctor) -> None:
    """A database that accepts a connection and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"mysql://u:p@127.0.0.1:{silent.getsockname()[1]}/x?connect_timeout=1"
        began_s = time.monotonic()
        assert of(doctor("--listen", "udp:127.0.0.1:0", "--db-url", url, *FEW), "databases")
        assert time.monotonic() - began_s < 40


def test_doctor_tells_whether_compiled_code_is_used(doctor: Doctor) -> None:
    """It is a matter of speed only, so that nothing is wrong without it."""
    off = of(doctor("--listen", "udp:127.0.0.1:0", *FEW, env={"SIPCAP_COMPILED": "0"}), "drivers", "ok")
    assert [each["text"] for each in off] == ["compiled code is switched off by SIPCAP_COMPILED=0: slower"]
    (found,) = of(doctor("--listen", "udp:127.0.0.1:0", *FEW), "drivers", "ok")
    assert found["text"].startswith(("compiled code is used", "no compiled code for "))
