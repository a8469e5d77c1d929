"""The service: capturing processes and a storing thread, with a database that does what it likes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sipcap.batching import BatchOptions
from sipcap.capturing import CaptureJob, CaptureWorkers
from sipcap.counters import Counters
from sipcap.deadletter import DeadLetterFile
from sipcap.endpoint import parse_endpoint
from sipcap.errors import CannotStart, SinkError, Unwritten
from sipcap.ndjson import encode_records
from sipcap.pipeline import ExtractOptions
from sipcap.routing import Router
from sipcap.service.service import Service, StoreJob
from sipcap.sinks.base import Sink
from sipcap.sources.hep import HepOptions, HepSource
from sipcap.stopping import Stop
from tests.support.background import forked_workers
from tests.support.messages import hep3_datagram, sip_message
from tests.support.receiving import PATIENCE_S, port_of, send_udp
from tests.support.sinks import Away, MemorySink, Tables

# Python 3.12 warns of a fork beside a thread: the threads are those of the test, and the workers touch none.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


class Run:
    """A service with a sink in memory; what the test does meanwhile runs in a thread."""

    def __init__(
        self,
        sink: MemorySink,
        *,
        connect: Callable[[], Sink] | None = None,
        drain_timeout_s: float = 5.0,
        children: int = 1,
        dead_letters: DeadLetterFile | None = None,
    ) -> None:
        self.sink = sink
        self.source = HepSource(HepOptions([parse_endpoint("udp:127.0.0.1:0")], drain_s=drain_timeout_s / 2))
        self.source.open()
        self.port = port_of(self.source)
        self.stop = Stop()
        self._service = Service(
            CaptureJob(
                self.source, ExtractOptions(), encode_records, -1, children, drain_timeout_s=drain_timeout_s
            ),
            StoreJob(
                connect or (lambda: sink), Router(), BatchOptions(50, 0.05, retries=None), dead_letters
            ),
        )  # fmt: skip

    def send(self, *numbers: int) -> None:
        """Send messages by their numbers."""
        send_udp(self.port, *map(hep3_datagram, numbers))

    def run(self, meanwhile: Callable[[], None]) -> Counters:
        """Run, let *meanwhile* happen, and stop behind it."""
        raised: list[BaseException] = []

        def act() -> None:
            try:
                meanwhile()
            except BaseException as error:  # noqa: BLE001  # raised again below
                raised.append(error)
            finally:
                self.stop.request()

        thread = threading.Thread(target=act)
        thread.start()
        try:
            return self._service.run(self.stop)
        finally:
            thread.join(PATIENCE_S)
            assert raised == []

    def fail(self, meanwhile: Callable[[], None], error: type[Exception], match: str) -> Counters:
        """Run to an error; what was counted."""
        counted: list[Counters] = []
        total = self._service._total

        def note(workers: CaptureWorkers) -> Counters:
            counted.append(total(workers))
            return counted[0]

        self._service._total = note  # type: ignore[method-assign]
        with pytest.raises(error, match=match):
            self.run(meanwhile)
        return counted[0]

    @property
    def stored(self) -> list[str]:
        """The messages that the sink holds."""
        return [record.msg for records in self.sink.tables.values() for record in records]


@contextmanager
def running(
    trouble: Callable[[Tables], SinkError | None] = lambda _tables: None,
    *,
    connect: Callable[[], Sink] | None = None,
    drain_timeout_s: float = 5.0,
    children: int = 1,
    dead_letters: DeadLetterFile | None = None,
) -> Iterator[Run]:
    """A Run that is closed behind the test."""
    run = Run(
        MemorySink(trouble),
        connect=connect,
        drain_timeout_s=drain_timeout_s,
        children=children,
        dead_letters=dead_letters,
    )
    try:
        yield run
    finally:
        run.source.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it never came to that"
        time.sleep(0.01)


def texts(*numbers: int) -> list[str]:
    """The messages of these numbers."""
    return [sip_message(number).decode() for number in numbers]


@pytest.mark.parametrize("children", [1, 3])
def test_service_stores_what_it_receives(children: int) -> None:
    """Everything sent before the stop is stored, and one sum of counters covers both stages."""
    with running(children=children) as run:
        total = run.run(lambda: run.send(*range(100)))
        assert sorted(run.stored) == sorted(texts(*range(100)))
    assert (total.received, total.stored, total.imbalance()) == (100, 100, 0)
    assert total.datagrams == 100


def test_service_stores_while_it_runs() -> None:
    """Records do not wait for the stop."""
    with running() as run:

        def meanwhile() -> None:
            run.send(1, 2, 3)
            wait_for(lambda: len(run.stored) == 3)

        run.run(meanwhile)


def test_service_without_database_cannot_start() -> None:
    """A database that cannot be used shows before anything is received."""

    def connect() -> Sink:
        raise CannotStart("no such database")

    with running(connect=connect) as run, pytest.raises(CannotStart, match="no such database"):
        run.run(lambda: None)


def test_service_survives_a_database_that_is_away() -> None:
    """While the database takes nothing, it tries again; nothing is lost."""
    with running(Away(3)) as run:

        def meanwhile() -> None:
            run.send(*range(100))
            wait_for(lambda: len(run.stored) == 100)

        total = run.run(meanwhile)
    assert (total.stored, total.imbalance()) == (100, 0)
    assert total.retries >= 3


def test_service_survives_a_database_that_goes_away_while_it_starts() -> None:
    """Between the first look and the storing process the database may be locked: that is no reason to end."""
    sink = MemorySink()
    answers: list[Exception | None] = [None, CannotStart("database is locked"), CannotStart("database is locked")]

    def connect() -> Sink:
        answer = answers.pop(0) if answers else None
        if answer is not None:
            raise answer
        return sink

    with running(connect=connect) as run:

        def meanwhile() -> None:
            run.send(1, 2, 3)
            wait_for(lambda: "sip_capture" in sink.tables)

        total = run.run(meanwhile)
    assert (answers, total.stored) == ([], 3)


def test_service_stopped_while_the_database_is_away_ends_in_time() -> None:
    """A stop is bounded by the time to drain; what could not be stored is counted and is an error."""
    with running(Away(), drain_timeout_s=0.5) as run:
        begin_s = time.monotonic()
        total = run.fail(lambda: run.send(*range(100)), Unwritten, "could not be stored")
        assert time.monotonic() - begin_s < 10.0
    assert (total.received, total.stored, total.imbalance()) == (100, 0, 0)
    assert total.dropped.total() == 100


def test_service_stopped_while_the_database_hangs_ends_in_time() -> None:
    """A write that never returns (a dead server, a hung file system) keeps nobody from leaving."""
    released = threading.Event()

    def hang(_tables: Tables) -> None:
        released.wait(PATIENCE_S)

    with running(hang, drain_timeout_s=0.5) as run:
        begin_s = time.monotonic()
        total = run.fail(lambda: run.send(*range(100)), Unwritten, r"100 message\(s\) .* could not be stored in time")
        assert time.monotonic() - begin_s < 10.0
        released.set()
    assert (total.dropped, total.imbalance()) == ({"drain_timeout": 100}, 0)


def test_service_stopped_while_the_database_is_away_buries_what_it_can(tmp_path: Path) -> None:
    """With a dead-letter file, what the database did not take is in there, and it still is exit code 5."""
    dead = DeadLetterFile(tmp_path / "dead")
    with running(Away(), drain_timeout_s=0.5, dead_letters=dead) as run:
        total = run.fail(lambda: run.send(*range(100)), Unwritten, "unwritten|in time")
    assert total.imbalance() == 0
    assert total.dead_letter == (tmp_path / "dead").read_bytes().count(b"\n") > 0
    assert total.dead_letter + total.dropped["drain_timeout"] == 100


def test_service_row_that_is_refused_is_told_at_the_end() -> None:
    """One record that the database never takes does not stop the service; it is counted, and the exit code is 5."""

    def refuse_seven(tables: Tables) -> SinkError | None:
        bad = texts(7)[0]
        if any(row.record.msg == bad for rows in tables.values() for row in rows):
            return SinkError("refused", transient=False)
        return None

    with running(refuse_seven) as run:
        total = run.fail(lambda: run.send(*range(20)), Unwritten, r"1 record\(s\) remain unwritten")
        assert sorted(run.stored) == sorted(texts(*(number for number in range(20) if number != 7)))
    assert (total.dropped, total.imbalance()) == ({"database": 1}, 0)


def test_service_bug_in_a_sink_is_not_hidden() -> None:
    """What is no expected failure comes out as it is, and ends the capturing processes."""

    def break_down(_tables: Tables) -> SinkError | None:
        raise ZeroDivisionError("boom")

    with running(break_down) as run:
        total = run.fail(lambda: run.send(*range(20)), ZeroDivisionError, "^boom$")
    assert total.imbalance() == 0


@pytest.mark.parametrize("children", [1, 2])
def test_service_worker_killed_is_an_error_and_the_counters_add_up(children: int) -> None:
    """A capturing process that is killed ends the service; what it had handed on is stored and counted."""
    with running(children=children) as run:

        def kill() -> None:
            run.send(*range(30))
            wait_for(lambda: len(run.stored) == 30)
            os.kill(forked_workers()[0], signal.SIGKILL)
            time.sleep(0.3)

        total = run.fail(kill, Unwritten, rf"1 of {children} capturing processes failed or were killed")
        assert len(run.stored) == 30
    assert (total.stored, total.imbalance()) == (30, 0)


def test_service_worker_killed_at_once_is_balanced() -> None:
    """What a worker handed on and could not say any more is counted as received, not as lost."""
    with running() as run:

        def kill() -> None:
            run.send(*range(30))
            wait_for(lambda: len(run.stored) > 0)
            os.kill(forked_workers()[0], signal.SIGKILL)

        total = run.fail(kill, Unwritten, "killed")
        assert total.stored == len(run.stored) == 30
    assert total.imbalance() == 0
