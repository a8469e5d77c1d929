"""``sipcap status``: asks and switches a service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipcap.errors import ControlError
from sipcap.service.control.client import ControlClient
from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.background import background, wait_for
from tests.support.controlling import SmallService, serving
from tests.support.pipes import in_child


@pytest.fixture
def service() -> SmallService:
    """What is asked."""
    return SmallService()


@pytest.fixture
def path(tmp_path: Path, service: SmallService) -> Iterator[str]:
    """Its control socket."""
    path = str(tmp_path / "control.sock")
    with serving(service, control_socket=path):
        yield path


@pytest.mark.parametrize("words", [(), ("check",), ("CHECK",)])
def test_status_says_what_is(sipcap: RunSipcap, path: str, service: SmallService, words: tuple[str, ...]) -> None:
    """One word on stdout, nothing on stderr; without a word it checks."""
    for word, on in (("Enabled", True), ("Disabled", False)):
        service.set_capture(None, on=on)
        done = sipcap("status", *words, "--socket", path)
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"{word}\n", b"")


def test_status_switches(sipcap: RunSipcap, path: str, service: SmallService) -> None:
    """All of capture, or one mode."""
    assert sipcap("status", "off", "--socket", path).stdout == b"Disabled\n"
    assert not service.capture_is_on()
    assert sipcap("status", "on", "--socket", path).stdout == b"Enabled\n"
    assert service.capture_is_on()
    assert sipcap("status", "off", "--mode", "mode1", "--socket", path).stdout == b"Disabled\n"
    assert not service.capture_is_on("mode1")
    assert service.capture_is_on()


def test_status_finds_the_socket_in_the_environment(sipcap: RunSipcap, path: str) -> None:
    """The variable that run uses, too; and the user's own folder."""
    assert sipcap("status", env={"SIPCAP_STATUS_SOCKET": path}).stdout == b"Enabled\n"
    Path(path).rename(Path(path).with_name("sipcap.sock"))
    done = sipcap("status", env={"SIPCAP_STATUS_SOCKET": "", "XDG_RUNTIME_DIR": str(Path(path).parent)})
    assert done.stdout == b"Enabled\n" or Path("/run/sipcap/sipcap.sock").exists()


def test_status_json_has_the_whole_state(sipcap: RunSipcap, path: str, service: SmallService) -> None:
    """One line, after what was asked for was done."""
    service.counters.received = 12
    done = sipcap("status", "off", "--json", "--socket", path)
    assert done.stdout.count(b"\n") == 1
    assert json.loads(done.stdout) == service.stats()
    assert json.loads(done.stdout)["enabled"] is False


def test_status_of_an_unknown_mode_is_refused(sipcap: RunSipcap, path: str) -> None:
    """Exit 6, with the service's words."""
    done = sipcap("status", "off", "--mode", "nope", "--socket", path)
    assert (done.returncode, done.stdout) == (6, b"")
    assert done.stderr == b"sipcap: error: No capture mode of the name nope\n"


def test_status_without_a_service_is_exit_6(sipcap: RunSipcap, tmp_path: Path) -> None:
    """And says where it looked."""
    done = sipcap("status", "--socket", str(tmp_path / "nope"))
    assert (done.returncode, done.stdout) == (6, b"")
    assert str(tmp_path / "nope").encode() in done.stderr


@pytest.mark.parametrize("args", [("once",), ("on", "off"), ("--interval", "0"), ("--mode",)])
def test_status_with_other_words_is_a_usage_error(sipcap: RunSipcap, path: str, args: tuple[str, ...]) -> None:
    """Before anything is asked."""
    assert sipcap("status", *args, "--socket", path).returncode == 2


def test_status_watch_writes_lines_until_it_is_stopped(tmp_path: Path, path: str, service: SmallService) -> None:
    """Each as soon as it is known; Ctrl-C is no failure."""
    with background(tmp_path, "status", "--watch", "--interval", "0.1", "--socket", path) as watch:
        wait_for(lambda: b"Enabled" in watch.output)
        service.set_capture(None, on=False)
        service.counters.received = 77
        wait_for(lambda: b"Disabled  received 77" in watch.output)
        assert watch.stop(signal.SIGINT) == 0


def test_status_watch_in_json_is_an_object_a_line(tmp_path: Path, path: str) -> None:
    """So that jq can read on."""
    with background(tmp_path, "status", "--watch", "--json", "--interval", "0.1", "--socket", path) as watch:
        wait_for(lambda: watch.output.count(b"\n") >= 3)
        assert watch.stop() == 0
        assert all(line["enabled"] for line in watch.lines)


def test_status_watch_ends_with_its_service(tmp_path: Path, service: SmallService) -> None:
    """Exit 6: a script that watches learns of it."""
    path = str(tmp_path / "x")
    args = ("status", "--watch", "--interval", "0.1", "--socket", path)
    with serving(service, control_socket=path) as server, background(tmp_path, *args) as watch:
        wait_for(lambda: b"Enabled" in watch.output)
        server.close()
        assert watch.wait() == 6


def test_status_watch_ends_with_its_reader(tmp_path: Path, path: str) -> None:
    """As any stage does (design 1.1)."""
    program = f"{' '.join(SIPCAP)} status --watch --interval 0.1 --socket {path}"
    done = subprocess.run(
        ["sh", "-c", f"{{ {program}; echo $? >&2; }} | head -n 1"],
        capture_output=True, timeout=TIMEOUT_S, check=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    assert b"Enabled" in done.stdout
    assert done.stderr.strip() == b"0"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_status_at_a_socket_of_others_says_what_helps(service: SmallService) -> None:
    """That the service runs is not in doubt: nobody is asked whether it does."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = f"{folder}/control.sock"

        def ask() -> int:
            os.setgroups([])
            os.setuid(65_534)
            try:
                ControlClient(path).call("sipcapture.status", "check")
            except ControlError as error:
                wanted = ("permission denied", "sudo", "control_group")
                return 0 if all(map(str(error).__contains__, wanted)) and "running" not in str(error) else 2
            return 1

        with serving(service, control_socket=path):
            Path(path).chmod(0o600)
            assert os.waitstatus_to_exitcode(os.waitpid(in_child(ask), 0)[1]) == 0
