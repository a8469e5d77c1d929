"""What a stage did with every message: the counters of design 1.9."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, Final

COUNTING: Final = threading.Lock()
"""Held by whoever changes a counter that other threads of the process change too."""

_PLAIN = (
    "received", "recovered", "stored", "reported", "dead_letter", "spooled", "pending",
    "kernel_dropped", "datagrams", "packets", "truncated", "sanitised", "clock_skew", "retries", "bytes",
    "hook_calls", "hook_us", "forwarded", "forward_dropped",
)  # fmt: skip
_BY_REASON = ("filtered", "rejected", "dropped")


class Counters:
    """Counts messages; the unit of everything above ``kernel_dropped`` is one message.

    For each stage and for a whole service holds:
    ``received + recovered = stored + reported + filtered + rejected + dead_letter + dropped + spooled + pending``.
    In ``listen`` and ``replay``, ``stored`` and ``reported`` mean handed to the next stage.
    """

    def __init__(self) -> None:
        self.received = 0
        self.recovered = 0
        self.stored = 0
        self.reported = 0
        self.dead_letter = 0
        self.spooled = 0
        self.pending = 0
        self.kernel_dropped = 0
        self.datagrams = 0
        self.packets = 0
        self.truncated = 0
        self.sanitised = 0
        self.clock_skew = 0
        self.retries = 0
        self.bytes = 0
        self.hook_calls = 0
        self.hook_us = 0  # that all of them took together
        self.forwarded = 0
        self.forward_dropped = 0
        self.filtered: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.last_senders: dict[str, str] = {}
        """For a reason of ``rejected``: the address of who sent the last such message, if it is known; for the log."""

    def reject(self, reason: str, sender: str = "") -> None:
        """Count one message as rejected; ``sender`` is the address that it came from, "" if that is not known."""
        self.rejected[reason] += 1
        self.note_sender(reason, sender)

    def note_sender(self, reason: str, sender: str) -> None:
        """Remember who sent the last message that was rejected for a reason; "" if that is not known."""
        if sender:
            self.last_senders[reason] = sender.removeprefix("::ffff:")  # IPv4 on a socket that hears both
        else:
            self.last_senders.pop(reason, None)

    def as_dict(self) -> dict[str, Any]:
        """The counters as the JSON object of design 1.9."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        return plain | {name: dict(getattr(self, name)) for name in _BY_REASON}

    def add(self, other: dict[str, Any]) -> None:
        """Add what another process counted, given as its ``as_dict()``."""
        for name in _PLAIN:
            setattr(self, name, getattr(self, name) + other.get(name, 0))
        for name in _BY_REASON:
            getattr(self, name).update(other.get(name, {}))

    def imbalance(self) -> int:
        """Messages that came in and are accounted for nowhere; 0 unless there is a bug."""
        out = self.stored + self.reported + self.dead_letter + self.spooled + self.pending
        reasons = self.filtered.total() + self.rejected.total() + self.dropped.total()
        return self.received + self.recovered - out - reasons

    def trouble(self) -> bool:
        """Whether a finite job ends with exit code 1: something was rejected or dropped."""
        return bool(self.rejected.total() or self.dropped.total() or self.dead_letter)

    def summary(self) -> str:
        """One line for people: what is not zero, reasons in brackets."""
        parts = [f"received {self.received}", f"stored {self.stored}"]
        others = [name for name in _PLAIN if name not in {"received", "stored"}]
        parts += [f"{name} {getattr(self, name)}" for name in others if getattr(self, name)]
        for name in _BY_REASON:
            reasons: Counter[str] = +getattr(self, name)  # without zeros
            if reasons:
                detail = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
                parts.append(f"{name} {reasons.total()} ({detail})")
        return ", ".join(parts)
