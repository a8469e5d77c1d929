"""Whether the compiled twins are used."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.support.twins import need_twins


def _enabled(value: str | None) -> str:
    """What a process sees with this value in its environment."""
    environ = {name: text for name, text in os.environ.items() if name != "SIPCAP_COMPILED"}
    if value is not None:
        environ["SIPCAP_COMPILED"] = value
    program = "from sipcap import compiled; print(compiled.ENABLED, compiled.twins() is not None)"
    return subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(("value", "enabled"), [(None, "True True"), ("1", "True True"), ("0", "False False")])
def test_environment_0_switches_off(value: str | None, enabled: str) -> None:
    """Twins are used unless the environment says no."""
    need_twins()
    assert _enabled(value) == enabled


def test_twins_that_nobody_compiled_are_none() -> None:
    """A missing module is no error: the reference does the work."""
    program = (
        "import sys; sys.modules['sipcap.compiled.native'] = None\n"
        "from sipcap import compiled; print(compiled.twins())\n"
        "from sipcap.cli.main import run; run(['-qq', 'replay', 'examples/call.pcap'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("None\n")
    assert done.stdout.count("\n") == 14
