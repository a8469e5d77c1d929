"""What processes of the service tell before they may be killed."""

from __future__ import annotations

import pytest

from sipcap.counters import Counters
from sipcap.service import bodies
from sipcap.service.slot import Child


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
