"""The storing stage: lines of an input into batches."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipcap.batching import Batcher, BatchOptions
from sipcap.counters import Counters
from sipcap.errors import InputError, SinkError, Unwritten
from sipcap.lanes import Lane
from sipcap.ndjson import encode_records
from sipcap.routing import Router
from sipcap.storing import Store
from tests.support.messages import BASE_TS_US
from tests.support.pipes import wait_until
from tests.support.records import line_of, report_record, sip_lines, sip_record
from tests.support.sinks import Away, MemorySink, Refusing

GOOD = json.dumps({"micro_ts": BASE_TS_US, "msg": "x"}).encode() + b"\n"


class Bench:
    """A store over a sink in memory."""

    def __init__(self, *, strict: bool = False, sink: MemorySink | None = None, size: int = 10) -> None:
        self.counters = Counters()
        self.sink = sink or MemorySink()
        batcher = Batcher(self.sink, BatchOptions(size=size, interval_s=0.1), self.counters)
        self.store = Store(Lane("default", Router(("t",)), batcher), self.counters, strict=strict)

    def read(self, data: bytes, tmp_path: Path) -> bool:
        """Store a file of these bytes."""
        path = tmp_path / "input.ndjson"
        path.write_bytes(data)
        with path.open("rb") as file:
            return self.store.read(file.fileno(), "input", lambda: False)

    def numbers(self, table: str = "t") -> list[int]:
        """The numbers of the records in a table."""
        return [record.micro_ts - BASE_TS_US for record in self.sink.tables.get(table, [])]


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged."""
    monkeypatch.setattr(logging.getLogger("sipcap"), "propagate", True)
    caplog.set_level(logging.INFO, "sipcap")
    yield caplog


def test_read_stores_every_record_and_says_that_it_came_to_the_end(tmp_path: Path) -> None:
    """Each line is one message received and one stored, in order."""
    bench = Bench()
    data = sip_lines(25) + encode_records([report_record(7)])
    assert bench.read(data, tmp_path)
    assert (bench.numbers(), bench.numbers("report_capture")) == (list(range(25)), [7])
    counters = bench.counters
    assert (counters.received, counters.stored, counters.reported, counters.imbalance()) == (26, 25, 1, 0)


def test_read_nothing_is_nothing(tmp_path: Path) -> None:
    """An empty input is read to its end and makes no table."""
    bench = Bench()
    assert bench.read(b"", tmp_path)
    assert bench.read(b"\n \n", tmp_path)
    assert (bench.counters.received, bench.sink.attempts) == (0, [])


