"""Carrying steps out in an SQLite file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sipcap.patterns import read_patterns
from sipcap.tables import Step
from sipcap.upkeep.carrying import Outcome, carry_out
from sipcap.upkeep.sqlite import SqliteUpkeep
from tests.calls.helpers import SECOND

DAY_US = 86_400 * SECOND


@contextlib.contextmanager
def upkeep_of(path: Path, *, create: bool = False) -> Iterator[SqliteUpkeep]:
    """An open upkeep."""
    upkeep = SqliteUpkeep(path)
    upkeep.open(create=create)
    try:
        yield upkeep
    finally:
        upkeep.close()


def do(path: Path, *steps: Step, table: str = "a|b|x|s_%Y%m%d") -> list[Outcome]:
    """Carry steps out, and give the space back."""
    with upkeep_of(path) as upkeep:
        outcomes = list(carry_out(upkeep, steps, read_patterns([table])))
        upkeep.settle(lambda: False)
    return outcomes
