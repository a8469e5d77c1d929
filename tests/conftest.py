"""Fixtures for all tests: the program as a user starts it, free ports, and a place for a database."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

ROOT = Path(__file__).resolve().parents[1]
SIPCAP = (sys.executable, "-bb", "-W", "error", "-m", "sipcap")
"""The program, with what Python can find wrong made an error."""

TIMEOUT_S = 30.0
"""Long enough for a loaded machine; what takes longer hangs."""


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a child process sees: no colours asked for, no options from outside, UTC, 100 columns.

    Compiled modules are kept: tests start sipcap often, and compiling it takes twice as long as all the rest of that.
    """
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("SIPCAP_") or name == "SIPCAP_COMPILED"
    }
    for name in ("NO_COLOR", "FORCE_COLOR", "XDG_RUNTIME_DIR", "STATE_DIRECTORY", "PYTHONDONTWRITEBYTECODE"):
        kept.pop(name, None)
    # A service that a test starts is steered from the test's folder, and not from a place that others share.
    kept["SIPCAP_STATUS_SOCKET"] = "sipcap.sock"
    fixed = {"PYTHONPATH": str(ROOT), "TZ": "UTC", "COLUMNS": "100", "TERM": "xterm"}
    return {**kept, **fixed, **(changes or {})}


class RunSipcap(Protocol):
    """Runs ``sipcap`` with arguments to its end."""

    def __call__(
        self,
        *args: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> subprocess.CompletedProcess[bytes]:
        """Start it, give it *stdin*, and return what came of it."""


def run_sipcap(
    args: Sequence[str],
    folder: Path,
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``sipcap`` in *folder* to its end."""
    return subprocess.run(
        [*SIPCAP, *args],
        input=stdin,
        capture_output=True,
        cwd=folder,
        env=environment({"XDG_STATE_HOME": str(folder / ".state"), **(env or {})}),
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def sipcap(tmp_path: Path) -> RunSipcap:
    """The program, run in a folder of its own with a bound on its time."""

    def run(
        *args: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> subprocess.CompletedProcess[bytes]:
        return run_sipcap(args, tmp_path, stdin=stdin, env=env, timeout_s=timeout_s)

    return run


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def udp_port() -> int:
    """A UDP port of the loopback interface that was free a moment ago."""
    return _free_port(socket.SOCK_DGRAM)


@pytest.fixture
def tcp_port() -> int:
    """A TCP port of the loopback interface that was free a moment ago."""
    return _free_port(socket.SOCK_STREAM)


@pytest.fixture
def db_path(tmp_path: Path) -> Path:
    """Where a SQLite database may be made."""
    return tmp_path / "sipcap.db"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What sipcap says from here on."""
    monkeypatch.setattr(logging.getLogger("sipcap"), "propagate", True)
    caplog.set_level(logging.INFO, "sipcap")
    return caplog
