"""The processes of a capture: shared work, sudden deaths, parents that are gone."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from sipcap import capturing
from sipcap.capturing import CaptureWorkers, start_workers
from sipcap.errors import Unwritten
from sipcap.ndjson import encode_records
from sipcap.record import Record
from tests.support.background import children_of, forked_workers, is_running, wait_for
from tests.support.captures import Run, running
from tests.support.messages import chunk, hep3, hep3_datagram, hep3_with, sip, sip_message, usual_chunks
from tests.support.receiving import PATIENCE_S, send_udp

# Python 3.12 warns of a fork beside a thread: the threads are those of the test, and the workers touch none.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@contextmanager
def workers_of(run: Run) -> Iterator[CaptureWorkers]:
    """Its workers, running; killed behind the test if they still do."""
    workers = start_workers(run.job, run.stop)
    try:
        yield workers
    finally:
        workers.kill()
        workers.join(1.0)


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
            first.extend(forked_workers())
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


def test_workers_killed_before_they_say_what_they_took_are_balanced(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came since the last published counters is received; of it, what was written is stored and the rest lost."""
    monkeypatch.setattr(capturing, "FLUSH_INTERVAL_S", 60.0)  # between two publications

    def encode(records: Sequence[Record]) -> bytes:
        lines = encode_records(records)
        if b"NOTIFY" in lines:
            os.kill(os.getpid(), signal.SIGKILL)
        return lines

    with running(children=1, encode=encode) as run, workers_of(run) as workers:
        run.reader.start()
        send_udp(run.port, *[hep3_with(sip())] * 2)
        wait_for(lambda: run.data.count(b"\n") == 2)
        send_udp(run.port, hep3_with(sip("NOTIFY")))
        wait_for(lambda: not workers.reap())
        counters = workers.counters()
        assert (counters.received, counters.stored, counters.dropped) == (3, 2, {"worker_killed": 1})
        assert counters.imbalance() == 0


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
        wait_for(lambda: not any(map(is_running, workers)))


def test_workers_leave_with_a_second_signal() -> None:
    """What "at once" means holds for the processes behind the command, too."""
    with running(children=2) as run, workers_of(run) as workers:
        assert len(forked_workers()) == 2
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
