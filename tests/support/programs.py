"""Programs of the system that some tests need."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TIMEOUT_S = 30.0


def need(program: str) -> str:
    """The path of a program; without it the test is skipped, but fails in CI, which installs everything."""
    path = shutil.which(program)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"{program} is needed in CI")
    if path is None:
        pytest.skip(f"{program} is not here")
    return path


def run_tool(*args: str, cwd: Path | None = None) -> str:
    """Run a program that must succeed; what it said on stdout and stderr."""
    done = subprocess.run(
        [need(args[0]), *args[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=cwd,
        timeout=TIMEOUT_S,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout
