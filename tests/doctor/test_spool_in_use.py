"""``sipcap doctor`` beside processes that use the spool which it looks at: it offers nothing that takes files away."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sipcap.spool import Spool
from tests.conftest import SIPCAP, environment
from tests.doctor.conftest import Doctor, of
from tests.support.background import background, wait_for
from tests.support.captured import locked, messages_in, texts
from tests.support.databases import rows_of
from tests.support.messages import hep3_datagram
from tests.support.programs import need
from tests.support.receiving import send_udp
from tests.support.records import sip_record
from tests.support.services import LISTEN, USUAL, service

FEW = ("--listen", "udp:127.0.0.1:0", "--skip", "clock", "--skip", "disk", "--skip", "databases")


def test_doctor_judges_the_spool_of_a_service_by_what_that_says(doctor: Doctor, tmp_path: Path) -> None:
    """Options name its database, which the doctor does not know; it does not take that for another's records."""
    database = tmp_path / "elsewhere" / "x.db"
    database.parent.mkdir()
    args = ("--listen", "udp:127.0.0.1:0", "--db-url", f"sqlite:///{database}", "--log-format", "json")
    with background(tmp_path, "run", *args) as process:
        send_udp(process.port, hep3_datagram(0))
        wait_for(lambda: len(messages_in(database)) == 1, "the first row")
        with locked(database):
            send_udp(process.port, *map(hep3_datagram, range(1, 8)))
            wait_for(lambda: list(tmp_path.glob(".state/sipcap/*/*.ndjson")), "something in the spool")
            found = [each for each in doctor(*FEW) if each["check"] == "spool"]
            assert [each["state"] for each in found] == ["ok"], found
            assert "7 record(s) wait for capture mode default; the running service stores them" in found[0]["text"]
            (elsewhere,) = (
                each
                for each in doctor(*FEW, "--spool", "other")
                if each["check"] == "spool" and "other" in each["text"]
            )
            assert elsewhere["text"].endswith("nothing waits")
        wait_for(lambda: sorted(messages_in(database)) == sorted(texts(range(8))), "all rows")
        assert process.stop() == 0
    assert process.summary["stored"] == 8
    assert not process.summary["dropped"]


def test_doctor_of_a_damaged_file_of_a_running_service_leaves_it_there(doctor: Doctor, tmp_path: Path) -> None:
    """It is told, without a command; once the service has stopped, there is one."""
    with service(tmp_path, f"{USUAL}spool = spool\n{LISTEN}") as running:
        wait_for(lambda: list(tmp_path.glob("spool/*.0")), "a folder of its own")
        (folder,) = tmp_path.glob("spool/*.0")
        (folder / f"{9:020d}-1-00000000-some-id.ndjson").write_text("{}\n")
        args = ("--config", "modes.ini", "--skip", "clock", "--skip", "disk")
        (found,) = of(doctor(*args), "spool")
        assert "not whole" in found["text"]
        assert found["command"] == ""
        running.stop()
    (found,) = of(doctor(*args), "spool")
    assert found["command"].startswith("mv ")


def test_doctor_calls_no_folder_foreign_that_a_process_holds(doctor: Doctor, tmp_path: Path) -> None:
    """One that answers nowhere the doctor asks; when it has ended, its records go in by the command."""
    spool = Spool(tmp_path / "spool", 1 << 20)
    place = spool.place("gone", "a database that the doctor does not know")
    place.keep("some-id", {"sip_capture": rows_of(sip_record())}, "away")
    args = (*FEW, "--spool", "spool")
    (found,) = (each for each in doctor(*args) if each["check"] == "spool")
    assert (found["state"], found["command"]) == ("ok", "")
    assert found["text"].endswith("are those of a process that runs")
    spool.close()
    (found,) = of(doctor(*args), "spool")
    command = found["command"].replace("sipcap store", f"{' '.join(SIPCAP)} store")
    without = run_shell(command, tmp_path)
    assert without.returncode != 0
    assert b"SIPCAP_DB_URL" in without.stderr
    again = Spool(tmp_path / "spool", 1 << 20)
    again.place("gone", "a database that the doctor does not know")
    assert run_shell(command, tmp_path, SIPCAP_DB_URL="sqlite:///mended.db").returncode != 0  # it is in use by now
    again.close()
    assert run_shell(command, tmp_path, SIPCAP_DB_URL="sqlite:///mended.db").returncode == 0
    assert len(messages_in(tmp_path / "mended.db")) == 1
    assert not list(tmp_path.glob("spool/*/*.ndjson"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_doctor_by_one_who_may_not_look_into_the_services_spool_finds_nothing_wrong(tmp_path: Path) -> None:
    """Members of control_group may ask the service; what it captured is not theirs to see."""
    tmp_path.chmod(0o700)
    code = (
        "from types import SimpleNamespace as N; from sipcap.config.reading import read_settings as r;"
        "from sipcap.service.plan import Plan; from sipcap.doctor.spooled import check_spool;"
        "from sipcap.config.settings import Override as O;"
        "plan = Plan(r(None, {'spool': O(False, '-')}));"
        f"served = {{'path': {str(tmp_path)!r}, 'keys': {{'0': 'm'}}}};"
        "print(*(found.state for found in check_spool(plan, N(stats={'spool': served}))))"
    )
    done = subprocess.run(
        [need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", code],
        cwd="/", env=environment(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    if b"No module named" in done.stderr:
        pytest.skip("the checkout cannot be read by others")
    assert done.stdout == b"unknown\n", done.stderr


def run_shell(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the doctor's."""
    return subprocess.run(
        command, shell=True, cwd=folder, env=environment(variables), capture_output=True, timeout=30, check=False
    )
