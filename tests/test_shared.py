"""Switches and pulses in memory that processes share; pages are tested with the workers that fill them."""

from __future__ import annotations

import os
import signal
import time

import pytest

from sipcap.shared import Pulse, SharedCount, SharedPage, Switches


def test_switches_are_seen_by_processes_that_were_there_before() -> None:
    """A child sees what its parent switches after the fork."""
    switches = Switches(["a", "b"])
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(told, 1)
        os._exit(switches.is_on("a") * 1 + switches.is_on("b") * 2 + switches.is_on() * 4)
    switches.set("a", on=False)
    os.write(tell, b"x")
    os.close(told)
    os.close(tell)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2 + 4


def test_switches_of_new_modes_are_on_and_old_ones_keep_their_state() -> None:
    """A configuration that names more modes changes nothing for those that were there."""
    switches = Switches(["a"], on=False)
    switches.set("a", on=False)
    switches.know(["b", "a"])
    assert (switches.modes, switches.is_on()) == ({"a": False, "b": True}, False)


def test_switches_of_a_mode_that_is_not_there_are_an_error() -> None:
    """Nobody believes to have switched something off that was misspelt."""
    switches = Switches(["a"])
    for act in (lambda: switches.is_on("b"), lambda: switches.set("b", on=True)):
        with pytest.raises(KeyError):
            act()


def test_count_survives_the_process_that_wrote_it() -> None:
    """What a child wrote last stands there, also when it was killed."""
    count = SharedCount()
    pid = os.fork()
    if pid == 0:
        count.value = 2**40 + 7
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert count.value == 2**40 + 7


def test_pulse_grows_old_without_a_beat() -> None:
    """Its age is the time since the last one."""
    pulse = Pulse()
    time.sleep(0.05)
    assert pulse.age_s >= 0.05
    pulse.beat()
    assert pulse.age_s < 0.05 + 1.0


def test_page_refuses_what_does_not_fit_and_keeps_what_it_has() -> None:
    """The writer can tell, and writes less."""
    page = SharedPage(256)
    assert page.write({"a": 1})
    assert not page.write({"a": "x" * 300})
    assert page.read() == {"a": 1}
