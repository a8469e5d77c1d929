"""From a source to a pipe: extraction, counting, back-pressure, ends."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest

from sipcap import outlet as outlet_module
from sipcap.capture_loop import capture
from sipcap.counters import Counters
from sipcap.hooks import Hook
from sipcap.ndjson import encode_records
from sipcap.outlet import Outlet
from sipcap.pipeline import ExtractOptions, extract, lines_of
from sipcap.routes import Routes, make_route
from sipcap.sources.hep_gate import HepGate
from sipcap.turnstile import LocalTurnstile
from sipcap.wire.message import Message
from sipcap.wire.topoh import CallIdMask
from tests.support.messages import BASE_TS_US, chunk, hep3_with, sip, sip_message
from tests.support.topoh import masked

PATIENCE_S = 20.0


class ListSource:
    """A source of given batches that tells how many of them were taken."""

    def __init__(self, batches: Iterable[list[Message]]) -> None:
        self.stats = Counters()
        self.taken = 0
        self.stopped = False
        self._batches = batches

    def open(self) -> None:
        """Nothing to open."""

    def __iter__(self) -> Iterator[list[Message]]:
        for batch in self._batches:
            self.taken += 1
            self.stats.received += len(batch)
            yield batch
            if self.stopped:
                return

    def stop(self) -> None:
        """End behind this batch."""
        self.stopped = True

    def close(self) -> None:
        """Nothing to close."""


class Pipe:
    """A pipe, an outlet into it, and what its reader got."""

    def __init__(self, stats: Counters, limit: int | None = None) -> None:
        self._reading, writing = os.pipe()
        self.outlet = Outlet(writing, stats, None if limit is None else LocalTurnstile(limit))
        self.outlet.start()
        self._writing = writing
        self.data = b""

    def break_off(self) -> None:
        """The reader goes away."""
        os.close(self._reading)
        self._reading = -1

    def read_in_background(self) -> threading.Thread:
        """Read to the end in a thread."""

        def read() -> None:
            while piece := os.read(self._reading, 1 << 20):
                self.data += piece

        thread = threading.Thread(target=read)
        thread.start()
        return thread

    def finish(self, timeout_s: float = PATIENCE_S) -> None:
        """Close the outlet and the pipe behind it."""
        self.outlet.close(timeout_s)
        os.close(self._writing)
        self._writing = -1

    def close(self) -> None:
        """Close what is open still."""
        for end in (self._reading, self._writing):
            if end >= 0:
                os.close(end)


def message(number: int, payload: bytes | None = None) -> Message:
    """A message as a HEP socket gives it."""
    data = sip_message(number) if payload is None else payload
    return Message(data, BASE_TS_US + number, "10.0.0.1", 5060, "10.0.0.2", 5060, 17, 2, 1, 3, 7)


def run(source: ListSource, pipe: Pipe, *, stopping: Callable[[], bool] = lambda: False, **options: object) -> None:
    """Capture with the default extraction."""
    on_tick = options.get("on_tick")
    assert on_tick is None or callable(on_tick)
    capture(source, ExtractOptions(), pipe.outlet, encode_records, stopping=stopping, on_tick=on_tick)


@pytest.fixture
def small_queue(monkeypatch: pytest.MonkeyPatch) -> int:
    """An outlet that holds little, so that a reader that does not read is felt soon."""
    monkeypatch.setattr(outlet_module, "OUTPUT_QUEUE_BYTES", 20_000)
    return 20_000


def test_capture_writes_every_record_in_order() -> None:
    """What the source gives leaves as one line each, in the same order, and is counted as handed on."""
    source = ListSource([[message(number) for number in range(at, at + 5)] for at in range(0, 100, 5)])
    pipe = Pipe(source.stats)
    reader = pipe.read_in_background()
    run(source, pipe)
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    lines = [msgspec.json.decode(line) for line in pipe.data.splitlines()]
    assert [line["msg"].encode() for line in lines] == [sip_message(number) for number in range(100)]
    assert (source.stats.stored, source.stats.imbalance()) == (100, 0)


def test_capture_counts_what_is_no_record() -> None:
    """Junk among messages is rejected by its reason; the others go on."""
    source = ListSource([[message(0), message(1, b"\0junk"), message(2, b""), message(3)]])
    pipe = Pipe(source.stats)
    reader = pipe.read_in_background()
    run(source, pipe)
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    assert pipe.data.count(b"\n") == 2
    assert source.stats.rejected == {"not_sip": 1, "no_payload": 1}
    assert (source.stats.stored, source.stats.imbalance()) == (2, 0)


def test_extract_without_bad_messages_rejects_what_lacks_a_header() -> None:
    """--no-capture-bad-msgs refuses what the module refuses; the default keeps it."""
    lame = message(0, sip(headers={"To": None}))
    for options, kept in ((ExtractOptions(), 1), (ExtractOptions(capture_bad_msgs=False), 0)):
        counters = Counters()
        assert len(extract([lame], options.extractor(), counters)) == kept
        assert counters.rejected.total() == 1 - kept


def test_extract_gives_messages_without_time_the_time_of_arrival() -> None:
    """HEPv1 has no time: the record's is that of now."""
    before_us = time.time_ns() // 1_000
    (record,) = extract([Message(sip(), hep_version=1)], ExtractOptions().extractor(), Counters())
    assert before_us <= record.micro_ts <= time.time_ns() // 1_000


