"""``sipcap`` as a process that runs while the test does something: started, asked, stopped, always ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.conftest import SIPCAP, TIMEOUT_S, environment

_LISTENING = re.compile(r"listening on (?:udp|tcp|tls):.*:(\d+)")


def wait_for(condition: Callable[[], Any], what: str = "it") -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not happen"
        time.sleep(0.01)


class Background:
    """A running process whose stderr, and stdout if it is a pipe of ours, are read all the time.

    Args:
        args: of ``sipcap``.
        folder: where it runs.
        stdout: where its output goes; None = it is collected.
        before: a command line that runs the program, like ``prlimit`` or ``sh -c``.
    """

    def __init__(
        self,
        args: Sequence[str],
        folder: Path,
        *,
        stdout: int | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.output = b""
        self.said = ""
        self._process = subprocess.Popen(
            [*before, *SIPCAP, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdout is None else stdout,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=environment({"XDG_STATE_HOME": str(folder / ".state"), **(env or {})}),
            start_new_session=True,
        )
        self.pid = self._process.pid
        assert self._process.stderr is not None
        self._readers = [threading.Thread(target=self._read_stderr, args=(self._process.stderr,))]
        if self._process.stdout is not None:
            self._readers.append(threading.Thread(target=self._read_stdout, args=(self._process.stdout,)))
        for reader in self._readers:
            reader.start()

    def _read_stderr(self, stream: IO[bytes]) -> None:
        for line in stream:
            self.said += line.decode()

    def _read_stdout(self, stream: IO[bytes]) -> None:
        while piece := os.read(stream.fileno(), 1 << 20):
            self.output += piece

    def ports(self, number: int = 1) -> list[int]:
        """The ports that it says it hears, once there are so many."""
        wait_for(lambda: self.ended or len(_LISTENING.findall(self.said)) >= number, "listening")
        found = [int(port) for port in _LISTENING.findall(self.said)]
        assert len(found) >= number, self.said
        return found

    @property
    def port(self) -> int:
        """The first one."""
        return self.ports()[0]

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return self._process.poll() is not None

    @property
    def workers(self) -> list[int]:
        """Its child processes."""
        return children_of(self.pid)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The records that it has written."""
        return [json.loads(line) for line in self.output.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """The counters at its end, with ``--log-format json``."""
        found = [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]  # no traceback of a hook
        counters: dict[str, Any] = next(line for line in reversed(found) if "received" in line)
        return counters

    def send_signal(self, number: int) -> None:
        """Send a signal to the process alone."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the end; its exit code."""
        code = self._process.wait(TIMEOUT_S)
        for reader in self._readers:
            reader.join(TIMEOUT_S)
        return code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it with a signal; its exit code."""
        self.send_signal(number)
        return self.wait()

    def close(self) -> None:
        """End it and its workers, whatever they do."""
        for pid in [*self.workers, self.pid] if not self.ended else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


Start = Callable[..., Background]
"""Starts a command with the arguments given; it is ended behind the test."""


@contextlib.contextmanager
def background(
    folder: Path,
    *args: str,
    stdout: int | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    before: Sequence[str] = (),
) -> Iterator[Background]:
    """A Background that is ended behind the test."""
    process = Background(args, folder, stdout=stdout, env=env, before=before)
    try:
        yield process
    finally:
        process.close()


def children_of(pid: int) -> list[int]:
    """Direct children of a process; none if it is gone."""
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def forked_workers() -> list[int]:
    """Children of this process that were forked and run no program of their own: no servers that fixtures started."""
    own = Path("/proc/self/cmdline").read_bytes()
    workers = []
    for pid in children_of(os.getpid()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes() == own and is_running(pid):
                workers.append(pid)
    return workers


def is_running(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def imbalance(counters: Mapping[str, Any]) -> int:
    """Messages of a summary that are accounted for nowhere (design 1.9)."""
    out = sum(counters[name] for name in ("stored", "reported", "dead_letter", "spooled", "pending"))
    reasons = sum(sum(counters[name].values()) for name in ("filtered", "rejected", "dropped"))
    return int(counters["received"] + counters["recovered"] - out - reasons)
