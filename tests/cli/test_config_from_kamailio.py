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


def test_from_kamailio_of_a_file_without_sipcapture_says_so_in_one_line(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A proxy's configuration is no capture node's: nothing is made of it, with a database nobody asked for."""
    (tmp_path / "kamailio.cfg").write_text(
        "listen=udp:127.0.0.1:5060\n#!ifexp X == 1\n#!endif\n"
        'modparam("usrloc", "db_url", "mysql://u:geheim@h/db")\nrequest_route { reply_route(X); t_relay(); }\n'
    )
    done = sipcap("config", "from-kamailio", "kamailio.cfg")
    assert (done.returncode, done.stdout) == (1, b"")
    said = done.stderr.decode().splitlines()
    assert said == [
        "sipcap: error: kamailio.cfg: nothing in it is about sipcapture: no loadmodule, modparam or sip_capture()",
        "sipcap: warning: kamailio.cfg:2: ifexp is not evaluated; what it holds is left out",
    ]


def test_from_kamailio_shows_passwords_in_the_file_only(sipcap: RunSipcap, tmp_path: Path) -> None:
    """The configuration needs them; what is said about it does not, wherever a URL gets to."""
    (tmp_path / "kamailio.cfg").write_text(
        HEAD.replace("u:p@", "u:ge@heim@") + "listen=mysql://u:ge@heim@h/db\n"
        'modparam("sipcapture", "hep_capture_on", 1)\n'
        'modparam("sipcapture", "capture_mode", "m=>db_url=mysql://u:ge@heim@h/db;nonsense=1")\n'
    )
    done = sipcap("config", "from-kamailio", "kamailio.cfg")
    assert done.returncode == 1
    assert b"db_url = mysql://u:ge@heim@h/db" in done.stdout
    assert done.stderr
    assert b"heim" not in done.stderr
    said = sipcap("--log-format", "json", "config", "from-kamailio", "kamailio.cfg").stderr
    assert b"heim" not in said
    (tmp_path / "modes.ini").write_text("[route:x]\nforward = mysql://u:geheim@h/db\ntable = t\n")
    checked = sipcap("config", "check", "modes.ini")
    assert checked.returncode == 3
    assert b"mysql://u:(hidden)@h/db" in checked.stderr
    assert b"geheim" not in checked.stderr
