"""The compiled twins in tests: there in CI, and looked for elsewhere."""

from __future__ import annotations

import os

import pytest

from sipcap import compiled


def need_twins() -> None:
    """Skip a test where the twins are not compiled, or switched off; in CI, which compiles them, it fails."""
    if not compiled.ENABLED:
        pytest.skip("SIPCAP_COMPILED=0")
    if compiled.twins() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("not compiled, which CI does")
        pytest.skip("nobody has compiled the twins")