def test_lines_of_tells_the_kinds_apart() -> None:
    """Reports and SIP are counted apart."""
    report = message(0, b'{"rtcp":1}')
    report.payload_type = 5
    records = extract([message(1), report, message(2)], ExtractOptions().extractor(), Counters())
    lines = lines_of(records, encode_records)
    assert (lines.sip, lines.reports, lines.data.count(b"\n")) == (2, 1, 3)


def test_capture_ends_at_its_limit_and_takes_nothing_more() -> None:
    """--count is exact, and a source that would go on is not asked for more."""
    source = ListSource([message(number)] for number in range(1_000_000))
    pipe = Pipe(source.stats, limit=3)
    reader = pipe.read_in_background()
    run(source, pipe, on_tick=lambda: time.sleep(0.001))
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    assert pipe.data.count(b"\n") == 3
    assert (source.stats.stored, source.stats.imbalance()) == (3, 0)
    assert source.taken < 10_000
    assert source.stopped


@pytest.mark.parametrize("batch", [[], [message(0, b"junk")], [message(0)]], ids=["idle", "junk", "records"])
def test_capture_notices_that_its_reader_went_away(batch: list[Message]) -> None:
    """Whatever comes, or nothing: without a reader the capture ends."""

    def for_ever() -> Iterator[list[Message]]:
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            yield batch
            time.sleep(0.001)
        pytest.fail("the capture goes on without a reader")

    source = ListSource(for_ever())
    pipe = Pipe(source.stats)
    pipe.break_off()
    run(source, pipe)
    pipe.finish()
    pipe.close()
    assert pipe.outlet.reader_gone
    assert source.stats.imbalance() == 0


def test_capture_stops_taking_while_the_reader_does_not_read(small_queue: int) -> None:
    """Memory is bounded: no batch is taken from the source while the outlet is full; ticks go on."""
    source = ListSource([message(number) for number in range(at, at + 10)] for at in range(0, 10_000, 10))
    pipe = Pipe(source.stats)
    ticks: list[int] = []
    end_s = time.monotonic() + 1.0
    run(source, pipe, stopping=lambda: time.monotonic() > end_s, on_tick=lambda: ticks.append(source.taken))
    assert source.taken < 20
    assert ticks.count(source.taken) > 3
    reader = pipe.read_in_background()
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    assert pipe.data.count(b"\n") == source.stats.received == source.stats.stored


def test_capture_goes_on_when_the_reader_reads_again(small_queue: int) -> None:
    """A reader that pauses loses nothing."""
    source = ListSource([message(number) for number in range(at, at + 10)] for at in range(0, 2_000, 10))
    pipe = Pipe(source.stats)
    later = threading.Timer(0.3, lambda: readers.append(pipe.read_in_background()))
    readers: list[threading.Thread] = []
    later.start()
    run(source, pipe)
    later.join(PATIENCE_S)
    pipe.finish()
    readers[0].join(PATIENCE_S)
    pipe.close()
    assert pipe.data.count(b"\n") == source.stats.stored == 2_000


