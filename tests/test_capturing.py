"""A capture as a whole: in one process and in workers, to its end or to a bad one."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sipcap.capturing import CaptureJob, CaptureWorkers, capture_here, capture_in_workers, start_workers
from sipcap.counters import Counters
from sipcap.endpoint import parse_endpoint
from sipcap.errors import Unwritten
from sipcap.ndjson import encode_records
from sipcap.pipeline import ExtractOptions
from sipcap.sources.hep import HepOptions, HepSource
from sipcap.stopping import Stop
from tests.support.messages import chunk, hep3, hep3_datagram, sip_message, usual_chunks
from tests.support.receiving import PATIENCE_S, connect, port_of, send_udp

# Python 3.12 warns of a fork beside a thread: the threads are those of the test, and the workers touch none.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

UDP = "udp:127.0.0.1:0"
MODES = pytest.mark.parametrize("children", [1, 3])


class Run:
    """A capture into a pipe; a reader thread collects the lines."""

    def __init__(self, *endpoints: str, children: int = 1, reads: bool = True, **options: Any) -> None:
        self.reading, self.writing = os.pipe()
        hep = HepOptions([parse_endpoint(text) for text in endpoints or (UDP,)], drain_s=2.0)
        self.source = HepSource(hep)
        self.source.open()
        self.port = port_of(self.source)
        self.stop = Stop()
        base = CaptureJob(self.source, ExtractOptions(), encode_records, self.writing, children, drain_timeout_s=4.0)
        self.job = replace(base, **options)
        self.data = b""
        self.reader = threading.Thread(target=self._read)
        self._reads = reads

    def _read(self) -> None:
        with suppress(OSError):
            while piece := os.read(self.reading, 1 << 20):
                self.data += piece

    def capture(self) -> Counters:
        """Run to the end; the reader begins behind the fork."""
        if self._reads:
            threading.Timer(0.05, self.reader.start).start()
        return (capture_here if self.job.children == 1 else capture_in_workers)(self.job, self.stop)

    def stop_later(self, seconds: float) -> None:
        """As a signal would do."""
        threading.Timer(seconds, self.stop.request).start()

    @property
    def messages(self) -> set[bytes]:
        """The payloads that reached the reader."""
        return {msgspec.json.decode(line)["msg"].encode() for line in self.data.splitlines()}

    def close(self) -> None:
        """Close the pipe, and wait for the reader to see its end; may be called twice."""
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1
        if self.reader.ident:
            self.reader.join(PATIENCE_S)
        self.break_off()
        self.source.close()

    def break_off(self) -> None:
        """The reader goes away."""
        if self.reading >= 0:
            os.close(self.reading)
            self.reading = -1


@contextmanager
def running(*endpoints: str, **options: Any) -> Iterator[Run]:
    """A Run that is closed behind the test."""
    run = Run(*endpoints, **options)
    try:
        yield run
    finally:
        run.close()


@contextmanager
def workers_of(run: Run) -> Iterator[CaptureWorkers]:
    """Its workers, running; killed behind the test if they still do."""
    workers = start_workers(run.job, run.stop)
    try:
        yield workers
    finally:
        workers.kill()
        workers.join(1.0)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end_s, "it never came to that"
        time.sleep(0.01)


@MODES
def test_capture_delivers_everything_sent_before_the_stop(children: int) -> None:
    """All of it reaches the pipe, and the counters say so."""
    with running(UDP, "tcp:127.0.0.1:0", children=children) as run:
        send_udp(run.port, *map(hep3_datagram, range(90)))
        with connect(port_of(run.source, 1)) as client:
            client.sendall(b"".join(map(hep3_datagram, range(90, 100))))
            run.stop_later(0.5)
            counters = run.capture()
        run.close()
        assert run.messages == {sip_message(number) for number in range(100)}
    assert (counters.received, counters.stored, counters.imbalance()) == (100, 100, 0)


@MODES
def test_capture_ends_with_the_duration(children: int) -> None:
    """--duration ends it without a signal, in any mode."""
    with running(children=children, duration_s=0.2) as run:
        begin_s = time.monotonic()
        counters = run.capture()
        assert 0.2 <= time.monotonic() - begin_s < PATIENCE_S
    assert counters.received == 0


@MODES
def test_capture_count_is_exact_and_global(children: int) -> None:
    """So many records and no more, whoever of the workers took them; the rest is counted as filtered."""
    with running(children=children, count=7) as run:
        send_udp(run.port, *map(hep3_datagram, range(100)))
        counters = run.capture()
        run.close()
        assert len(run.messages) == run.data.count(b"\n") == 7
    assert (counters.stored, counters.imbalance()) == (7, 0)
    assert counters.filtered.total() == counters.received - 7


@MODES
def test_capture_ends_when_its_reader_goes_away_while_idle(children: int) -> None:
    """Nobody need send anything for ``| head`` to end the capture, and it is no failure."""
    with running(children=children, reads=False) as run:
        run.break_off()
        assert run.capture().received == 0


@MODES
def test_capture_to_a_full_disk_fails_with_the_reason(children: int) -> None:
    """What cannot be written is an error that says why; the counters add up and are logged."""
    full = os.open("/dev/full", os.O_WRONLY)
    with running(children=children, reads=False, output=full) as run:
        send_udp(run.port, *map(hep3_datagram, range(20)))
        with pytest.raises(Unwritten, match=f"cannot write the output: {os.strerror(errno.ENOSPC)}"):
            run.capture()
    os.close(full)


@MODES
def test_capture_gives_up_a_reader_that_does_not_read(children: int) -> None:
    """After the time to drain, what is left is dropped: counted, said, and an error."""
    with running(children=children, reads=False, drain_timeout_s=0.3) as run:
        large = hep3(*usual_chunks(), chunk(15, b"OPTIONS sip:a SIP/2.0\r\n\r\n" + b"x" * 30_000))
        send_udp(run.port, *[large] * 10)
        run.stop_later(0.3)
        begin_s = time.monotonic()
        with pytest.raises(Unwritten, match=r"\d+ message\(s\) were received and could not be written in time"):
            run.capture()
        assert time.monotonic() - begin_s < 10.0


def test_capture_large_lines_of_many_workers_never_interleave() -> None:
    """Lines of 60 KB are longer than what a pipe writes at once; they come whole."""
    with running(children=4) as run:
        body = b"x" * 60_000

        def send() -> None:
            for number in range(200):
                payload = b"OPTIONS sip:%d@b SIP/2.0\r\n\r\n" % number + body
                send_udp(run.port, hep3(*usual_chunks(), chunk(15, payload)))
                time.sleep(0.001)
            run.stop.request()

        threading.Timer(0.2, send).start()
        counters = run.capture()
        run.close()
        assert len(run.messages) == 200 - counters.kernel_dropped
        assert counters.kernel_dropped == 0


def test_workers_share_the_datagrams_of_one_sender() -> None:
    """One sender's datagrams reach every worker, and each datagram one of them."""
    with running(children=3) as run, workers_of(run) as workers:
        run.reader.start()
        sent = 0

        def all_got_some() -> bool:
            nonlocal sent
            send_udp(run.port, *[hep3_datagram(number) for number in range(sent, sent + 20)])
            sent += 20
            return all(page.read().get("received") for page in workers._pages)

        wait_for(all_got_some)
        workers.stop()
        workers.join(PATIENCE_S)
        run.close()
        assert (workers.failed, workers.counters().stored) == (0, sent)
        assert len(run.messages) == sent


