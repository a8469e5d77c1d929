"""What the supervisor's parts promise each other."""

from __future__ import annotations

import threading

from sipcap.service.reloading import Answer


def test_answer_that_comes_in_time_is_given_to_who_waits() -> None:
    """Whoever gives it knows that it was taken."""
    answer = Answer()
    taken: list[bool] = []
    giver = threading.Timer(0.05, lambda: taken.append(answer.give("no such port")))
    giver.start()
    assert answer.wait(20.0) == "no such port"
    giver.join()
    assert taken == [True]


def test_answer_that_comes_too_late_is_known_to_be_lost() -> None:
    """A reload that fails after everybody has gone must be told in the log."""
    answer = Answer()
    assert answer.wait(0.01) == ""
    assert not answer.give("no such port")