def test_capture_drops_and_counts_what_nobody_reads_in_time(small_queue: int) -> None:
    """At the end of the time to drain, what is left is dropped; the sum is right."""
    source = ListSource([message(number) for number in range(at, at + 10)] for at in range(0, 10_000, 10))
    pipe = Pipe(source.stats)
    end_s = time.monotonic() + 0.3
    run(source, pipe, stopping=lambda: time.monotonic() > end_s)
    pipe.outlet.close(0.1)
    assert source.stats.dropped["output"] > 0
    assert source.stats.imbalance() == 0
    pipe.break_off()
    pipe.close()


def test_capture_asked_to_stop_lets_the_source_finish() -> None:
    """A stop does not throw away what the source still gives."""
    source = ListSource([[message(0)], [message(1)]])
    source.stop = lambda: None  # type: ignore[method-assign]  # it has two batches more to give
    pipe = Pipe(source.stats)
    reader = pipe.read_in_background()
    run(source, pipe, stopping=lambda: True)
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    assert pipe.data.count(b"\n") == 2


def captured(
    messages: list[list[Message]], options: ExtractOptions, **more: Any
) -> tuple[list[dict[str, Any]], Counters]:
    """The lines of a capture with these options, and its counters."""
    source = ListSource(messages)
    pipe = Pipe(source.stats)
    reader = pipe.read_in_background()
    capture(source, options, pipe.outlet, encode_records, stopping=lambda: False, **more)
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    assert source.stats.imbalance() == 0
    return [msgspec.json.decode(line) for line in pipe.data.splitlines()], source.stats


def test_capture_that_is_off_counts_what_passes_and_asks_no_hook() -> None:
    """Nothing is stored, forwarded or hooked while it is off, and all of it is counted; then it goes on."""
    asked: list[bytes] = []
    answers = iter([False, False, True, False])
    options = ExtractOptions(hook=Hook("h", lambda request: asked.append(request.message)))
    batches = [[message(0), message(1, b"junk")], [], [message(2)], [message(3)]]
    lines, counters = captured(batches, options, switch=lambda: next(answers))
    assert [line["micro_ts"] - BASE_TS_US for line in lines] == [2]
    assert len(asked) == 1
    assert (counters.filtered, counters.stored) == ({"capture_off": 3}, 1)


def test_capture_forwards_packets_as_they_came() -> None:
    """What a route takes is sent on and stored too; what is off or no message is not sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(PATIENCE_S)
        endpoint = f"udp:127.0.0.1:{collector.getsockname()[1]}"
        routes = Routes([make_route("invites", {"methods": "INVITE", "forward": endpoint, "table": "t"})])
        packet = hep3_with(sip(), chunk(33, b"\0\7"))
        datagrams = [packet, hep3_with(sip("BYE")), hep3_with(b"junk"), packet + b"x"]
        batches = [HepGate(Counters()).decode(datagrams)]
        lines, counters = captured(batches, ExtractOptions(routes=routes))
        assert [collector.recv(65_535) for _ in range(2)] == [packet, packet + b"x"]
    assert [line["method"] for line in lines] == ["INVITE", "BYE", "INVITE"]
    assert "_table" not in lines[0]  # where it is stored is for the storing stage to say
    assert (counters.forwarded, counters.forward_dropped, counters.rejected) == (2, 0, {"not_sip": 1})


def test_capture_gives_what_is_too_old_the_time_of_arrival() -> None:
    """--max-age: the sender's time stays in the envelope; what is young enough, or has no time, is left alone."""
    now_us = time.time_ns() // 1_000
    young, old, timeless = message(0), message(1), message(2)
    young.ts_us, old.ts_us, timeless.ts_us = now_us - 5_000_000, now_us - 120_000_000, 0
    old.extra = {"vlan": 5}
    lines, counters = captured([[young, old, timeless]], ExtractOptions(max_age_s=60.0))
    assert lines[0]["micro_ts"] == now_us - 5_000_000
    assert now_us <= lines[1]["micro_ts"] <= time.time_ns() // 1_000
    assert (lines[1]["original_ts_us"], lines[1]["vlan"]) == (now_us - 120_000_000, 5)
    assert all("original_ts_us" not in lines[number] for number in (0, 2))
    assert counters.clock_skew == 1


