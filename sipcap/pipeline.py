"""The way of messages through the capturing stage: source, hook, extraction, forwarding, lines for the next stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from sipcap.activity import Activity, Seen
from sipcap.counters import Counters
from sipcap.errors import DecodeError
from sipcap.extract import Extractor
from sipcap.forwarding import Forwarder
from sipcap.hook_runner import DONE, HookFailed, HookRunner
from sipcap.hooks import Hook, Request
from sipcap.limits import FLUSH_INTERVAL_S, HOOK_TIMEOUT_S
from sipcap.ndjson import encode_records
from sipcap.outlet import NO_LINES, Lines, Outlet
from sipcap.record import Record, SipRecord, marked
from sipcap.routes import Route, Routes
from sipcap.routing import expand
from sipcap.sources.base import Source
from sipcap.watch import LossWatch
from sipcap.wire.message import SIP_PAYLOAD, Message
from sipcap.wire.topoh import CallIdMask

Encode = Callable[[Sequence[Record]], bytes]


@dataclass(frozen=True)
class ExtractOptions:
    """How messages become records, and what else is done with them; see ``Extractor``, ``HookRunner``, ``Forwarder``.

    Args:
        capture_node: first half of the ``node`` column.
        callid_aleg_headers: names whose first present one gives ``callid_aleg``.
        custom_headers: names for ``custom_field1`` to ``3``.
        capture_bad_msgs: keep SIP that lacks Via, From, To, Call-ID or CSeq.
        hook: is asked about each message; see ``load_hook``.
        hook_timeout_s: how long it may take for one.
        nonsip_hook: ask it about what is not SIP, too.
        topoh: takes the mask off Call-IDs.
        max_age_s: a message that is older when it arrives takes the time of its arrival; for live input only.
        routes: those that forward are followed here, where the packets are.
    """

    capture_node: str = "homer01"
    callid_aleg_headers: tuple[str, ...] = ("X-CID",)
    custom_headers: tuple[str, ...] = ("Mac", "IP", "Port")
    capture_bad_msgs: bool = True
    hook: Hook | None = None
    hook_timeout_s: float = HOOK_TIMEOUT_S
    nonsip_hook: bool = False
    topoh: CallIdMask | None = None
    max_age_s: float | None = None
    routes: Routes | None = None

    def extractor(self) -> Extractor:
        """Make the extractor that these options describe."""
        return Extractor(
            self.capture_node,
            self.callid_aleg_headers,
            self.custom_headers,
            require_headers=not self.capture_bad_msgs,
            topoh=self.topoh,
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


class Intake:
    """Makes the records of a capturing process, for its main thread, within ``with``.

    Args:
        options: what is done.
        encode: records to bytes, one line each.
        activity: counts what the records tell; None = nobody wants to know.
        counters: ``filtered{hook}``, ``rejected{hook_error|hook_timeout}`` and those of extraction, ``clock_skew``,
            ``forwarded``, ``forward_dropped``.
    """

    def __init__(
        self, options: ExtractOptions, counters: Counters, encode: Encode = encode_records, *,
        activity: Activity | None = None,
    ) -> None:  # fmt: skip
        self._extractor = options.extractor()
        self._encode = encode
        self._activity = activity
        self._counters = counters
        self._nonsip = options.nonsip_hook
        self._max_age_us = None if options.max_age_s is None else round(options.max_age_s * 1_000_000)
        hook, routes = options.hook, options.routes
        self._runner = None if hook is None else HookRunner(hook, options.hook_timeout_s, counters)
        self._forwarder = Forwarder(routes, counters) if routes is not None and routes.forwards else None
        is_looked_at = self._runner is not None or self._forwarder is not None
        self._at_once = encode is encode_records and not is_looked_at and self._extractor.writes_lines
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        for part in (self._runner, self._forwarder):
            if part is not None:
                self._parts.enter_context(part)
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def lines(self, messages: Sequence[Message]) -> Lines:
        """Make the lines of messages, and forward those that are to be."""
        if self._at_once:
            return self._lines_at_once(messages)
        records = self.records(messages)
        if self._activity is not None:
            self._activity.count(records)
        return lines_of(records, self._encode)

    def _lines_at_once(self, messages: Sequence[Message]) -> Lines:
        """The lines of messages whose records nobody looks at."""
        others: list[Record] = []
        seen = Seen([], [], [], [])
        received_us = time.time_ns() // 1_000

        def other(message: Message) -> bytes:
            try:
                record = self._extractor.reference_record(message, received_us)
            except DecodeError as error:
                self._counters.rejected[error.reason] += 1
                return b""
            others.append(record)
            return encode_records([record])

        if self._max_age_us is not None:
            self._rejuvenate(messages, self._max_age_us)
        data, number = self._extractor.lines(messages, received_us, other, None if self._activity is None else seen)
        if self._activity is not None:
            self._activity.count_seen(seen)
            self._activity.count(others)
        sip = sum(isinstance(record, SipRecord) for record in others)
        return Lines(data, number + sip, len(others) - sip)

    def records(self, messages: Sequence[Message]) -> list[Record]:
        """Make records of messages, and forward those that are to be."""
        if self._max_age_us is not None:
            self._rejuvenate(messages, self._max_age_us)
        if self._runner is None and self._forwarder is None:
            return extract(messages, self._extractor, self._counters)
        received_us = time.time_ns() // 1_000
        records: list[Record] = []
        for message in messages:
            try:
                record = self._record(message, received_us)
            except (DecodeError, HookFailed) as error:
                self._counters.rejected[error.reason] += 1
                continue
            if record is None:
                continue
            records.append(record)
            if self._forwarder is not None:
                self._forwarder.forward(message, record)
        if self._runner is not None:
            self._runner.rest()
        return records

    def _record(self, message: Message, received_us: int) -> Record | None:
        """The record of one message; None if the hook says that it is done with it."""
        if self._runner is None or (message.payload_type != SIP_PAYLOAD and not self._nonsip):
            return self._extractor.record(message, received_us)
        request = Request(message, received_us, self._extractor)
        answer = self._runner.ask(request)
        if answer == DONE:
            self._counters.filtered["hook"] += 1
            return None
        record = request.extracted()
        return _sent_to(record, answer) if isinstance(answer, Route) else record

    def _rejuvenate(self, messages: Sequence[Message], max_age_us: int) -> None:
        """Give what is too old the time of its arrival (design 1.6); the sender's own stays in the envelope."""
        now_us = time.time_ns() // 1_000
        oldest_us = now_us - max_age_us
        for message in messages:
            ts_us = message.ts_us
            if 0 < ts_us < oldest_us:
                message.extra = {**(message.extra or {}), "original_ts_us": ts_us}
                message.ts_us = now_us
                self._counters.clock_skew += 1

    def check(self) -> None:
        """See whether records can still be made; raises HookStarved."""
        if self._runner is not None:
            self._runner.check()

    def tick(self) -> None:
        """Publish what other threads have counted."""
        if self._forwarder is not None:
            self._forwarder.count()


