"""What a capturing process makes of messages: it asks the hook, extracts, forwards, and encodes for the next stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
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
from sipcap.outlet import Lines
from sipcap.record import Record, SipRecord, marked
from sipcap.routes import Route, Routes
from sipcap.routing import expand
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
        self.left = 0
        """Messages of the batch at hand that nothing has been made of yet."""

    def __enter__(self) -> Self:
        for part in (self._runner, self._forwarder):
            if part is not None:
                self._parts.enter_context(part)
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    @property
    def has_hook(self) -> bool:
        """Whether a hook is asked, which may take its time."""
        return self._runner is not None

    def lines(self, messages: Sequence[Message]) -> Iterator[Lines]:
        """Make the lines of messages, and forward those that are to be; in parts, see ``parts``."""
        if self._at_once:
            yield self._lines_at_once(messages)
            return
        for records in self.parts(messages):
            if self._activity is not None:
                self._activity.count(records)
            yield lines_of(records, self._encode)

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

    def parts(self, messages: Sequence[Message]) -> Iterator[list[Record]]:
        """Make records of messages, and forward those that are to be.

        While a hook takes its time they come in parts, ten times a second: nobody waits for a whole batch of it.
        """
        if self._max_age_us is not None:
            self._rejuvenate(messages, self._max_age_us)
        if self._runner is None and self._forwarder is None:
            yield extract(messages, self._extractor, self._counters)
            return
        received_us = time.time_ns() // 1_000
        records: list[Record] = []
        self.left = len(messages)
        due_s = time.monotonic() + FLUSH_INTERVAL_S
        for message in messages:
            if self._runner is not None and time.monotonic() >= due_s:
                yield self._part(records)
                records, due_s = [], time.monotonic() + FLUSH_INTERVAL_S
            self.left -= 1
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
        yield self._part(records)

    def _part(self, records: list[Record]) -> list[Record]:
        """Whoever takes records may keep us waiting, which is no hang of the hook."""
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