def test_capture_believes_old_times_without_a_limit() -> None:
    """A sender that comes back after a week has a week to tell."""
    lines, counters = captured([[message(0)]], ExtractOptions())
    assert (lines[0]["micro_ts"], counters.clock_skew) == (BASE_TS_US, 0)


def test_capture_unmasks_call_ids() -> None:
    """Callid and its fall-back are plain, msg keeps the mask; a correlation id that was sent stays."""
    first, second = (message(number, sip(headers={"Call-ID": masked(b"abc123@host")})) for number in range(2))
    second.correlation_id = "sent"
    lines, _ = captured([[first, second]], ExtractOptions(topoh=CallIdMask()))
    assert [line["callid"] for line in lines] == ["abc123@host"] * 2
    assert [line["correlation_id"] for line in lines] == ["abc123@host", "sent"]
    assert all("Call-ID: !!:3ReBM.VlPSr5NwP*\r\n" in line["msg"] for line in lines)


class _Slow:
    """A hook that takes its time, and knows when it was asked."""

    def __init__(self, takes_s: float) -> None:
        self.asked_s: list[float] = []
        self._takes_s = takes_s

    def __call__(self, _request: object) -> int:
        self.asked_s.append(time.monotonic())
        time.sleep(self._takes_s)
        return 1


def test_capture_with_a_slow_hook_hands_lines_on_in_the_middle_of_a_batch() -> None:
    """Whoever looks for signs of life, or for lines, need not wait for 256 messages' time."""
    hook = _Slow(0.05)
    ticks: list[tuple[float, int]] = []
    source = ListSource([[message(number) for number in range(20)]])
    pipe = Pipe(source.stats)
    reader = pipe.read_in_background()
    options = ExtractOptions(hook=Hook("h", hook))
    capture(
        source, options, pipe.outlet, encode_records, stopping=lambda: False,
        on_tick=lambda: ticks.append((time.monotonic(), pipe.data.count(b"\n"))),
    )  # fmt: skip
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    inside = [lines for at_s, lines in ticks if at_s < hook.asked_s[-1]]
    assert len(inside) >= 5
    assert inside[-1] >= 10
    assert [msgspec.json.decode(line)["micro_ts"] - BASE_TS_US for line in pipe.data.splitlines()] == list(range(20))
    assert (source.stats.stored, source.stats.imbalance()) == (20, 0)


def test_capture_asks_no_hook_when_the_time_to_drain_is_nearly_over() -> None:
    """What it has no time for is counted, in this batch and in those behind it; what was answered is out."""
    hook = _Slow(0.05)
    source = ListSource([[message(number) for number in range(at, at + 50)] for at in (0, 50)])
    pipe = Pipe(source.stats)
    reader = pipe.read_in_background()
    end_s = time.monotonic() + 0.5
    options = ExtractOptions(hook=Hook("h", hook))
    capture(
        source, options, pipe.outlet, encode_records, stopping=lambda: False, is_late=lambda: time.monotonic() > end_s
    )
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    stats = source.stats
    assert hook.asked_s[-1] < end_s + 0.3
    assert pipe.data.count(b"\n") == stats.stored == len(hook.asked_s) < 30
    assert stats.stored + stats.dropped["drain_timeout"] == stats.received == 100


def test_capture_asks_no_hook_about_more_than_its_limit() -> None:
    """What --count keeps back is known before the hook has seen the whole batch."""
    hook = _Slow(0.05)
    source = ListSource([[message(number) for number in range(100)]])
    pipe = Pipe(source.stats, limit=2)
    reader = pipe.read_in_background()
    capture(source, ExtractOptions(hook=Hook("h", hook)), pipe.outlet, encode_records, stopping=lambda: False)
    pipe.finish()
    reader.join(PATIENCE_S)
    pipe.close()
    assert pipe.data.count(b"\n") == 2
    assert len(hook.asked_s) < 50
    assert (source.stats.filtered, source.stats.imbalance()) == ({"count": 98}, 0)
