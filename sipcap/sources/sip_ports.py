"""Ports as a filter: what live captures of packets have in common."""

from __future__ import annotations

from collections.abc import Container, Sequence


def port_set(ports: Sequence[range]) -> Container[int] | None:
    """Ranges of ports as what ``PacketDecoder`` asks for each packet; None for no filter."""
    if len(ports) == 1:
        return ports[0]
    return frozenset(port for each in ports for port in each) or None
