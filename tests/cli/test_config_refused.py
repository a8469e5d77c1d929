"""What ``sipcap config check`` and ``sipcap run`` refuse of a file by itself, before anything is opened."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.conftest import RunSipcap
from tests.support.background import background


def said(sipcap: RunSipcap, tmp_path: Path, text: str) -> str:
    """What both say of a file that both refuse; "" if the check has nothing to say, and the file can be used."""
    (tmp_path / "modes.ini").write_text(text)
    done = sipcap("config", "check", "modes.ini")
    if done.returncode == 0:
        assert b"modes.ini can be used" in done.stdout
        return done.stderr.decode()
    assert (done.returncode, done.stdout) == (3, b"")
    started = sipcap("run", "--config", "modes.ini", "--spool", "off")
    assert (started.returncode, started.stderr) == (3, done.stderr)
    return done.stderr.decode().removeprefix("sipcap: error: ").rstrip()


@pytest.mark.parametrize(
    ("listen", "forward"),
    [
        ("udp:127.0.0.1:9060", "udp:127.0.0.1:9060"),
        ("tcp:0.0.0.0:9050-9070", "tcp:127.0.0.1:9060"),
        ("udp:[::]:9060", "udp:[::1]:9060"),
        ("udp:*:9060", "localhost:9060"),
    ],
)
def test_forward_to_ones_own_listener_is_refused(sipcap: RunSipcap, tmp_path: Path, listen: str, forward: str) -> None:
    """Each message would come back, and be sent again, for ever."""
    text = f"[listen:hep]\nlisten = {listen}\n[route:fw]\nmethods = INVITE\nforward = {forward}\n"
    assert said(sipcap, tmp_path, text) == (
        f"modes.ini:5: [route:fw] forward: {forward if ':' in forward.partition(':')[2] else 'udp:' + forward} is"
        " listened on in modes.ini:2: all that is sent there would come back, without end"
    )


def test_forward_to_the_listener_that_there_is_without_a_word_is_refused(sipcap: RunSipcap, tmp_path: Path) -> None:
    """And to one that options have put in the file's place."""
    text = "[route:fw]\nforward = udp:127.0.0.1:9060\n"
    assert "modes.ini:2: [route:fw] forward: udp:127.0.0.1:9060 is listened on in default" in said(
        sipcap, tmp_path, text
    )
    (tmp_path / "modes.ini").write_text("[listen:hep]\nlisten = udp:127.0.0.1:9061\n" + text)
    assert sipcap("config", "check", "modes.ini").returncode == 0
    done = sipcap("run", "--config", "modes.ini", "--spool", "off", "--listen", "udp:0.0.0.0:9060")
    assert done.returncode == 3
    assert b"[route:fw] forward: udp:127.0.0.1:9060 is listened on in --listen" in done.stderr


def test_forward_elsewhere_can_be_used(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Another protocol, port or machine."""
    text = "[listen:hep]\nlisten = udp:0.0.0.0:9060\n"
    for number, forward in enumerate(("tcp:127.0.0.1:9060", "127.0.0.1:9061", "203.0.113.7:9060", "no.invalid:9060")):
        text += f"[route:r{number}]\nmethods = INVITE\ncapture_id = {number}\nforward = {forward}\n"
    assert said(sipcap, tmp_path, text) == ""


def test_tls_without_a_certificate_names_the_keys(sipcap: RunSipcap, tmp_path: Path) -> None:
    """With the line; one of the main section is enough, and a misspelt one is told as what it is."""
    text = "[listen:a]\nmode = hep\nlisten = udp:127.0.0.1:1, tls:127.0.0.1:9070\n"
    assert said(sipcap, tmp_path, text) == (
        "modes.ini:3: [listen:a] listen: tls:127.0.0.1:9070 needs tls_cert, in this section or in [sipcap]"
        " (and tls_key if the key is in another file)"
    )
    assert "needs" not in said(sipcap, tmp_path, text + "tls_crt = x\n")
    (tmp_path / "modes.ini").write_text(f"[sipcap]\ntls_cert = cert.pem\n{text}")
    assert sipcap("config", "check", "modes.ini").returncode == 0


def test_one_port_for_two_is_refused(sipcap: RunSipcap, tmp_path: Path) -> None:
    """An address and any address are one to the kernel; so are a listener and the page of metrics."""
    text = "[listen:a]\nlisten = udp:127.0.0.1:9060\n[listen:b]\nlisten = udp:0.0.0.0:9060\n"
    assert said(sipcap, tmp_path, text) == (
        "modes.ini:4: [listen:b] listen: udp:0.0.0.0:9060 is listened on in modes.ini:2 already"
    )
    text = "[sipcap]\nmetrics_listen = 127.0.0.1:9060\n[listen:a]\nlisten = udp:127.0.0.1:9060, tcp:*:9060\n"
    assert said(sipcap, tmp_path, text) == (
        "modes.ini:2: [sipcap] metrics_listen: 127.0.0.1:9060 is listened on in modes.ini:4 already"
    )
    assert "metrics_listen must be HOST:PORT" in said(sipcap, tmp_path, "[sipcap]\nmetrics_listen = 9096\n")


def test_metrics_at_a_taken_port_are_no_matter_of_the_control_socket(tmp_path: Path) -> None:
    """The error alone is told: nothing goes on without anything."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        (tmp_path / "modes.ini").write_text(
            f"[sipcap]\nmetrics_listen = {place}\ncapture_on = 1\n[listen:a]\nlisten = udp:127.0.0.1:0\n"
        )
        with background(tmp_path, "run", "--config", "modes.ini", "-q") as process:
            assert process.wait() == 3
    assert process.said == f"sipcap: error: metrics on {place}: Address already in use\n"
    assert not (tmp_path / "sipcap.sock").exists()


