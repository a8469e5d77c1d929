"""Pipelines as they are typed into a shell."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import SIPCAP, TIMEOUT_S, environment
from tests.support.background import children_of, is_running, wait_for
from tests.support.captured import messages_in, texts
from tests.support.messages import hep3_datagram
from tests.support.programs import need
from tests.support.receiving import send_udp

PROGRAM = " ".join(SIPCAP)


class Shell:
    """A bash that runs a pipeline in a process group of its own, as an interactive one would."""

    def __init__(self, script: str, folder: Path) -> None:
        self.said = ""
        program = f'sipcap() {{ exec {PROGRAM} "$@"; }}'
        self._process = subprocess.Popen(
            ["bash", "-c", f"{program}; {script}; echo codes ${{PIPESTATUS[*]}} >&2"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment(),
            start_new_session=True,
        )  # fmt: skip
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,))
        self._reader.start()
        self.output = b""

    def _read(self, stream: Iterator[bytes]) -> None:
        for line in stream:
            self.said += line.decode()

    @property
    def port(self) -> int:
        """Where ``listen`` hears."""
        wait_for(lambda: "listening on" in self.said, "listening")
        return int(re.findall(r"listening on udp:127\.0\.0\.1:(\d+)", self.said)[0])

    def commands(self, name: str) -> list[int]:
        """The processes whose command line has this word."""
        found = []
        for pid in children_of(self._process.pid):
            with contextlib.suppress(OSError):
                if name in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    found.append(pid)
        return found

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends SIGINT to the whole group, but this shell, which waits, goes on."""
        for pid in children_of(self._process.pid):
            os.kill(pid, signal.SIGINT)

    def finish(self) -> list[int]:
        """Wait for the end of all; their exit codes."""
        assert self._process.stdout is not None
        self.output, _ = self._process.stdout.read(), self._process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        assert "Traceback" not in self.said
        (codes,) = re.findall(r"^codes (.*)$", self.said, re.MULTILINE)
        return [int(code) for code in codes.split()]

    def close(self) -> None:
        """End what still runs."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[[str], Shell]]:
    """Runs pipelines; ``LISTEN`` stands for sipcap listen on a free port."""
    with contextlib.ExitStack() as stack:

        def start(script: str) -> Shell:
            made = Shell(script.replace("LISTEN", "sipcap listen --listen udp:127.0.0.1:0"), tmp_path)
            stack.callback(made.close)
            return made

        yield start


@pytest.mark.parametrize("children", [1, 3])
def test_pipeline_listen_store_interrupted_loses_nothing(
    shell: Callable[[str], Shell], db_path: Path, children: int
) -> None:
    """Ctrl-C on ``listen | store``: everything sent before is in the table, and both are content."""
    pipeline = shell(f"LISTEN --children {children} | sipcap store")
    send_udp(pipeline.port, *map(hep3_datagram, range(200)))
    wait_for(lambda: db_path.exists() and pipeline.commands("store"), "store")
    pipeline.interrupt()
    assert pipeline.finish() == [0, 0]
    assert messages_in(db_path) == texts(range(200))
    assert pipeline.said.count("received 200, stored 200") == 2


def test_pipeline_listen_store_stopped_in_front_drains(shell: Callable[[str], Shell], db_path: Path) -> None:
    """A stop of ``listen`` alone ends both, and loses nothing that the kernel held."""
    pipeline = shell("LISTEN | sipcap store")
    port = pipeline.port
    (pid,) = pipeline.commands("listen")
    os.kill(pid, signal.SIGSTOP)
    send_udp(port, *map(hep3_datagram, range(150)))
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    assert pipeline.finish() == [0, 0]
    assert messages_in(db_path) == texts(range(150))


def test_pipeline_listen_store_with_store_killed_ends(shell: Callable[[str], Shell]) -> None:
    """If the database side dies, ``listen`` does not go on for nobody."""
    pipeline = shell("LISTEN | sipcap store")
    send_udp(pipeline.port, hep3_datagram(0))
    wait_for(lambda: pipeline.commands("store"), "store")
    os.kill(pipeline.commands("store")[0], signal.SIGKILL)
    assert pipeline.finish() == [0, 137]


def test_pipeline_with_jq_between_stores_what_it_selects(shell: Callable[[str], Shell], db_path: Path) -> None:
    """The issue's pipeline: INVITEs only reach the table, with every column as it was."""
    need("jq")
    pipeline = shell("LISTEN --count 120 | jq 'select(.method==\"INVITE\")' | sipcap store")
    send_udp(pipeline.port, *map(hep3_datagram, range(120)))
    assert pipeline.finish() == [0, 0, 0]
    assert messages_in(db_path) == texts(range(0, 120, 12))


@pytest.mark.parametrize("children", [1, 4])
@pytest.mark.parametrize("after", ["flood", "junk", "silence"])
def test_pipeline_into_head_ends_promptly_and_quietly(shell: Callable[[str], Shell], children: int, after: str) -> None:
    """``listen | head -3`` ends with three lines, whatever comes after them, and it is no failure."""
    pipeline = shell(f"LISTEN --children {children} | head -3")
    port = pipeline.port
    send_udp(port, *map(hep3_datagram, range(3)))
    end_s = time.monotonic() + TIMEOUT_S
    while pipeline.commands("listen"):
        if after != "silence":
            send_udp(port, *([b"junk"] if after == "junk" else map(hep3_datagram, range(20))))
        time.sleep(0.005)
        assert time.monotonic() < end_s, "listen goes on without a reader"
    assert pipeline.finish() == [0, 0]
    assert pipeline.output.count(b"\n") == 3
    assert "error" not in pipeline.said


def test_pipeline_into_a_reader_that_never_was_ends(shell: Callable[[str], Shell]) -> None:
    """``listen | true`` ends, without a message."""
    assert shell("LISTEN --children 2 | true").finish() == [0, 0]


def test_pipeline_of_a_slow_reader_loses_nothing(shell: Callable[[str], Shell], tmp_path: Path) -> None:
    """A reader that sleeps between its lines gets all of them in the end."""
    pipeline = shell('LISTEN --count 60 | while read -r line; do echo "$line"; sleep 0.005; done')
    send_udp(pipeline.port, *map(hep3_datagram, range(60)))
    assert pipeline.finish() == [0, 0]
    assert pipeline.output.count(b"\n") == 60


def test_pipeline_in_the_background_leaves_no_process(shell: Callable[[str], Shell]) -> None:
    """``listen &`` in a script, killed by the script: gone with its workers."""
    pipeline = shell("LISTEN --children 2 >/dev/null & pid=$!; sleep 1; kill -INT $pid; wait $pid")
    _ = pipeline.port
    wait_for(lambda: pipeline.commands("listen"), "listen")
    workers = children_of(pipeline.commands("listen")[0])
    assert pipeline.finish() == [0]
    assert not any(map(is_running, workers))
