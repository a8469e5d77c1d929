"""A capture as a whole: in one process and in workers, to its end or to a bad one."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from sipcap.errors import Unwritten
from tests.support.captures import UDP, running
from tests.support.messages import chunk, hep3, hep3_datagram, sip_message, usual_chunks
from tests.support.receiving import PATIENCE_S, connect, port_of, send_udp

# Python 3.12 warns of a fork beside a thread: the threads are those of the test, and the workers touch none.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
MODES = pytest.mark.parametrize("children", [1, 3])


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
        assert len(run.messages) == 200 - counters.kernel_dropped > 20
