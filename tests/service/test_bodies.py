"""What processes of the service tell before they may be killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from sipcap.counters import Counters
from sipcap.service import bodies
from sipcap.service.slot import Child, Descriptors, Slot
from tests.support.background import wait_for


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


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
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

    def die(child: Child) -> int:
        counters = Counters()
        counters.received = counters.spooled = 5 * is_own
        child.publish(counters, leaving=[(str(path), 5, is_own)])
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
        return 0

    slot = Slot("storing", die, Descriptors(), ())
    slot.start()
    wait_for(slot.reap)
    total = slot.total()
    assert (total.stored, total.spooled, total.recovered, total.received) == counted
    assert total.imbalance() == 0
