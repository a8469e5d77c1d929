"""Kamailio's own clients against the control server: kamcmd over BINRPC, kamctl over FIFOs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import sipcap
from tests.support.controlling import SmallService, serving

TIMEOUT_S = 30.0
# Debian puts both where an ordinary user's PATH does not look.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def need(program: str) -> str:
    """The path of a program; without it the test is skipped, but fails in CI, which installs everything."""
    path = shutil.which(program, path=_PATH)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{program} is needed in CI")
    if path is None:
        pytest.skip(f"{program} is not here")
    return path


@pytest.fixture
def service() -> SmallService:
    """What is asked."""
    return SmallService()


@pytest.fixture
def folder(tmp_path: Path, service: SmallService) -> Iterator[Path]:
    """Where a server has its BINRPC socket and its FIFO."""
    with serving(service, binrpc_socket=str(tmp_path / "binrpc.sock"), rpc_fifo=str(tmp_path / "rpc.fifo")):
        yield tmp_path


def kamcmd(folder: Path, *args: str) -> str:
    """What kamcmd prints."""
    done = subprocess.run(
        [need("kamcmd"), "-s", f"unix:{folder / 'binrpc.sock'}", *args],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=True,
        text=True,
    )  # fmt: skip
    return done.stdout


def kamctl(folder: Path, *args: str) -> str:
    """What kamctl prints, without blanks at the ends of lines."""
    done = subprocess.run(
        [need("kamctl"), *args],
        env={**os.environ, "RPCFIFOPATH": str(folder / "rpc.fifo"), "PATH": _PATH, "TERM": "xterm"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False,
        text=True,
    )  # fmt: skip
    return done.stdout


def test_kamcmd_switches_and_asks(folder: Path, service: SmallService) -> None:
    """The module's words and answers."""
    assert kamcmd(folder, "sipcapture.status", "check") == "Enabled\n"
    assert kamcmd(folder, "sipcapture.status", "off") == "Disabled\n"
    assert not service.capture_is_on()
    assert kamcmd(folder, "sipcapture.status", "check") == "Disabled\n"
    assert kamcmd(folder, "sipcapture.status", "on", "mode1") == "Enabled\n"
    assert service.capture_is_on("mode1")


def test_kamcmd_shows_faults_as_the_module_gives_them(folder: Path) -> None:
    """Recorded texts, and words that the module would take."""
    assert kamcmd(folder, "sipcapture.status", "bogus") == "error: 500 - Bad parameter (on, off or check)\n"
    assert kamcmd(folder, "sipcapture.status", "once") == "error: 500 - Bad parameter (on, off or check)\n"
    assert kamcmd(folder, "sipcapture.status") == "error: 500 - Not enough parameters (on, off or check)\n"
    assert kamcmd(folder, "sipcapture.nope") == "error: 500 - command sipcapture.nope not found\n"


def test_kamcmd_prints_rows_structs_and_large_numbers(folder: Path, service: SmallService) -> None:
    """All that the server sends can be read by the real client, to the last byte."""
    service.counters.bytes = 10**15
    service.errors = [{"ts_us": 1_700_000_000_000_000, "text": "first"}, {"ts_us": 2, "text": "last"}]
    service.activity.sources.update(f"10.0.{number // 250}.{number % 250}" for number in range(200))
    assert kamcmd(folder, "core.version") == f"sipcap {sipcap.__version__}\n"
    assert kamcmd(folder, "stats.get_statistics", "sipcapture:").splitlines()[0] == "sipcapture:captured_replies = 5"
    assert "sipcapture.status" in kamcmd(folder, "system.listMethods").splitlines()
    stats = kamcmd(folder, "sipcapture.stats")
    assert "bytes: 1000000000000000\n" in stats
    assert stats.count("10.0.") == 200
    assert "text: last\n" in stats
    assert "error" not in stats.replace("errors", "").lower()
    assert stats.endswith("}\n")


def test_kamctl_rpc_prints_what_it_prints_of_kamailio(folder: Path, service: SmallService) -> None:
    """The reply of spec/control.md 2."""
    shown = kamctl(folder, "rpc", "sipcapture.status", "check")
    assert re.sub(r"\d{2,}", "PID", " ".join(shown.split())) == '{ "jsonrpc": "2.0", "result": "Enabled", "id": PID }'
    kamctl(folder, "rpc", "sipcapture.status", "off")
    assert not service.capture_is_on()
    assert '"message": "Bad parameter (on, off or check)"' in kamctl(folder, "rpc", "sipcapture.status", "bogus")
    assert '"code": 500' in kamctl(folder, "rpc", "sipcapture.status")


def test_kamctl_rpc_gets_a_long_answer_whole(folder: Path, service: SmallService) -> None:
    """More than a FIFO holds."""
    service.errors = [{"ts_us": number, "text": "x" * 100} for number in range(1000)]
    shown = kamctl(folder, "rpc", "sipcapture.stats")
    assert len(shown) > 100_000
    assert shown.rstrip().endswith("}")


def test_kamctl_monitor_shows_a_page(folder: Path) -> None:
    """It asks for version, uptime and statistics of groups that are not here, over several lines each."""
    shown = kamctl(folder, "monitor", "1")
    assert f"sipcap {sipcap.__version__}" in shown
    assert "uptime" in shown
