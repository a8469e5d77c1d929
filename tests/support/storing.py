"""``sipcap store`` while it runs, and a database that somebody else holds."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SIPCAP, TIMEOUT_S, environment
from tests.support.pipes import wait_until
from tests.support.records import numbers_of


@contextlib.contextmanager
def locked(path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else holds the file for himself."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield other
    finally:
        other.close()


def start_store(folder: Path, *args: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """``sipcap store`` that goes on while the test does something."""
    return subprocess.Popen(
        [*SIPCAP, "store", *args], stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder,
        env=environment(),
    )  # fmt: skip


def wait_for_start(program: subprocess.Popen[bytes], path: Path) -> None:
    """Wait until the program has its database open; it hears signals since before that."""
    wait_until(lambda: path.resolve() in _open_files(program.pid))


def _open_files(pid: int) -> list[Path]:
    return [Path(os.path.realpath(entry)) for entry in Path(f"/proc/{pid}/fd").iterdir()]


def wait_for_rows(path: Path, count: int) -> None:
    """Wait until so many rows are stored."""
    until_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until_s:
        with contextlib.suppress(sqlite3.OperationalError):
            if path.exists() and len(numbers_of(path)) >= count:
                return
        time.sleep(0.05)
    pytest.fail("the rows did not come")
