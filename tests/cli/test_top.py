"""``sipcap top``: a service, live, on a terminal and elsewhere."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SIPCAP, TIMEOUT_S, RunSipcap, environment
from tests.support.background import background, wait_for
from tests.support.controlling import SmallService, serving

FAST = ("--interval", "0.1")


@pytest.fixture
def service() -> SmallService:
    """One with something to show, hostile things too."""
    service = SmallService()
    service.counters.received, service.counters.stored = 12_345, 12_000
    service.counters.rejected["short"] = 345
    service.activity.methods["INVITE"] = 99
    service.activity.statuses["2xx"] = 98
    service.activity.sources.update(["10.9.8.7"] * 5 + ["sip:a@[fe80::1]:5060"])
    service.activity.user_agents.update(["evil [/b] \x1b]0;title\x07 agent"] * 5)
    service.errors = [{"ts_us": 1_700_000_000_000_000, "text": "database away: [red]\x1b[2J"}]
    return service


@pytest.fixture
def path(tmp_path: Path, service: SmallService) -> Iterator[str]:
    """Its control socket."""
    path = str(tmp_path / "control.sock")
    with serving(service, control_socket=path):
        yield path


class Terminal:
    """A program on a terminal, of 110 columns and 40 lines unless others are asked for."""

    def __init__(self, *args: str, columns: int = 110, lines: int = 40) -> None:
        self._own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            [*SIPCAP, *args],
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment({"COLUMNS": f"{columns}", "LINES": f"{lines}"}),
        )
        os.close(other)
        self.output = b""

    def read_until(self, wanted: bytes) -> None:
        """Read what is shown until something is there."""
        end_s = time.monotonic() + TIMEOUT_S
        while wanted not in self.output:
            assert time.monotonic() < end_s, self.output[-3000:]
            if select.select([self._own], [], [], 0.1)[0]:
                self.output += os.read(self._own, 65_536)

    def read_to_the_end(self) -> int:
        """Read the rest; the exit code."""
        end_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end_s:
            try:
                piece = os.read(self._own, 65_536)
            except OSError:  # EIO: nobody has the terminal open any more
                break
            self.output += piece
        return self.process.wait(TIMEOUT_S)

    def press(self, keys: bytes) -> None:
        """Press some keys."""
        os.write(self._own, keys)

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._own)[3] & termios.ECHO)

    @property
    def text(self) -> str:
        """What was shown, without the control sequences of Rich."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.output.decode())

    @property
    def pages(self) -> list[list[str]]:
        """The lines of every page that was shown whole."""
        pages = self.output.decode().split("\x1b[H")[1:-1]
        return [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", page).split("\r\n") for page in pages]

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._own)


@pytest.fixture
def terminal(path: str) -> Iterator[Terminal]:
    """``sipcap top`` on a terminal."""
    terminal = Terminal("top", *FAST, "--socket", path)
    try:
        yield terminal
    finally:
        terminal.close()


def test_top_elsewhere_writes_a_line_for_each_look(sipcap: RunSipcap, path: str) -> None:
    """The first one has rates, too: it comes after two looks; --count ends it with exit 0."""
    done = sipcap("top", *FAST, "--count", "3", "--socket", path)
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, len(lines), done.stderr) == (0, 3, b"")
    for line in lines:
        assert "Enabled  received 0.0/s  stored 0.0/s  lost 0.0/s  queue 6  INVITE 0.0/s  10.9.8.7 0.0/s" in line, line


def test_top_shows_rates(tmp_path: Path, path: str, service: SmallService) -> None:
    """What grows between two looks."""
    with background(tmp_path, "top", *FAST, "--socket", path) as top:
        wait_for(lambda: b"\n" in top.output)

        def grows() -> bool:
            service.counters.received += 1000
            return re.search(rb"received [1-9][0-9.]*/s  stored 0.0/s", top.output) is not None

        wait_for(grows)
        assert top.stop(signal.SIGINT) == 0


def test_top_waits_for_a_service_that_is_started_again(tmp_path: Path, service: SmallService) -> None:
    """And says so, on stderr; lines go on when it is back."""
    path = str(tmp_path / "x")
    first = serving(service, control_socket=path)
    with first as server, background(tmp_path, "top", *FAST, "--socket", path) as top:
        wait_for(lambda: b"Enabled" in top.output)
        server.close()
        wait_for(lambda: "waiting for the service" in top.said)
        time.sleep(0.3)
        lines = top.output.count(b"\n")
        with serving(service, control_socket=path):
            wait_for(lambda: "the service is back" in top.said)
            wait_for(lambda: top.output.count(b"\n") >= lines + 2)
            assert top.said.count("waiting for the service") == 1
            assert top.stop(signal.SIGTERM) == 0


