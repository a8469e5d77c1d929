"""Whether the compiled twins are used."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sipcap import compiled


def _enabled(value: str | None) -> str:
    """What a process sees with this value in its environment."""
    environ = {name: text for name, text in os.environ.items() if name != "SIPCAP_COMPILED"}
    if value is not None:
        environ["SIPCAP_COMPILED"] = value
    program = "from sipcap import compiled; print(compiled.ENABLED)"
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(("value", "enabled"), [(None, "True"), ("1", "True"), ("0", "False")])
def test_environment_0_switches_off(value: str | None, enabled: str) -> None:
    """Twins are used unless the environment says no."""
    assert _enabled(value) == enabled


def test_twin_that_nobody_compiled_is_none() -> None:
    """A missing module is no error: the reference does the work."""
    assert compiled.twin("no_such_module") is None


def test_twin_that_is_switched_off_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is there is not imported if it is not wanted."""
    monkeypatch.setattr(compiled, "ENABLED", False)
    assert compiled.twin("__init__") is None
