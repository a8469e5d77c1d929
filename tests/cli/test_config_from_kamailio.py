"""``sipcap config from-kamailio`` from its command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.kamailio.test_translate import DEBIANS, HEAD, USUAL
from tests.conftest import RunSipcap


def test_from_kamailio_writes_a_configuration_that_can_be_used(sipcap: RunSipcap, tmp_path: Path) -> None:
    """What it writes passes ``config check``, and nothing is left to say."""
    listening = "listen=udp:127.0.0.1:9060\n" + HEAD + 'modparam("sipcapture", "hep_capture_on", 1)\n'
    (tmp_path / "kamailio.cfg").write_text(listening + USUAL)
    done = sipcap("config", "from-kamailio", "kamailio.cfg")
    assert (done.returncode, done.stderr) == (0, b"")
    (tmp_path / "modes.ini").write_bytes(done.stdout)
    checked = sipcap("config", "check", "modes.ini")
    assert checked.returncode == 0, checked.stderr
    assert b"routes: 1, 2, 3, 4" in checked.stdout


def test_from_kamailio_of_the_packages_example_can_be_used(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Debian's own capture node; what it lists is its duplicate check, its reports and its event route."""
    if not DEBIANS.exists():
        pytest.skip("the package's example is not here")
    done = sipcap("config", "from-kamailio", str(DEBIANS))
    assert done.returncode == 1
    assert b"report_capture" in done.stderr
    (tmp_path / "modes.ini").write_bytes(done.stdout)
    assert sipcap("config", "check", "modes.ini").returncode == 0


def test_from_kamailio_without_its_file_cannot_start(sipcap: RunSipcap) -> None:
    """Exit code 3 and the name."""
    done = sipcap("config", "from-kamailio", "no-such.cfg")
    assert done.returncode == 3
    assert b"no-such.cfg" in done.stderr