def test_top_without_a_service_is_exit_6(sipcap: RunSipcap, tmp_path: Path) -> None:
    """It waits only for one that it has seen."""
    done = sipcap("top", "--socket", str(tmp_path / "nope"))
    assert (done.returncode, done.stdout) == (6, b"")
    assert str(tmp_path / "nope").encode() in done.stderr


def test_top_on_a_terminal_shows_a_page_until_ctrl_c(terminal: Terminal) -> None:
    """All that the issue names, and the terminal is as before afterwards."""
    terminal.read_until(b"recent errors")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.read_to_the_end() == 0
    for wanted in ("12345", "rejected short", "INVITE", "2xx", "10.9.8.7", "evil", "mode1", "hep", "Enabled"):
        assert wanted in terminal.text
    assert terminal.output.rstrip().endswith(b"\x1b[?25h\x1b[?1049l")  # the cursor, and what was there


def test_top_on_a_terminal_ends_with_q(path: str) -> None:
    """The last line says so; the terminal echoes again afterwards."""
    terminal = Terminal("top", "--interval", "3600", "--socket", path)
    try:
        terminal.read_until(b"q ends")
        assert terminal.text.rstrip().endswith("q ends")
        assert not terminal.echoes
        terminal.press(b"xQ")
        assert terminal.read_to_the_end() == 0
        assert terminal.echoes
    finally:
        terminal.close()


def test_top_on_a_terminal_lets_nothing_captured_steer_it(terminal: Terminal) -> None:
    """Control characters are pictures, and markup is text."""
    terminal.read_until(b"recent errors")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_to_the_end()
    assert "sip:a@[fe80::1]:5060" in terminal.text
    assert "evil [/b] ␛]0;title␇ agent" in terminal.text
    assert "database away: [red]␛[2J" in terminal.text
    assert b"\x1b]0;" not in terminal.output


def test_top_on_a_terminal_says_that_it_waits(tmp_path: Path, service: SmallService) -> None:
    """On the page, with what was known last, until the next service is there."""
    path = str(tmp_path / "x")
    with serving(service, control_socket=path) as server:
        terminal = Terminal("top", *FAST, "--socket", path)
        try:
            terminal.read_until(b"recent errors")
            server.close()
            terminal.read_until(b"waiting for the service")
            service.counters.received = 54_321
            with serving(service, control_socket=path):
                terminal.read_until(b"54321")
                terminal.process.send_signal(signal.SIGTERM)
                assert terminal.read_to_the_end() == 0
        finally:
            terminal.close()


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (110, 24), (120, 40)])
def test_top_on_a_small_terminal_cuts_nothing_that_matters(
    path: str, service: SmallService, columns: int, lines: int
) -> None:
    """Counters, databases, addresses, who sends most and the latest errors are whole, all on one page."""
    long_source = "2001:db8:1234:5678:9abc:def0:1234:5678"
    service.activity.sources.update([long_source] * 20)
    service.activity.methods.update(["SUBSCRIBE", "REGISTER", "OPTIONS", "NOTIFY", "BYE", "ACK", "SUBSCRIBE"])
    service.counters.rejected["missing_header"] = service.counters.dropped["worker_killed"] = 12_345_678
    for number in range(20):
        service.counters.filtered[f"reason_{number}"] = 1
    service.errors = [{"ts_us": 1_700_000_000_000_000 + number, "text": f"error {number}"} for number in range(9)]
    terminal = Terminal("top", *FAST, "--count", "3", "--socket", path, columns=columns, lines=lines)
    try:
        assert terminal.read_to_the_end() == 0
    finally:
        terminal.close()
    page = next(page for page in terminal.pages if any(map(str.strip, page)))
    assert len(page) <= lines
    assert max(map(len, page)) <= columns
    text = "\n".join(page)
    for wanted in (
        "rejected missing_header", "dropped worker_killed", "12345678", "12345", "capture mode", "queue", "spool",
        "database", "mode1", "udp:127.0.0.1:9060", "1 of 1", "SUBSCRIBE", "2xx", "user agent", "error 8",
    ):  # fmt: skip
        assert wanted in text, text
    assert long_source in text
