"""Losses said while a capture runs."""

from __future__ import annotations

import logging

import pytest

from sipcap.counters import Counters
from sipcap.watch import LossWatch


def test_watch_says_new_losses_once_and_at_a_bounded_rate(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was said is not said again, and nothing is said more often than every ten seconds."""
    now_s = 100.0
    monkeypatch.setattr("sipcap.watch.time.monotonic", lambda: now_s)
    monkeypatch.setattr(logging.getLogger("sipcap"), "propagate", True)
    counters = Counters()
    look = LossWatch(counters)
    said: list[list[str]] = []
    for now_s in (100.5, 101.5, 103.0, 112.0, 130.0):  # the lambda reads it
        counters.rejected["auth_key"] += 1 if now_s < 113 else 0
        counters.kernel_dropped = 7
        caplog.clear()
        look()
        said.append(caplog.messages)
    assert said == [
        [],
        ["dropped by the kernel: 7, rejected auth_key: 2"],
        [],
        ["rejected auth_key: 2"],
        [],
    ]


def test_watch_says_who_sent_the_last_of_each_reason(
    monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """Where it is known; what it takes to set --allow right."""
    now_s = 100.0
    monkeypatch.setattr("sipcap.watch.time.monotonic", lambda: now_s)
    counters = Counters()
    look = LossWatch(counters)
    for sender in ("192.0.2.9", "::ffff:192.0.2.7"):
        counters.reject("auth_key", sender)
    counters.reject("short", "192.0.2.8")
    counters.reject("short")
    counters.kernel_dropped = 7
    now_s = 102.0
    look()
    assert log.messages == ["dropped by the kernel: 7, rejected auth_key: 2 (last from 192.0.2.7), rejected short: 2"]
