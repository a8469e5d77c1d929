"""The units of systemd, as systemd itself reads them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment
from tests.support.background import background, wait_for
from tests.support.captured import messages_in, texts
from tests.support.messages import hep3_datagram
from tests.support.programs import need, run_tool
from tests.support.receiving import send_udp
from tests.support.services import USUAL

UNITS = ("sipcap.service", "sipcap.socket")
MOST_EXPOSED = 3.0
"""Of 10, as systemd-analyze counts: what the capabilities of a capture leave."""


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """Copies of the units that start the sipcap of this environment."""
    program = Path(sys.executable).with_name("sipcap")
    copies = []
    for name in UNITS:
        text = (ROOT / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("ExecStart=/usr/local/bin/sipcap ", f"ExecStart={program} "))
        copies.append(str(tmp_path / name))
    return copies


def test_units_have_no_mistakes(units: list[str]) -> None:
    """Every directive is known and every value can be read."""
    said = run_tool("systemd-analyze", "verify", "--man=no", *units)
    assert not [line for line in said.splitlines() if "sipcap." in line], said


def test_unit_leaves_little_to_attack(units: list[str]) -> None:
    """What the service does not need is taken away."""
    program = need("systemd-analyze")
    done = subprocess.run(
        [program, "security", "--offline=true", f"--threshold={int(MOST_EXPOSED * 10)}", "--json=short", units[0]],
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    exposed = [each["name"] for each in json.loads(done.stdout) if each["set"] is False]
    assert done.returncode == 0, (done.stderr, exposed)


def test_unit_names_what_the_service_expects() -> None:
    """The spool goes to StateDirectory, the control socket to RuntimeDirectory, and there is time to drain."""
    text = (ROOT / "systemd/sipcap.service").read_text()
    found = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    assert (found["Type"], found["StateDirectory"], found["RuntimeDirectory"]) == ("notify", "sipcap", "sipcap")
    assert int(found["TimeoutStopSec"]) > 30
    assert found["AmbientCapabilities"] == found["CapabilityBoundingSet"]


def test_units_are_installed_where_systemd_looks() -> None:
    """Every file of the folder is in the wheel, below lib/systemd and lib/sysusers.d of its prefix."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    installed = {path for folder in ("lib/systemd/system", "lib/sysusers.d") for path in data[folder]}
    files = {str(path.relative_to(ROOT)) for path in (ROOT / "systemd").rglob("*") if path.is_file()}
    assert installed == files


def test_socket_unit_keeps_what_arrives_before_the_service_starts(tmp_path: Path, udp_port: int) -> None:
    """A datagram starts the service, as systemd does it, and is stored; the listener is that of the unit's comment."""
    activate = need("systemd-socket-activate")
    text = (ROOT / "systemd/sipcap.socket").read_text()
    listen = re.search(r"listen = (udp:\*:9060)", text)
    assert listen is not None
    config = f"{USUAL}[listen:hep]\nlisten = {listen[1].replace('9060', str(udp_port))}\n"
    (tmp_path / "modes.ini").write_text(config)
    passed = [f"-E{name}" for name in environment() if name.startswith(("PYTHON", "XDG_"))]
    before = (activate, "--datagram", f"--listen={udp_port}", *passed, "-EXDG_STATE_HOME")
    with background(tmp_path, "run", "--config", "modes.ini", "--log-format", "json", before=before) as process:
        wait_for(lambda: "Listening on" in process.said, "the socket")
        send_udp(udp_port, hep3_datagram(0))
        wait_for(lambda: (tmp_path / "sipcap.db").exists() and _stored(tmp_path) == 1, "the message")
        send_udp(udp_port, hep3_datagram(1))
        wait_for(lambda: _stored(tmp_path) == 2, "the next message")
        assert process.stop() == 0
    assert messages_in(tmp_path / "sipcap.db") == texts(range(2))


def _stored(folder: Path) -> int:
    try:
        return len(messages_in(folder / "sipcap.db"))
    except Exception:  # noqa: BLE001  # the table is not there yet
        return 0
