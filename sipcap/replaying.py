"""Replays captures: messages to a collector at a pace, or records to the next stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sipcap.capture_loop import capture
from sipcap.counters import Counters
from sipcap.errors import Unwritten
from sipcap.outlet import Outlet
from sipcap.pipeline import Encode, ExtractOptions
from sipcap.sinks.hep import HepSink
from sipcap.sinks.pacing import Pacer
from sipcap.sources.replayed import ReplaySource
from sipcap.stopping import Stop
from sipcap.wire.message import Message

OnTick = Callable[[], None]


class ReplayStop:
    """When a stopped replay ends: a file at once, a pipe at its end or when ``drain_s`` is over (design 1.1).

    It is asked often, so it also gives the counters to who asks for them.
    """

    def __init__(self, stop: Stop, source: ReplaySource, drain_s: float) -> None:
        self._stop = stop
        self._source = source
        self._drain_s = drain_s
        self._deadline_s = 0.0

    def __call__(self) -> bool:
        """Whether to take in nothing more."""
        self._stop.answer(lambda: self._source.stats)
        if not self._stop.requested:
            return False
        now_s = time.monotonic()
        self._deadline_s = self._deadline_s or now_s + self._drain_s
        return not self._source.is_live or now_s >= self._deadline_s


class Restamped:
    """A source whose messages carry the time at which they are handed on."""

    def __init__(self, source: ReplaySource) -> None:
        self._source = source
        self.stats: Counters = source.stats

    def open(self) -> None:
        """Open the source."""
        self._source.open()

    def __iter__(self) -> Iterator[list[Message]]:
        """Yield the source's messages with the time of now."""
        for messages in self._source:
            for message in messages:
                message.ts_us = time.time_ns() // 1_000
            yield messages

    def stop(self) -> None:
        """Stop the source."""
        self._source.stop()

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def replay_to_output(
    source: ReplaySource | Restamped,
    options: ExtractOptions,
    outlet: Outlet,
    encode: Encode,
    *,
    stopping: Callable[[], bool],
    on_tick: OnTick,
    close_s: float,
) -> None:
    """Write the records of all captures, also of one that breaks off.

    Args:
        source: opened.
        options: how records are made.
        outlet: started; closed when this returns.
        encode: records to lines.
        stopping: true ends it.
        on_tick: called after every batch.
        close_s: how long the reader of the output may take for what is queued.

    Raises:
        InputError: a capture broke off; everything before that is written.
        Unwritten: the output cannot be written, and not because its reader went away.
    """
    try:
        capture(source, options, outlet, encode, stopping=stopping, on_tick=on_tick)
    finally:
        source.close()
        outlet.close(close_s)
    if outlet.failure is not None:
        raise Unwritten(f"cannot write the output: {outlet.failure.strerror}")


def replay_to_hep(
    source: ReplaySource, sink: HepSink, pacer: Pacer, *, stopping: Callable[[], bool], on_tick: OnTick
) -> None:
    """Send the messages of all captures, each when it is due.

    Args:
        source: opened.
        sink: opened.
        pacer: says when.
        stopping: true ends it; messages that are read and not due yet are then ``dropped{stopped}``.
        on_tick: called after every message and batch.

    Raises:
        InputError: a capture broke off; everything before that is sent.
    """
    try:
        for messages in source:
            for sent, (message, packet_us) in enumerate(zip(messages, source.packet_times, strict=True)):
                if not pacer.wait(packet_us, stopping):
                    source.stats.dropped["stopped"] += len(messages) - sent
                    break
                sink.send(message, stopping)
                on_tick()
            on_tick()
            if stopping():
                source.stop()
    finally:
        source.close()
        sink.close(stopping)
