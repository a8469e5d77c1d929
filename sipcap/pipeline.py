"""The way of messages through the capturing stage: source, extraction, lines for the next stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.extract import Extractor
from sipcap.limits import FLUSH_INTERVAL_S
from sipcap.outlet import Lines, Outlet
from sipcap.record import Record, SipRecord
from sipcap.sources.base import Source
from sipcap.watch import LossWatch
from sipcap.wire.message import Message

Encode = Callable[[Sequence[Record]], bytes]


@dataclass(frozen=True)
class ExtractOptions:
    """How messages become records; see ``Extractor``."""

    capture_node: str = "homer01"
    callid_aleg_headers: tuple[str, ...] = ("X-CID",)
    custom_headers: tuple[str, ...] = ("Mac", "IP", "Port")
    capture_bad_msgs: bool = True

    def extractor(self) -> Extractor:
        """Make the extractor that these options describe."""
        return Extractor(
            self.capture_node,
            self.callid_aleg_headers,
            self.custom_headers,
            require_headers=not self.capture_bad_msgs,
        )


def extract(messages: Sequence[Message], extractor: Extractor, counters: Counters) -> list[Record]:
    """Make records of messages; what is none is counted as rejected by its reason."""
    received_us = time.time_ns() // 1_000
    records: list[Record] = []
    record_of = extractor.record
    for message in messages:
        try:
            records.append(record_of(message, received_us))
        except DecodeError as error:
            counters.rejected[error.reason] += 1
    return records


def lines_of(records: Sequence[Record], encode: Encode) -> Lines:
    """Encode records for the next stage."""
    sip = sum(isinstance(record, SipRecord) for record in records)
    return Lines(encode(records), sip, len(records) - sip)


def capture(
    source: Source,
    extractor: Extractor,
    outlet: Outlet,
    encode: Encode,
    *,
    stopping: Callable[[], bool],
    on_tick: Callable[[], None] | None = None,
) -> None:
    """Run one capturing process: from the source to the outlet, until something says stop.

    Args:
        source: opened; its ``stats`` count everything up to the outlet.
        extractor: makes the records.
        outlet: started; takes the lines.
        encode: records to bytes, one line each.
        stopping: asked between batches; true makes the source give what it has and end.
        on_tick: called after each batch, and ten times a second while the outlet has no room: for
            publishing counters.
    """
    counters = source.stats
    ticks: list[Callable[[], None]] = [LossWatch(counters)]
    if on_tick is not None:
        ticks.append(on_tick)
    for messages in source:
        records = extract(messages, extractor, counters)
        if records:
            outlet.put(lines_of(records, encode))
            while not outlet.wait_for_space(FLUSH_INTERVAL_S) and not stopping():
                _call_all(ticks)
        else:
            outlet.probe()
        _call_all(ticks)
        if outlet.ended:
            source.stop()
            return  # nobody takes what else the source has
        if stopping():
            source.stop()


def _call_all(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()
