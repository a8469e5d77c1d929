"""What a tolerated difference is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .compare import Outcome
from .predicates import Pair


@dataclass(frozen=True, slots=True)
class Difference:
    """A reason for which one column of one outcome may differ."""

    name: str
    columns: frozenset[str]
    reason: str
    covers: Callable[[Pair], bool]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason for which one side stores nothing and the other a row."""

    name: str
    reason: str
    covers: Callable[[Outcome], bool]
