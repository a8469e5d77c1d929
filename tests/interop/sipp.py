"""SIPp as caller and callee; its message log is the truth about what was on the wire."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .processes import WAIT_S, free_udp_port, running, udp_is_bound, wait_until

# The built-in scenarios: INVITE, 180, 200, ACK, BYE, 200.
MESSAGES_A_CALL = 6

_ENTRY = re.compile(rb"-{40,} [^\n]*\nUDP message (sent|received) [\[(](\d+)(?: bytes\)|\] bytes) ?:\n\n")


@dataclass(frozen=True, slots=True, order=True)
class Sent:
    """One message as it was on the wire between two ports of loopback."""

    source_port: int
    destination_port: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Callee:
    """A running callee."""

    port: int
    log: Path

    def messages(self, peer: int) -> list[Sent]:
        """Return what went between the callee and the port *peer* so far."""
        return _messages(self.log, self.port, peer)


def executable() -> str | None:
    """Return the path of SIPp, if there is one."""
    return shutil.which("sipp")


@contextlib.contextmanager
def answering(folder: Path) -> Iterator[Callee]:
    """Run a callee with the built-in scenario."""
    folder.mkdir(parents=True, exist_ok=True)
    port, messages = free_udp_port(), folder / "callee-messages.log"
    argv = [*_argv("uas", port, messages)]
    with running(argv, folder / "callee.log") as process:
        wait_until(lambda: process.poll() is not None or udp_is_bound(port), "the SIPp callee")
        if process.poll() is not None:
            raise RuntimeError(f"the SIPp callee ended with {process.returncode}")
        yield Callee(port, messages)


def call(folder: Path, destination: int, calls: int) -> list[Sent]:
    """Make *calls* calls to the port *destination* and return the caller's messages, both directions, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    port, messages = free_udp_port(), folder / "caller-messages.log"
    argv = [*_argv("uac", port, messages), "-m", str(calls), "-r", "50", "-d", "10", f"127.0.0.1:{destination}"]
    with (folder / "caller.log").open("wb") as log:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, check=True, timeout=WAIT_S)
    return _messages(messages, port, destination)


def _argv(scenario: str, port: int, messages: Path) -> list[str]:
    program = executable() or "sipp"
    trace = ["-trace_msg", "-message_file", str(messages)]
    return [program, "-sn", scenario, "-i", "127.0.0.1", "-p", str(port), "-nostdin", *trace]


def _messages(log: Path, own: int, peer: int) -> list[Sent]:
    data = log.read_bytes() if log.exists() else b""
    found = []
    for entry in _ENTRY.finditer(data):
        payload = data[entry.end() : entry.end() + int(entry[2])]
        ports = (own, peer) if entry[1] == b"sent" else (peer, own)
        found.append(Sent(*ports, payload))
    return found
