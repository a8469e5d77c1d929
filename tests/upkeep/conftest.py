"""What all tests of upkeep need."""

from __future__ import annotations

import pytest

from sipcap.upkeep import sqlite_file


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are for capture; where none runs, tests need not wait for it."""
    monkeypatch.setattr(sqlite_file, "UPKEEP_PAUSE_S", 0.0)
