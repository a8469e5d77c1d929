"""What captured packets held beside messages, and how that is said when a capture ends."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

_LOGGER = logging.getLogger("sipcap")

_WITHOUT_SIP: Final = frozenset(("tcp", "tls", "ports"))
"""What ``StreamMessages.skipped`` counts once a connection that is not looked at any further."""


class TcpCounts:
    """What became of TCP packets: most hold a part of a message, none or several, so they have an account of their own.

    Attributes:
        packets: all of them; they are in ``stats.packets``, too.
        without_sip: connections by what they are instead: ``tcp`` (something else), ``tls``, ``ports`` (not wanted).
        events: what befell the others, see ``StreamMessages``: ``tcp_gap``, ``tcp_conflict``, ``websocket``, …
    """

    def __init__(self) -> None:
        self.packets = 0
        self.without_sip: Counter[str] = Counter()
        self.events: Counter[str] = Counter()

    def add(self, skipped: Mapping[str, int]) -> None:
        """Take over what ``StreamMessages.skipped`` counts."""
        for reason, count in skipped.items():
            if count:
                (self.without_sip if reason in _WITHOUT_SIP else self.events)[reason] += count


def log_passed_over(skipped: Counter[str], tcp: TcpCounts) -> None:
    """Say what packets were that are no message: by reason, and TCP by its connections.

    ``packets`` of the summary are those with messages, those of the first line and those of the second.
    """
    if skipped:
        text = f"packets without a message: {_with_reasons(skipped)}"
        _LOGGER.info("%s", text, extra={"fields": {"skipped": dict(skipped)}})
    if tcp.packets:
        parts = [f"packets of TCP connections: {tcp.packets}"]
        if tcp.without_sip:
            parts.append(f"connections without SIP: {_with_reasons(tcp.without_sip)}")
        parts += [f"{reason} {count}" for reason, count in sorted(tcp.events.items())]
        fields = {"tcp_packets": tcp.packets, "connections": dict(tcp.without_sip), "tcp_events": dict(tcp.events)}
        _LOGGER.info("%s", "; ".join(parts), extra={"fields": fields})


def _with_reasons(counts: Counter[str]) -> str:
    return f"{counts.total()} ({', '.join(f'{reason} {count}' for reason, count in sorted(counts.items()))})"
