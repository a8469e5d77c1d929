"""``sipcap config check`` and ``show``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import RunSipcap

TEXT = """\
[sipcap]
db_url = mysql://u:geheim@h/db
[listen:hep]
listen = udp:0.0.0.0:9060
[capture_mode:m1]
db_url = postgresql://u:geheim@h/db
[route:all]
capture_mode = m1
"""


def test_config_check_says_what_a_file_does(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Listeners, modes, routes, and that it starts switched off."""
    (tmp_path / "modes.ini").write_text(TEXT)
    done = sipcap("config", "check", "modes.ini")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        "modes.ini can be used",
        "listeners: hep (hep)",
        "capture modes: default, m1",
        "routes: all",
        "capture_on is 0: nothing is stored until it is switched on",
    ]


def test_config_check_of_a_wrong_file_is_3(sipcap: RunSipcap, tmp_path: Path) -> None:
    """One line with file, line and the nearest name; nothing on stdout."""
    (tmp_path / "modes.ini").write_text("[sipcap]\ncapture_nod = x\n")
    done = sipcap("config", "check", "modes.ini")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr == (
        b"sipcap: error: modes.ini:2: unknown key capture_nod in [sipcap]; did you mean capture_node?\n"
    )


def test_config_check_finds_what_run_would_refuse(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A URL that names no database, and tables that a schema does not have."""
    (tmp_path / "modes.ini").write_text("[sipcap]\ndb_url = sqlite://x\n")
    done = sipcap("config", "check", "modes.ini")
    assert done.returncode == 3
    assert b"modes.ini:2" in done.stderr
    (tmp_path / "modes.ini").write_text("[sipcap]\nschema = homer7\ntable_name = x\n")
    assert b"homer7" in sipcap("config", "check", "modes.ini").stderr


@pytest.mark.parametrize(("line", "said"), [
    ("db_url = mysql//u:geheim@h/db", "modes.ini:2: db_url: no URL"),
    ("db_url = geheim:u//://h/db", "modes.ini:2: db_url: no URL"),
    ("db_url = oracle://u:geheim@h/db", "modes.ini:2: db_url: unknown database oracle"),
    ("event_callback = nosuch.py:on_request", "hook nosuch.py:on_request: No such file or directory"),
])  # fmt: skip
def test_config_check_of_what_cannot_be_opened_is_no_success(
    sipcap: RunSipcap, tmp_path: Path, line: str, said: str
) -> None:
    """A database of no known kind and a hook that cannot be loaded show before the service starts; no password does."""
    (tmp_path / "modes.ini").write_text(f"[sipcap]\n{line}\n")
    done = sipcap("config", "check", "modes.ini")
    assert (done.returncode, done.stdout) == (3, b"")
    assert said.encode() in done.stderr
    assert b"geheim" not in done.stderr


def test_config_show_hides_passwords_and_names_origins(sipcap: RunSipcap, tmp_path: Path) -> None:
    """As text that is a configuration file again, and as JSON."""
    (tmp_path / "modes.ini").write_text(TEXT)
    done = sipcap("config", "show", "modes.ini")
    assert done.returncode == 0
    assert b"geheim" not in done.stdout
    assert b"# modes.ini:2\ndb_url = mysql://u:(hidden)@h/db\n" in done.stdout
    shown = json.loads(sipcap("config", "show", "--format", "json", "modes.ini").stdout)
    assert shown["capture_mode:m1"]["db_url"] == {"value": "postgresql://u:(hidden)@h/db", "origin": "modes.ini:6"}
    assert shown["sipcap"]["capture_on"] == {"value": "0", "origin": "default"}
    assert shown["route:all"]["capture_mode"] == {"value": "m1", "origin": "modes.ini:8"}


@pytest.mark.parametrize("url", [
    "mysql://u:ge/heim@h/db", "mysql://u/x:ge/heim@h/db", "mysql://u:ge@heim@h/db?socket=/x", "unixodbc://u:ge/heim@h/DSN",
])  # fmt: skip
def test_config_show_hides_a_password_that_should_have_been_escaped(
    sipcap: RunSipcap, tmp_path: Path, url: str
) -> None:
    """A password with a slash makes a URL that cannot be used; it is a password nevertheless."""
    (tmp_path / "modes.ini").write_text(
        f"[sipcap]\ndb_url = {url}\ncapture_mode = m=>db_url={url};table_name=a;mt_mode=rand\n"
    )
    done = sipcap("config", "show", "modes.ini")
    assert b"heim" not in done.stdout + done.stderr


def test_config_from_kamailio_makes_a_file_that_can_be_used(sipcap: RunSipcap, tmp_path: Path) -> None:
    """On stdout the new configuration, on stderr what is not in it, with its place."""
    (tmp_path / "kamailio.cfg").write_text(
        '#!define DBURL "mysql://u:geheim@h/db"\nlisten=udp:10.0.0.1:9060\nloadmodule "sipcapture.so"\n'
        'modparam("sipcapture", "db_url", DBURL)\nmodparam("sipcapture", "capture_on", 1)\n'
        'modparam("sipcapture", "hep_capture_on", 1)\nmodparam("sipcapture", "colour", "red")\n'
        'request_route {\n  if (is_method("REGISTER")) { sip_capture("reg_%Y"); } else { sip_capture(); }\n  drop;\n}\n'
    )
    done = sipcap("config", "from-kamailio", "kamailio.cfg")
    assert done.returncode == 1
    assert b"kamailio.cfg:7: unknown parameter colour" in done.stderr
    (tmp_path / "modes.ini").write_bytes(done.stdout)
    shown = json.loads(sipcap("config", "show", "--format", "json", "modes.ini").stdout)
    assert shown["sipcap"]["db_url"]["value"] == "mysql://u:(hidden)@h/db"
    assert shown["sipcap"]["capture_on"]["value"] == "1"
    assert any("10.0.0.1:9060" in keys["listen"]["value"] for name, keys in shown.items() if name.startswith("listen:"))
    assert any(keys.get("table", {}).get("value") == "reg_%Y" for keys in shown.values())


def test_config_show_is_a_file_again(sipcap: RunSipcap, tmp_path: Path) -> None:
    """What it writes can be read, and says the same."""
    (tmp_path / "modes.ini").write_text(
        "[sipcap]\ncallid_column = call_id\n[listen:hep]\nmode = hep\nlisten = udp:127.0.0.1:9060\n"
        "[listen:m]\nmode = mirror\niface = lo\nlisten = *:5060-5090\nbpf = auto\n"
        "[capture_mode:a]\ndb_url = sqlite:///a.db\n[route:x]\nmethods = INVITE\ncapture_mode = a\n"
    )
    (tmp_path / "again.ini").write_bytes(sipcap("config", "show", "modes.ini").stdout)
    first, again = (
        json.loads(sipcap("config", "show", "--format", "json", name).stdout) for name in ("modes.ini", "again.ini")
    )
    for section, keys in first.items():
        assert {key: entry["value"] for key, entry in keys.items()} == {
            key: entry["value"] for key, entry in again[section].items()
        }
