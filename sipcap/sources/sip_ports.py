"""Ports as a filter, and packets that are not what is looked for: what live captures of packets have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence


def port_set(ports: Sequence[range]) -> Container[int] | None:
    """Ranges of ports as what ``PacketDecoder`` asks for each packet; None for no filter."""
    if len(ports) == 1:
        return ports[0]
    return frozenset(port for each in ports for port in each) or None


def skipped_text(skipped: Counter[str]) -> str:
    """Say what packets without a message were."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(skipped.items()))
    return f"packets without a message: {skipped.total()} ({reasons})"