def _sent_to(record: Record, route: Route) -> Record:
    """A record with what a hook decided: its table is one for the message's time."""
    table = expand(route.table, record.micro_ts // 1_000_000) if "%" in route.table else route.table
    return marked(record, route.capture_mode, table)


def lines_of(records: Sequence[Record], encode: Encode) -> Lines:
    """Encode records for the next stage."""
    sip = sum(isinstance(record, SipRecord) for record in records)
    return Lines(encode(records), sip, len(records) - sip)


def capture(
    source: Source,
    options: ExtractOptions,
    outlet: Outlet,
    encode: Encode,
    *,
    stopping: Callable[[], bool],
    on_batch: Callable[[], None] | None = None,
    on_tick: Callable[[], None] | None = None,
    switch: Callable[[], bool] | None = None,
    activity: Activity | None = None,
) -> None:
    """Run one capturing process: from the source to the outlet, until something says stop.

    Args:
        source: opened; its ``stats`` count everything up to the outlet.
        options: how records are made.
        outlet: started; takes the lines.
        encode: records to bytes, one line each.
        stopping: asked between batches; true makes the source give what it has and end.
        on_batch: called when messages have been received and counted, before anything is done with them.
        on_tick: called after each batch, and ten times a second while the outlet has no room: for
            publishing counters.
        switch: asked for each batch whether capture is on; what comes while it is off is ``filtered{capture_off}``,
            and no hook sees it. None = it is on.
        activity: counts what the records tell, for who wants to know.

    Raises:
        HookStarved: the hook has used up all memory; what was captured until then is with the outlet.
    """
    counters = source.stats
    with Intake(options, counters, encode, activity=activity) as intake:
        ticks: list[Callable[[], None]] = [LossWatch(counters), intake.tick]
        if on_tick is not None:
            ticks.append(on_tick)
        for messages in source:
            if on_batch is not None:
                on_batch()
            lines = NO_LINES
            if switch is None or switch():
                lines = intake.lines(messages)
            elif messages:
                counters.filtered["capture_off"] += len(messages)
            if lines.data:
                outlet.put(lines)
                while not outlet.wait_for_space(FLUSH_INTERVAL_S) and not stopping():
                    _call_all(ticks)
            else:
                outlet.probe()
            _call_all(ticks)
            intake.check()
            if outlet.ended:
                source.stop()
                return  # nobody takes what else the source has
            if stopping():
                source.stop()


def _call_all(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()