def test_workers_one_killed_is_an_error_and_the_counters_add_up() -> None:
    """A worker that is killed does not go unnoticed, nor what it had counted."""
    with running(children=2) as run:
        first: list[int] = []

        def kill_one() -> None:
            first.extend(child for child in children_of(os.getpid()))
            send_udp(run.port, *map(hep3_datagram, range(20)))
            time.sleep(0.5)
            os.kill(first[0], signal.SIGKILL)

        threading.Timer(0.3, kill_one).start()
        with pytest.raises(Unwritten, match="1 of 2 capturing processes failed or were killed"):
            run.capture()
        run.close()
        assert run.messages == {sip_message(number) for number in range(20)}


def test_workers_killed_while_they_hold_messages_are_balanced() -> None:
    """What a killed worker had read and not written is dropped{worker_killed}."""
    with running(children=1, reads=False) as run, workers_of(run) as workers:
        large = hep3(*usual_chunks(), chunk(15, b"OPTIONS sip:a SIP/2.0\r\n\r\n" + b"x" * 30_000))
        send_udp(run.port, *[large] * 10)  # more than the pipe holds: it blocks in write
        wait_for(lambda: workers.counters().received == 10)
        workers.kill()
        workers.join(PATIENCE_S)
        counters = workers.counters()
        assert counters.imbalance() == 0
        assert counters.dropped["worker_killed"] > 0


def test_workers_end_when_their_parent_is_killed() -> None:
    """Processes that nobody would stop any more stop by themselves, and hand on what they have."""
    with running(children=2) as run:
        parent = os.fork()
        if not parent:
            start_workers(run.job, run.stop)
            time.sleep(60)
            os._exit(1)
        wait_for(lambda: len(children_of(parent)) == 2)
        workers = children_of(parent)
        run.reader.start()
        send_udp(run.port, *map(hep3_datagram, range(10)))
        wait_for(lambda: run.data.count(b"\n") == 10)
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        wait_for(lambda: not any(Path(f"/proc/{worker}/fd").exists() and alive(worker) for worker in workers))


def test_workers_leave_with_a_second_signal() -> None:
    """What "at once" means holds for the processes behind the command, too."""
    with running(children=2) as run, workers_of(run) as workers:
        assert len(children_of(os.getpid())) == 2
        for act in run.stop.leaving:
            act()
        workers.join(PATIENCE_S)
        assert workers.failed == 2


def test_workers_keep_nothing_open_that_they_must_not() -> None:
    """A worker that kept the reading end of its own pipe would never see that its reader is gone."""
    with running(children=2, reads=False) as run:
        workers = start_workers(run.job, run.stop, inherited=(run.reading,))
        run.break_off()
        wait_for(lambda: not workers.reap())
        assert (workers.failed, workers.reader_gone) == (0, True)


def children_of(pid: int) -> list[int]:
    """Direct children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
