"""The unit for systemd: what Debian's systemd understands, all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT, TIMEOUT_S
from tests.support.programs import need


def test_unit_is_understood_by_systemd(tmp_path: Path) -> None:
    """No key that is unknown, no value that is ignored."""
    need("systemd-analyze")
    text = (ROOT / "systemd" / "sipcap.service").read_text()
    unit = tmp_path / "sipcap.service"
    unit.write_text(
        text.replace("/usr/local/bin/sipcap", sys.executable).replace("Documentation=man:sipcap-run(1)\n", "")
    )
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, check=False, timeout=TIMEOUT_S)
    said = (done.stdout + done.stderr).decode()
    assert [line for line in said.splitlines() if "sipcap.service" in line] == []
