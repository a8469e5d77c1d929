"""How long things took: histograms with fixed buckets that processes can add up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the buckets, in seconds: from a batch in memory to a database that hangs."""


class Histogram:
    """Counts durations by bucket; a duration that equals a bound belongs to its bucket, as in Prometheus.

    ``counts`` has one bucket more than ``BOUNDS_S``, for what took longer than the last bound.
    """

    def __init__(self) -> None:
        self.count = 0
        self.sum_s = 0.0
        self.counts = [0] * (len(BOUNDS_S) + 1)

    def observe(self, seconds: float) -> None:
        """Count one duration; a clock that went back counts as 0."""
        seconds = max(seconds, 0.0)
        self.count += 1
        self.sum_s += seconds
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1

    def as_dict(self) -> dict[str, Any]:
        """As JSON: ``count``, ``sum_s``, ``bounds_s`` and ``counts`` of each bucket alone, the last without a bound."""
        return {"count": self.count, "sum_s": self.sum_s, "bounds_s": list(BOUNDS_S), "counts": list(self.counts)}

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what another process measured, given as its ``as_dict()``.

        Raises:
            ValueError: its buckets are not these.
        """
        if tuple(other["bounds_s"]) != BOUNDS_S or len(other["counts"]) != len(self.counts):
            raise ValueError("the buckets of two histograms differ")
        self.count += other["count"]
        self.sum_s += other["sum_s"]
        self.counts = [mine + its for mine, its in zip(self.counts, other["counts"], strict=True)]
