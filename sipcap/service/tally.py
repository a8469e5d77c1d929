"""What processes tell of themselves beside their counters, added up: activity, latencies, and each capture mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sipcap.activity import Activity
from sipcap.counters import Counters
from sipcap.latency import Histogram


class ModeTally:
    """What was stored for one capture mode."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.requests = 0
        self.replies = 0

    def add(self, values: Mapping[str, Any]) -> None:
        """Add what a process has published of it."""
        self.counters.add(values["counters"])
        self.requests += values["requests"]
        self.replies += values["replies"]

    def as_dict(self) -> dict[str, Any]:
        """As it was published."""
        return {"counters": self.counters.as_dict(), "requests": self.requests, "replies": self.replies}


class Tally:
    """A sum over processes, those that have ended included."""

    def __init__(self) -> None:
        self.activity = Activity()
        self.batch = Histogram()
        self.database = Histogram()
        self.modes: dict[str, ModeTally] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """Add what a process has published, or another sum as ``as_dict`` gives it."""
        if "activity" in values:
            self.activity.add(values["activity"])
        if "latency" in values:
            self.batch.add(values["latency"]["batch_s"])
            self.database.add(values["latency"]["database_s"])
        for name, mode in values.get("modes", {}).items():
            self.modes.setdefault(name, ModeTally()).add(mode)

    def as_dict(self) -> dict[str, Any]:
        """As ``add`` takes it, and ``Controller.stats`` shows it."""
        return {
            "activity": self.activity.as_dict(),
            "latency": {"batch_s": self.batch.as_dict(), "database_s": self.database.as_dict()},
            "modes": {name: mode.as_dict() for name, mode in self.modes.items()},
        }