def test_bad_lines_are_named_by_number_and_the_others_are_stored(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    """Each bad line is told with input, number and reason, and counted."""
    bench = Bench()
    assert bench.read(sip_lines(2) + b"\nnonsense\n" + GOOD + b'{"msg":"x"}\n\xff\n', tmp_path)
    assert bench.numbers() == [0, 1, 0]
    assert [text.partition(": ")[0] for text in said.messages] == ["input:4", "input:6", "input:7"]
    assert bench.counters.rejected == {"bad_line": 3}
    assert bench.counters.imbalance() == 0


def test_bad_lines_without_end_do_not_fill_the_log(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """A wrong file is a few lines of log and a count."""
    bench = Bench()
    assert bench.read(b"nonsense\n" * 5_000, tmp_path)
    assert 20 <= len(said.messages) < 30
    assert bench.counters.rejected == {"bad_line": 5_000}


def test_bad_line_with_strict_ends_it_with_everything_before_stored(tmp_path: Path) -> None:
    """With strict, nothing behind a bad line is stored and nothing before it is lost."""
    bench = Bench(strict=True)
    with pytest.raises(InputError, match=r"^input:16: not JSON"):
        bench.read(sip_lines(15) + b"nonsense\n" + sip_lines(5, 15), tmp_path)
    assert bench.numbers() == list(range(15))
    assert (bench.counters.received, bench.counters.imbalance()) == (16, 0)


@pytest.mark.parametrize("strict", [True, False])
def test_newer_version_ends_it_with_everything_before_stored(tmp_path: Path, strict: bool) -> None:
    """What a newer sipcap wrote is never guessed at."""
    bench = Bench(strict=strict)
    with pytest.raises(InputError, match=r"^input:4: .* newer sipcap"):
        bench.read(sip_lines(3) + line_of(sip_record(3), v=2) + sip_lines(1), tmp_path)
    assert bench.numbers() == [0, 1, 2]
    assert (bench.counters.rejected, bench.counters.imbalance()) == ({"newer_version": 1}, 0)


def test_line_too_long_is_named_as_such(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """A line beyond the bound is a bad line like any other."""
    bench = Bench()
    assert bench.read(sip_lines(1) + b"x" * (9 << 20) + b"\n" + sip_lines(1, 1), tmp_path)
    assert (bench.numbers(), said.messages) == ([0, 1], ["input:2: line too long"])


@pytest.mark.parametrize(
    ("meant", "table"), [("u", "u"), ('u"; --', 'u"; --'), ("", "t"), (None, "t"), (7, "t"), (["u"], "t")]
)
def test_dead_letter_goes_to_the_table_that_it_was_meant_for(tmp_path: Path, meant: object, table: str) -> None:
    """A dead letter is stored where it belongs, and its marks are not kept."""
    bench = Bench()
    line = line_of(sip_record(3), _table=meant, _error="too long", _mode="m", x=1)
    assert bench.read(line, tmp_path)
    assert bench.numbers(table) == [3]


def test_refused_and_unreachable_records_are_all_accounted_for(tmp_path: Path) -> None:
    """Whatever the database does, the counters add up when the stage ends."""
    refusing = Refusing(BASE_TS_US + 3)
    bench = Bench(sink=MemorySink(refusing))
    assert bench.read(sip_lines(25) + b"bad\n", tmp_path)
    assert (bench.counters.stored, bench.counters.dropped, bench.counters.imbalance()) == (24, {"database": 1}, 0)
    bench = Bench(sink=MemorySink(Away()))
    with pytest.raises(Unwritten, match=r"; 10 record\(s\) that were read .*, 25 remain unwritten$"):
        bench.read(sip_lines(25), tmp_path)
    assert (bench.counters.received, bench.counters.dropped, bench.counters.imbalance()) == (25, {"database": 25}, 0)


def test_batch_of_long_unknown_keys_is_written_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is what was read, not the message alone."""
    monkeypatch.setattr("sipcap.batching._MAX_CHARACTERS", 12_000)
    bench = Bench(size=1_000)
    assert bench.read(b"".join(line_of(sip_record(number), x="y" * 4_000) for number in range(7)), tmp_path)
    assert [rows for _, rows in bench.sink.attempts] == [3, 3, 1]


@pytest.mark.parametrize("is_stopped", [False, True])
def test_unreachable_database_leaves_nothing_uncounted_that_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_stopped: bool
) -> None:
    """Lines in hand, in the read-ahead and cut in two are all received and dropped, and in what the error says."""
    monkeypatch.setattr("sipcap.inlet.OUTPUT_WRITE_BYTES", 2_500)
    stop = threading.Event()

    def away(_tables: object) -> SinkError:
        wait_for_all(reading, path)
        return SinkError("away", transient=True)

    bench = Bench(sink=MemorySink(away), size=50)
    path = tmp_path / "input"
    path.write_bytes(sip_lines(1_000) + b'{"v":1,"half a li')
    with path.open("rb", buffering=0) as reading:
        if is_stopped:
            stop.set()
        with pytest.raises(Unwritten, match=r"1001 remain unwritten$"):
            bench.store.read(reading.fileno(), "input", lambda: stop.is_set() and wait_for_all(reading, path))
    assert (bench.counters.received, bench.counters.dropped) == (1_001, {"database": 1_001})
    assert bench.store.unwritten == 1_001


def wait_for_all(reading: FileIO, path: Path) -> bool:
    """Wait until all of a file is read ahead."""
    wait_until(lambda: reading.tell() == path.stat().st_size)
    time.sleep(0.05)  # and handed to us
    return True


lines = st.one_of(
    st.integers(0, 99).map(lambda number: sip_lines(1, number)),
    st.integers(0, 99).map(lambda number: encode_records([report_record(number)])),
    st.sampled_from([b"\n", b"bad\n", b"{\n", b"}\n", b'{\n"micro_ts":1,"msg":""\n}\n', GOOD, b"\xff\n", b"{"]),
    st.just(line_of(sip_record(), v=2)),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(parts=st.lists(lines, max_size=12), strict=st.booleans(), bad=st.integers(0, 99), away=st.integers(0, 3))
def test_read_any_mixture_leaves_balanced_counters(
    tmp_path: Path, parts: list[bytes], strict: bool, bad: int, away: int
) -> None:
    """The identity of the counters holds after every input, however it ended."""
    gone, refusing = Away(away), Refusing(BASE_TS_US + bad)
    bench = Bench(strict=strict, sink=MemorySink(lambda tables: gone(tables) or refusing(tables)), size=3)
    try:
        bench.read(b"".join(parts), tmp_path)
    except (InputError, Unwritten):
        pass
    assert bench.counters.imbalance() == 0


# Pipes


def _in_time(condition: threading.Event, timeout_s: float = 30.0) -> None:
    assert condition.wait(timeout_s)


def test_records_of_a_slow_pipe_are_stored_within_the_interval() -> None:
    """A record does not wait for the batch to fill, nor for the line behind it."""
    written = threading.Event()
    sink = MemorySink(lambda _: written.set())
    bench = Bench(sink=sink, size=1_000)
    reading, writing = os.pipe()
    reader = threading.Thread(target=bench.store.read, args=(reading, "pipe", lambda: False))
    reader.start()
    for number in range(3):
        written.clear()
        os.write(writing, sip_lines(1, number) + b'{"v":1,')
        _in_time(written)
        os.write(writing, b"\n")
    os.close(writing)
    reader.join(30)
    os.close(reading)
    assert bench.numbers() == [0, 1, 2]
    assert bench.counters.rejected == {"bad_line": 3}


def test_stop_stores_what_has_been_read_and_says_that_it_is_not_the_end() -> None:
    """Lines that left the pipe before the stop are in the database after it."""
    bench = Bench(size=1_000)
    reading, writing = os.pipe()
    stop = threading.Event()
    ends: list[bool] = []
    reader = threading.Thread(target=lambda: ends.append(bench.store.read(reading, "pipe", stop.is_set)))
    os.write(writing, sip_lines(40) + b'{"v":1,"half a line')
    reader.start()
    until_s = time.monotonic() + 30
    while bench.counters.received < 40 and time.monotonic() < until_s:
        time.sleep(0.01)
    stop.set()
    reader.join(30)
    assert ends == [False]
    assert bench.numbers() == list(range(40))
    assert (bench.counters.rejected, bench.counters.imbalance()) == ({"cut": 1}, 0)
    os.close(writing)
    os.close(reading)


def test_stop_at_once_stores_what_was_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the inlet took out of the pipe while nobody looked is not lost."""
    from sipcap import storing
    from sipcap.inlet import Inlet

    class Ahead(Inlet):
        def __init__(self, fd: int) -> None:
            super().__init__(fd)
            until_s = time.monotonic() + 30
            while not self._queued_bytes and time.monotonic() < until_s:
                time.sleep(0.01)

    monkeypatch.setattr(storing, "Inlet", Ahead)
    bench = Bench()
    reading, writing = os.pipe()
    os.write(writing, sip_lines(30))
    assert not bench.store.read(reading, "pipe", lambda: True)
    assert bench.numbers() == list(range(30))
    os.close(writing)
    os.close(reading)


def test_read_of_what_breaks_off_stores_what_came_and_says_so(tmp_path: Path) -> None:
    """Input that fails is not taken for input that ends."""
    bench = Bench()
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(InputError, match=r"^folder: cannot be read: Is a directory$"):
        bench.store.read(folder, "folder", lambda: False)
    os.close(folder)
