"""What processes of the service tell before they may be killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sipcap import recovering
from sipcap.counters import COUNTING, Counters
from sipcap.errors import SinkError
from sipcap.recovering import Batch, Recovery
from sipcap.service import bodies
from sipcap.service.accounting import added
from sipcap.service.slot import Child, Descriptors, Slot
from sipcap.service.watched import ModeState
from sipcap.sinks.base import Row
from sipcap.spool import Segment, Spool, SpoolPlace
from tests.support.background import wait_for
from tests.support.records import sip_record
from tests.support.sinks import MemorySink

FORKS = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def test_batch_that_comes_out_of_the_spool_is_published_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed right then, its process would leave records that wait for ever, as far as the counters say."""
    monkeypatch.setattr(bodies, "FLUSH_INTERVAL_S", 60.0)
    child, counters = Child(0, 0), Counters()
    publish = bodies._Publisher(child, lambda: counters)
    counters.received = counters.spooled = 5
    publish()
    counters.spooled, counters.stored = 0, 5
    publish()
    found = child.page.read()["counters"]
    assert (found["spooled"], found["stored"]) == (0, 5)


def _count_of(body: Callable[[Child], None]) -> Counters:
    """What counts of a storing process that does this and is killed."""

    def whole(child: Child) -> int:
        body(child)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
        return 0

    slot = Slot("storing", whole, Descriptors(), ())
    slot.start()
    wait_for(slot.reap)
    total = slot.total()
    assert total.imbalance() == 0
    return total


def _gauges(total: Counters) -> tuple[int, ...]:
    return total.stored, total.spooled, total.recovered, total.received


@FORKS
@pytest.mark.parametrize(("is_own", "there", "counted"), [
    (True, False, (5, 0, 0, 5)), (True, True, (0, 5, 0, 5)), (False, False, (5, 0, 5, 0)), (False, True, (0, 0, 0, 0)),
])  # fmt: skip
def test_batch_that_left_the_spool_of_a_killed_process_counts_as_stored(
    tmp_path: Path, counted: tuple[int, ...], *, is_own: bool, there: bool
) -> None:
    """Its file is removed when the database has taken it: what was not published any more can be seen there."""
    path = tmp_path / "segment"
    if there:
        path.touch()

    def body(child: Child) -> None:
        counters = Counters()
        counters.received = counters.spooled = 5 * is_own
        child.publish(counters, leaving=[(str(path), 5, is_own)], left=0)
        child.note_left()

    assert _gauges(_count_of(body)) == counted


@FORKS
def test_batch_that_others_took_out_of_the_spool_of_a_killed_process_is_not_stored_by_it(tmp_path: Path) -> None:
    """An operator, or the next process, which counts it as recovered."""

    def body(child: Child) -> None:
        counters = Counters()
        counters.received = counters.spooled = 5
        child.note_left()  # one before it
        child.publish(counters, leaving=[(str(tmp_path / "segment"), 5, True)], left=1)

    assert _gauges(_count_of(body)) == (0, 5, 0, 5)


class _Lock:
    """The lock of the counters; when it has been given back so many times, somebody looks at once."""

    def __init__(self, times: int, look: Callable[[], None]) -> None:
        self._left = times
        self._look = look

    def __enter__(self) -> None:
        COUNTING.acquire()

    def __exit__(self, *_: object) -> None:
        COUNTING.release()
        self._left -= 1
        if not self._left:
            self._look()


@FORKS
@pytest.mark.parametrize(("removed", "counted"), [(True, (5, 0, 0, 5)), (False, (0, 5, 0, 5))])
@pytest.mark.parametrize("times", [1, 2])
def test_batch_that_leaves_the_spool_is_published_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, counted: tuple[int, ...], *, removed: bool
) -> None:
    """Published as soon as that is possible, and killed before or behind the end of its file: it counts once."""

    def body(child: Child) -> None:
        place = Spool(tmp_path, 1 << 30).place("default", "d")
        place.note_leaving = child.note_left
        state = ModeState(place, 1 << 30)
        publish = bodies._Publisher(child, lambda: added([state.counters]), modes=[state])
        recovery = Recovery(MemorySink(), place, state.counters, lambda _refused: None)
        state.counters.received = 5
        rows = [Row(sip_record(number), {}) for number in range(5)]
        recovery.keep([Batch("b" * 32, {"t": rows})], SinkError("away", transient=True))
        publish()
        monkeypatch.setattr(recovering, "COUNTING", _Lock(times, publish))  # in the child alone

        def remove(segment: Segment) -> None:
            if removed:
                SpoolPlace.remove(place, segment)
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

        place.remove = remove  # type: ignore[method-assign]
        recovery.step()

    assert _gauges(_count_of(body)) == counted
