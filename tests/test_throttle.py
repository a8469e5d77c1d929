"""Log lines that hostile traffic can cause."""

from __future__ import annotations

import pytest

from sipcap import throttle
from sipcap.throttle import Throttle


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the throttle sees, to be changed by the test."""
    now = [1_000.0]
    monkeypatch.setattr(throttle.time, "monotonic", lambda: now[0])  # type: ignore[attr-defined]
    return now


def test_throttle_lets_the_first_pass_and_counts_the_others(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    """A thousand refusals a second are one line in ten seconds, and none is forgotten."""
    throttle = Throttle("refused %s: %s")
    for second in range(30):
        clock[0] = 1_000.0 + second
        for number in range(4):
            throttle.warning(f"10.0.0.{number}", "no")
    assert log.messages == [
        "refused 10.0.0.0: no",
        "refused 10.0.0.0: no (39 more like this)",
        "refused 10.0.0.0: no (39 more like this)",
    ]


def test_throttle_speaks_at_once_after_a_pause(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    """What happens rarely is always said."""
    throttle = Throttle("%s")
    for _ in range(3):
        throttle.warning("again")
        clock[0] += 10.0
    assert log.messages == ["again"] * 3


def test_throttles_do_not_share_their_time(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    """One kind of trouble does not hide another."""
    Throttle("first").warning()
    Throttle("second").warning()
    assert log.messages == ["first", "second"]


def test_throttle_takes_percent_signs_from_arguments(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    """Text from the network is an argument, never a template."""
    throttle = Throttle("%s")
    throttle.warning("%s %n %(name)d")
    clock[0] += 3.0
    throttle.warning("skipped")
    clock[0] += 10.0
    throttle.warning("100%")
    assert log.messages == ["%s %n %(name)d", "100% (1 more like this)"]


def test_throttle_names_the_first_of_an_input_one_by_one(log: pytest.LogCaptureFixture, clock: list[float]) -> None:
    """So many lines pass before the rate is bounded."""
    throttle = Throttle("%s", first=3)
    for number in range(10):
        throttle.warning(number)
    assert log.messages == ["0", "1", "2", "3"]
