"""The sources of all listeners: opened, kept over reloads, and closed."""

from __future__ import annotations

from collections.abc import Mapping

from sipcap.config.settings import Listener
from sipcap.errors import CannotStart
from sipcap.service.plan import Plan
from sipcap.service.sockets import SocketPool
from sipcap.service.sources import keeps_its_source, source_of
from sipcap.sources.base import LiveSource
from sipcap.sources.hep import HepSource

Opened = Mapping[str, tuple[Listener, LiveSource]]
"""Listeners by name, and what they capture from."""


class Listening:
    """What the supervisor holds open for its capturing processes, which have copies of it.

    A change of listeners begins with ``pool.begin()`` and ends with ``pool.commit()`` or ``pool.roll_back()``.
    """

    def __init__(self) -> None:
        self.pool = SocketPool()
        self.sources: set[LiveSource] = set()
        """All that are open here."""

    def open(self, plan: Plan, before: Opened) -> dict[str, LiveSource]:
        """Open the sources of all listeners; those that stay as they are go on. Raises CannotStart."""
        sources: dict[str, LiveSource] = {}
        made: list[LiveSource] = []
        try:
            for listener in plan.settings.listeners:
                found = before.get(listener.name)
                if found is not None and keeps_its_source(listener) and found[0] == listener:
                    sources[listener.name] = found[1]
                    continue
                _check_overlap(listener, before)
                source = source_of(listener, self.pool, plan.settings.drain_timeout)
                made.append(source)
                source.open()
                sources[listener.name] = source
        except (CannotStart, OSError) as error:
            for source in made:
                source.close()
            if isinstance(error, OSError):  # no descriptors, no memory
                raise CannotStart(
                    f"{listener.origin}: cannot open listener {listener.name}: {error.strerror}"
                ) from None
            raise
        self.sources.update(made)
        return sources

    def close(self) -> None:
        """Close all of them, and the sockets."""
        for source in self.sources:
            source.close()
        self.sources.clear()
        self.pool.close()

    def note_kept(self, sources: Mapping[str, LiveSource]) -> None:
        """Let processes that shall hand over know which sockets others go on with."""
        names = self.pool.names()
        for source in sources.values():
            if isinstance(source, HepSource):
                source.note_kept(names)

    def forget(self, sources: Mapping[str, LiveSource], others: Mapping[str, LiveSource]) -> None:
        """Close sources that are not among the others; processes that still use them have copies."""
        for source in sources.values():
            if source not in others.values():
                self.sources.discard(source)
                source.close()


def _check_overlap(listener: Listener, before: Opened) -> None:
    """Refuse what two generations of processes would capture at the same time, every packet twice."""
    for other, _ in before.values():
        if keeps_its_source(listener) and (other.mode, other.iface) == (listener.mode, listener.iface):
            raise CannotStart(f"{listener.origin}: listener {listener.name} cannot change without a restart")
