"""What changed between two looks at a running service: rates, and the tops of the moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_REASONS: Final = ("filtered", "rejected", "dropped")
_ALWAYS: Final = ("received", "stored", "reported")
_GAUGES: Final = frozenset({"pending", "spooled"})
_QUANTILE: Final = 0.95


@dataclass(frozen=True)
class Row:
    """A count and how much it grew in a second; ``rate`` is None where there was nothing to compare with."""

    name: str
    count: int
    rate: float | None


class Change:
    """Two states of a service, as ``Controller.stats`` gives them.

    Args:
        before: the earlier one; None if there is none, or it was of another process.
        after: the later one.
        seconds: between them.
    """

    def __init__(self, before: Mapping[str, Any] | None, after: Mapping[str, Any], seconds: float) -> None:
        self.after = after
        self._before = before if before is not None and is_same_process(before, after) else None
        self._seconds = max(seconds, 0.001)

    def counters(self) -> list[Row]:
        """The counters that are not 0, those by reason with it; the important ones always."""
        before = dict(_flat(self._before["counters"])) if self._before else {}
        return [
            Row(name, count, None if name in _GAUGES else self._rate(before.get(name, 0), count))
            for name, count in _flat(self.after["counters"])
            if count or name in _ALWAYS
        ]

    def counter(self, *names: str) -> float | None:
        """How fast these counters grow together, with all their reasons."""
        if self._before is None:
            return None
        rates = [row.rate for row in self.counters() if row.name.partition(" ")[0] in names]
        return sum(rate for rate in rates if rate is not None)

    def top(self, kind: str, most: int) -> list[Row]:
        """Who of ``methods``, ``statuses``, ``sources`` or ``user_agents`` grows fastest, then the largest."""
        before = self._before["activity"][kind] if self._before else {}
        rows = [Row(name, count, self._rate(before.get(name, 0), count)) for name, count in self._activity(kind)]
        return sorted(rows, key=lambda row: (-(row.rate or 0.0), -row.count, row.name))[:most]

    def latency(self, kind: str) -> str:
        """How long 95 % of what was measured between the two took at most, in words; of ever if there was nothing."""
        now = self.after["latency"][kind]
        counts = list(now["counts"])
        if self._before:
            then = self._before["latency"][kind]["counts"]
            counts = [count - old for count, old in zip(counts, then, strict=True)]
        return _quantile(now["bounds_s"], counts if any(counts) else now["counts"])

    def _activity(self, kind: str) -> Iterator[tuple[str, int]]:
        yield from self.after["activity"][kind].items()

    def _rate(self, before: int, after: int) -> float | None:
        # Counts of tops may shrink when others push in: nothing was taken back.
        return None if self._before is None else max(after - before, 0) / self._seconds


def is_same_process(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether two states are of one service that was not started again between them."""
    return all(before[key] == after[key] for key in ("pid", "started_us"))


def _flat(counters: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The counters of design 1.9, those by reason as ``rejected short``."""
    for name, value in counters.items():
        if name in _REASONS:
            yield from ((f"{name} {reason}", count) for reason, count in value.items())
        else:
            yield name, value


def _quantile(bounds_s: Sequence[float], counts: Sequence[int]) -> str:
    """The bound below which 95 % lie."""
    wanted, seen = sum(counts) * _QUANTILE, 0
    if not wanted:
        return "-"
    for bound_s, count in zip(bounds_s, counts, strict=False):
        seen += count
        if seen >= wanted:
            return f"95 % within {bound_s * 1000:g} ms"
    return f"more than {bounds_s[-1]:g} s"
