"""When the next message is sent."""

from __future__ import annotations

import time
from statistics import median

from sipcap.sinks.pacing import Pacer


def never() -> bool:
    """Not to be stopped."""
    return False


def waits(pacer: Pacer, times_us: list[int]) -> list[float]:
    """When each message became due, in seconds after the first one."""
    due = []
    for time_us in times_us:
        assert pacer.wait(time_us, never)
        due.append(time.monotonic())
    return [each - due[0] for each in due]


def test_captured_pace_is_kept_with_a_median_error_below_a_millisecond() -> None:
    """Messages go out as far apart as they were captured."""
    times = [1_700_000_000_000_000 + number * 2_000 + number % 3 * 300 for number in range(100)]
    due = waits(Pacer(), times)
    errors = [at - (each - times[0]) / 1e6 for at, each in zip(due, times, strict=True)]
    assert median(map(abs, errors)) < 0.001
    assert min(errors) > -0.001


def test_a_late_message_does_not_delay_those_behind_it() -> None:
    """Deadlines count from the first message, so that errors do not add up."""
    pacer = Pacer()
    started = time.monotonic()
    pacer.wait(1, never)
    time.sleep(0.5)
    for time_us in (100_000, 200_000, 600_000):
        pacer.wait(time_us, never)
    assert 0.595 < time.monotonic() - started < 1.0


def test_speed_divides_the_captured_gaps() -> None:
    """Ten times the speed takes a tenth of the time."""
    due = waits(Pacer(10), [1, 1_000_001])
    assert 0.099 < due[-1] < 0.9


def test_without_speed_nothing_waits() -> None:
    """Maximum speed does not look at times."""
    assert waits(Pacer(None), [1, 3_600_000_000])[-1] < 5


def test_rate_overrides_the_captured_gaps() -> None:
    """A fixed rate has equal gaps, whatever was captured."""
    due = waits(Pacer(1.0, 100), [1, 3_600_000_000, 2, 5, 5, 5])
    assert 0.049 < due[-1] < 0.9


def test_a_new_capture_goes_on_at_once() -> None:
    """A file that is older than the one before it (a loop) neither waits nor rushes."""
    day_us = 86_400_000_000
    times = [day_us, day_us + 20_000, 5_000_000, 5_020_000]
    due = waits(Pacer(), times)
    assert 0.039 < due[3] < 5


def test_packets_a_little_out_of_order_do_not_shift_the_rest() -> None:
    """A step back of microseconds is taken back by the next step forward."""
    due = waits(Pacer(), [1_000_000, 1_030_000, 1_010_000, 1_040_000])
    assert 0.039 < due[3] < 5


def test_giving_up_ends_a_long_wait() -> None:
    """A stop is noticed in the middle of an hour's gap."""
    pacer = Pacer()
    assert pacer.wait(1, never)
    asked: list[float] = []

    def after_three() -> bool:
        asked.append(time.monotonic())
        return len(asked) > 3

    started = time.monotonic()
    assert not pacer.wait(3_600_000_001, after_three)
    assert time.monotonic() - started < 5
