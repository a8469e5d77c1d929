"""The compiled twins in tests: there in CI, and looked for elsewhere."""

from __future__ import annotations

import os

import pytest

from sipcap import compiled


def need_twins(*names: str) -> None:
    """Skip the test where compiled modules are missing or switched off; in CI, which compiles them, missing fails."""
    if not compiled.ENABLED:
        pytest.skip("SIPCAP_COMPILED=0")
    missing = [name for name in names if compiled.twin(name) is None]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not compiled, which CI does: {missing}")
    if missing:
        pytest.skip(f"nobody has compiled {missing}")
