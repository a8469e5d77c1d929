"""What the traffic consists of: methods, status classes, and the sources and user agents that send most of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sipcap.limits import TOP_ENTRIES, TOP_KEY_CHARS, TOP_PUBLISHED
from sipcap.record import Record, SipRecord
from sipcap.wire.sip_fields import REPLY

METHODS: Final = frozenset({
    "ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY", "OPTIONS", "PRACK", "PUBLISH", "REFER", "REGISTER",
    "SUBSCRIBE", "UPDATE",
})  # fmt: skip
"""The registered methods of SIP (IANA); all else is counted as ``other``, or anybody could invent a million."""

OTHER: Final = "other"
_CLASSES: Final = {str(digit): f"{digit}xx" for digit in range(1, 7)}


class TopCounts:
    """Counts of the keys that occur most, in bounded memory (Misra and Gries 1982; Agarwal et al. 2012 for ``add``).

    Exact for at most ``TOP_ENTRIES`` different keys. Of more, a count may be too low, never too high, by
    ``missed`` at most, which is no more than the number of all messages through ``TOP_ENTRIES``.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.missed = 0

    def update(self, keys: Iterable[str]) -> None:
        """Count keys."""
        self.counts.update(keys)
        if len(self.counts) > 2 * TOP_ENTRIES:
            self._trim()

    def add(self, counts: Mapping[str, int], missed: int) -> None:
        """Add what another one counted."""
        self.counts.update(counts)
        self.missed += missed
        if len(self.counts) > TOP_ENTRIES:
            self._trim()

    def _trim(self) -> None:
        """Take as much from every key as leaves ``TOP_ENTRIES`` of them; once in so many new keys."""
        cut = sorted(self.counts.values(), reverse=True)[TOP_ENTRIES]
        self.missed += cut
        self.counts = Counter({key: count - cut for key, count in self.counts.items() if count > cut})

    def most(self, number: int = TOP_ENTRIES) -> tuple[dict[str, int], int]:
        """The *number* of them with the largest counts, the largest first, and by how much these may be too low.

        Added up over processes, one that is left out here by one of them lacks what that one counted.
        """
        ordered = self.counts.most_common(number + 1)
        left_out = ordered[number][1] if len(ordered) > number else 0
        return dict(ordered[:number]), self.missed + left_out


class Seen(NamedTuple):
    """What stands in a batch: methods of requests, status codes, user agents, and the source addresses of all."""

    requests: list[str]
    replies: list[str]
    agents: list[str]
    sources: list[str]


class Activity:
    """What was captured, by method, status class, source and user agent.

    A batch costs a pass over its records; memory is bounded, whatever they hold. It belongs to one thread.
    """

    def __init__(self) -> None:
        self.methods: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.reports = 0
        self.sources = TopCounts()
        self.user_agents = TopCounts()

    def count(self, records: Sequence[Record]) -> None:
        """Count a batch of records."""
        seen = Seen([], [], [], [])
        for record in records:
            seen.sources.append(record.source_ip)
            if not isinstance(record, SipRecord):
                continue
            (seen.replies if record.type == REPLY else seen.requests).append(record.method)
            if record.user_agent:
                seen.agents.append(record.user_agent)
        self.count_seen(seen, len(records) - len(seen.requests) - len(seen.replies))

    def count_seen(self, seen: Seen, reports: int = 0) -> None:
        """Count a batch by what was seen in it."""
        self.reports += reports
        for method, count in Counter(seen.requests).items():
            self.methods[method if method in METHODS else OTHER] += count
        for status, count in Counter(seen.replies).items():
            self.statuses[_CLASSES.get(status[:1], OTHER)] += count
        self.sources.update([source[:TOP_KEY_CHARS] for source in seen.sources])
        self.user_agents.update([agent[:TOP_KEY_CHARS] for agent in seen.agents])

    @property
    def requests(self) -> int:
        """SIP requests, and what is no reply."""
        return self.methods.total()

    @property
    def replies(self) -> int:
        """SIP replies."""
        return self.statuses.total()

    def as_dict(self, number: int = TOP_PUBLISHED) -> dict[str, Any]:
        """As JSON, the largest counts first, of sources and user agents *number* at most.

        Keys: ``methods`` and ``statuses`` (``1xx`` to ``6xx``), both with ``other``, ``reports``, ``sources`` and
        ``user_agents`` {name: messages, at least}, ``missed`` {``sources``, ``user_agents``}: by how much those
        counts may be too low.
        """
        sources, missed_sources = self.sources.most(number)
        agents, missed_agents = self.user_agents.most(number)
        return {
            "methods": dict(self.methods.most_common()),
            "statuses": dict(self.statuses.most_common()),
            "reports": self.reports,
            "sources": sources,
            "user_agents": agents,
            "missed": {"sources": missed_sources, "user_agents": missed_agents},
        }

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what another process counted, given as its ``as_dict()``."""
        self.methods.update(other["methods"])
        self.statuses.update(other["statuses"])
        self.reports += other["reports"]
        self.sources.add(other["sources"], other["missed"]["sources"])
        self.user_agents.add(other["user_agents"], other["missed"]["user_agents"])