def test_method_that_is_not_registered_is_told(sipcap: RunSipcap, tmp_path: Path) -> None:
    """It may be a slip, or one of a vendor: the file can be used."""
    text = "[route:r]\nmethods = INVITE, REGSTER\ntable = t\n[route:s]\nmethods = kdmq, bye\ntable = t\n"
    assert said(sipcap, tmp_path, text).splitlines() == [
        "sipcap: warning: modes.ini:2: [route:r] methods: REGSTER is no registered method; did you mean REGISTER?",
        "sipcap: warning: modes.ini:5: [route:s] methods: kdmq is no registered method",
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[sipcap]\ntable_name = a|sip_%Q%m%d\n", "modes.ini:2: [sipcap] table_name: 'sip_%Q%m%d': strftime has no %Q"),
        ("[capture_mode:m]\ndb_url = sqlite:///x\ntable_name = %Ji\n", "modes.ini:3: [capture_mode:m] table_name: "),
        ("[route:r]\ntable = t_%Y_%v\n", "modes.ini:2: [route:r] table: 't_%Y_%v': strftime has no %v"),
    ],
)
def test_conversion_that_strftime_does_not_know_is_refused(
    sipcap: RunSipcap, tmp_path: Path, text: str, error: str
) -> None:
    """Tables would have a percent sign in their names."""
    assert said(sipcap, tmp_path, text).startswith(error)


def test_every_conversion_of_strftime_may_stand_in_a_table(sipcap: RunSipcap, tmp_path: Path) -> None:
    """With flags, and a percent sign that is one."""
    assert said(sipcap, tmp_path, "[sipcap]\ntable_name = t_%Y%-m%_d%EY%j%V%G%s%%_%H\n") == ""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("methods = INVITE, BYE", "methods = bye, invite"),
        ("methods = INVITE, BYE", "methods = BYE\nsource = 192.0.2.1"),
        ("source = 192.0.2.0/24", "source = 192.0.2.7, 192.0.2.128/25"),
        ("header = X-A: ^b$", "header = x-a: ^b$\ncapture_id = 7"),
        ("hep_type = 5, 100", "hep_type = 5"),
    ],
)
def test_route_that_can_never_be_reached_is_refused(sipcap: RunSipcap, tmp_path: Path, first: str, second: str) -> None:
    """The first match counts: what an earlier route takes, no later one sees."""
    text = f"[route:a]\n{first}\ntable = a\n[route:b]\n{second}\ntable = b\n"
    assert said(sipcap, tmp_path, text) == (
        "modes.ini:4: [route:b] it can never be reached: [route:a] in line 1 takes all that it would match"
    )
    if first.partition(" ")[0] == second.partition(" ")[0] and "\n" in second:
        assert said(sipcap, tmp_path, f"[route:b]\n{second}\ntable = b\n[route:a]\n{first}\ntable = a\n") == ""


def test_routes_of_which_each_takes_something_can_be_used(sipcap: RunSipcap, tmp_path: Path) -> None:
    """Conditions that meet in part only."""
    text = "".join(
        f"[route:r{number}]\n{conditions}\ntable = t{number}\n"
        for number, conditions in enumerate((
            "methods = INVITE\nsource = 192.0.2.0/24", "methods = INVITE\nsource = 2001:db8::/32",
            "methods = INVITE, BYE", "source = 192.0.2.0/25", "source = 192.0.2.0/24", "header = X-A: b",
            "header = X-A: c", "hep_type = 5", "capture_id = 1", "",
        ))
    )  # fmt: skip
    assert said(sipcap, tmp_path, text) == ""
