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


MANY_ERRORS = """\
k = v
[sipcap]
capture_nod = x
capture_on = maybe
  or not
insert_retries = 501
capture_mode = m2=>db_url=sqlite:///x.db;mt_mode=hasch
[listen:a]
listen = udp:127.0.0.1:9060, tcp:*:9061-9063
[listen:b]
mode = hepp
listen = x
[listen:c]
listen = udp:127.0.0.1:9061,
  udp:127.0.0.1:9060
children = 0
[listen:d
[listen:e]
listen = tls:0.0.0.0:9062
[listen:a]
x = y
[capture_mode:mysql_main]
db_ulr = mysql://u:geheim@h/db
mt_mode = hahs
[capture_mode:m3]
table_name = t
mt_mode = hahs
no equals sign
[rout:x]
[route:r]
methods = INVITE
capture_mode = mysql_mian
hep_type = x
table = t
[route:to_broken_modes]
capture_mode = m2
source = nonsense
[route:also]
methods = INVITE
capture_mode = m3
"""


def test_config_check_tells_all_errors_of_a_file(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Each once, in the order of the file, and none that only follows from another; run tells the same."""
    (tmp_path / "modes.ini").write_text(MANY_ERRORS)
    done = sipcap("config", "check", "modes.ini")
    assert (done.returncode, done.stdout) == (3, b"")
    lines = done.stderr.decode().splitlines()
    assert all(line.startswith("sipcap: error: modes.ini:") for line in lines)
    told = [line.removeprefix("sipcap: error: modes.ini:").partition(": ") for line in lines]
    wanted = [
        (1, "a key before the first [section]"),
        (3, "unknown key capture_nod in [sipcap]; did you mean capture_node?"),
        (4, "[sipcap] capture_on must be 0 or 1"),
        (6, "[sipcap] insert_retries should be a value between 0 and 500"),
        (7, "capture_mode: mt_mode is 'hasch', must be one of rand, round_robin, hash; did you mean hash?"),
        (11, "[listen:b] mode must be one of hep, ipip, mirror; did you mean hep?"),
        (14, "[listen:c] listen: udp:127.0.0.1:9060 is listened on in modes.ini:9 already"),
        (16, "[listen:c] children should be a value between 1 and 64"),
        (17, "expected ] at the end of the line; comments stand on lines of their own"),
        (19, "[listen:e] listen: tls:0.0.0.0:9062 is listened on in modes.ini:9 already"),
        (20, "[listen:a] is here for the second time; first in line 8"),
        (21, "unknown key x in [listen:a]"),
        (23, "unknown key db_ulr in [capture_mode:mysql_main]; did you mean db_url?"),
        (24, "[capture_mode:mysql_main] mt_mode is 'hahs', must be one of rand, round_robin, hash; did you mean hash?"),
        (27, "[capture_mode:m3] mt_mode is 'hahs', must be one of rand, round_robin, hash; did you mean hash?"),
        (28, "expected key = value"),
        (29, "unknown section [rout:x]; did you mean route?"
             " (known: sipcap, capture_mode:NAME, listen:NAME, route:NAME)"),
        (32, "[route:r] capture_mode: no capture mode has this name; did you mean mysql_main?"
             " (known: default, m2, mysql_main, m3)"),
        (33, "[route:r] hep_type: 'x' is no number from 0 to 255"),
        (37, "[route:to_broken_modes] source: 'nonsense' does not appear to be an IPv4 or IPv6 network"),
    ]  # fmt: skip
    assert [(int(line), text) for line, _, text in told] == wanted
    assert sipcap("run", "--config", "modes.ini").stderr == done.stderr


def test_config_check_of_two_listeners_on_one_endpoint_names_both(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Of HEP, also across ranges, names of any address, and what a module's parameter adds; TCP and UDP are apart."""

    def said(*values: str, more: str = "") -> str:
        text = "".join(f"[listen:l{number}]\nlisten = {value}\n" for number, value in enumerate(values))
        (tmp_path / "modes.ini").write_text(text + more)
        done = sipcap("config", "check", "modes.ini")
        assert done.returncode == (3 if done.stderr else 0)
        return done.stderr.decode().removeprefix("sipcap: error: ").rstrip()

    assert said("udp:127.0.0.1:9060", "127.0.0.1:9050-9070") == (
        "modes.ini:4: [listen:l1] listen: udp:127.0.0.1:9050-9070 is listened on in modes.ini:2 already"
    )
    assert "l0] listen: udp:h:1 is listened on in modes.ini:2 already" in said("udp:h:1, udp:h:1")
    assert "modes.ini:4: [listen:l1] listen: tls:0.0.0.0:1 " in said("tcp:*:1", "tls:0.0.0.0:1")
    assert "[listen:hep] listen: udp:*:9060 is listened on in modes.ini:2 " in said(
        "udp:[::]:9060", more="[sipcap]\nhep_capture_on = 1\n"
    )
    for values in (("udp:h:1", "tcp:h:1"), ("udp:h:1", "udp:i:1"), ("udp:0.0.0.0:1", "udp:[::]:1"), ("h:0", "h:0")):
        assert not said(*values)


def test_config_check_tells_what_follows_from_several_keys(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Databases of no known kind, tables a schema does not have, a hook that is not there: all, with their lines."""
    (tmp_path / "modes.ini").write_text(
        "[sipcap]\nschema = homer7\ntable_name = x\nevent_callback = nosuch.py:f\n"
        "[capture_mode:a]\ndb_url = oracle://u:geheim@h/db\n[capture_mode:b]\ndb_url = nothing\n"
    )
    done = sipcap("config", "check", "modes.ini")
    assert done.returncode == 3
    lines = done.stderr.decode().splitlines()
    assert [line.partition("modes.ini:")[2].partition(":")[0] for line in lines] == ["3", "4", "6", "8"]
    assert "capture mode a: db_url: unknown database oracle" in lines[2]
    assert b"geheim" not in done.stderr


def test_config_check_of_a_wrong_file_tells_what_follows_from_several_keys_too(
    sipcap: RunSipcap, tmp_path: Path
) -> None:
    """A wrong line hides no database of no known kind, no hook that is not there, and no endpoint that is taken."""
    (tmp_path / "modes.ini").write_text(
        "[sipcap]\nauth_key = @nosuch\nevent_callback = nosuch.py:f\ndb_url = oracle://u:geheim@h/db\n"
        "[listen:a]\nlisten = udp:127.0.0.1:9060\npromisc = 1\n[listen:b]\nlisten = udp:127.0.0.1:9060\n"
        "rcvbuf = 1\n[capture_mode:y]\ndb_url = oracle://u:geheim@h/db\n"
    )
    done = sipcap("config", "check", "modes.ini")
    assert (done.returncode, done.stdout) == (3, b"")
    told = [line.partition("modes.ini:")[2].split(":", 1) for line in done.stderr.decode().splitlines()]
    assert [int(number) for number, _ in told] == [2, 3, 4, 7, 9, 10, 12]
    assert told[1][1].startswith(" event_callback: hook nosuch.py:f: No such file")
    assert told[4][1] == " [listen:b] listen: udp:127.0.0.1:9060 is listened on in modes.ini:6 already"
    assert told[6][1].startswith(" capture mode y: db_url: unknown database oracle")
    assert b"geheim" not in done.stderr


def test_config_check_looks_into_a_section_that_is_there_twice(sipcap: RunSipcap, tmp_path: Path) -> None:
    """What is wrong in it is told; what seems to be missing in the first is not: it may stand there."""
    (tmp_path / "modes.ini").write_text(
        "[sipcap]\ncapture_on = 1\n[capture_mode:a]\ntable_name = t\n[sipcap]\nx = 1\ncapture_on = maybe\n"
        "[capture_mode:a]\ndb_url = sqlite:///a.db\n"
    )
    lines = sipcap("config", "check", "modes.ini").stderr.decode().splitlines()
    assert [line.partition("modes.ini:")[2] for line in lines] == [
        "5: [sipcap] is here for the second time; first in line 1",
        "6: unknown key x in [sipcap]",
        "7: [sipcap] capture_on must be 0 or 1",
        "8: [capture_mode:a] is here for the second time; first in line 3",
    ]


def test_config_check_of_a_file_of_errors_comes_to_an_end(sipcap: RunSipcap, tmp_path: Path) -> None:
    """A file that is none is not told line by line."""
    (tmp_path / "modes.ini").write_bytes(b"[sipcap]\n" + b"".join(b"k%d = 1\n" % number for number in range(90_000)))
    lines = sipcap("config", "check", "modes.ini").stderr.splitlines()
    assert len(lines) == 101
    assert lines[-1] == b"sipcap: error: modes.ini: more errors than 100; the others are not looked for"


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
