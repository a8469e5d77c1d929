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

_ENTRY = re.compile(rb"-{40,} [^\n]*\n(?:UDP|TCP) message (sent|received) [\[(](\d+)(?: bytes\)|\] bytes) ?:\n\n")


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a SIPp runs: its address, what runs it there, and its transport, ``u1`` (UDP) or ``t1`` (TCP)."""

    host: str = "127.0.0.1"
    before: tuple[str, ...] = ()
    transport: str = "u1"


HERE = Place()


@contextlib.contextmanager
def answering(folder: Path, place: Place = HERE) -> Iterator[Callee]:
    """Run a callee with the built-in scenario."""
    folder.mkdir(parents=True, exist_ok=True)
    port, messages = free_udp_port(), folder / "callee-messages.log"
    argv = [*_argv("uas", port, messages, place)]
    protocol = "udp" if place.transport == "u1" else "tcp"
    with running(argv, folder / "callee.log") as process:
        wait_until(
            lambda: process.poll() is not None or udp_is_bound(port, pid=process.pid, protocol=protocol),
            "the SIPp callee",
        )
        if process.poll() is not None:
            raise RuntimeError(f"the SIPp callee ended with {process.returncode}")
        yield Callee(port, messages)


def call(folder: Path, destination: int, calls: int, *, host: str = "127.0.0.1", place: Place = HERE) -> list[Sent]:
    """Make *calls* calls to the port *destination* and return the caller's messages, both directions, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    port, messages = free_udp_port(), folder / "caller-messages.log"
    pace = ["-m", str(calls), "-r", "50", "-d", "10"]
    argv = [*_argv("uac", port, messages, place), *pace, f"{host}:{destination}"]
    with (folder / "caller.log").open("wb") as log:
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, check=True, timeout=WAIT_S)
    return _messages(messages, port, destination)


def _argv(scenario: str, port: int, messages: Path, place: Place) -> list[str]:
    program = executable() or "sipp"
    trace = ["-trace_msg", "-message_file", str(messages)]
    where = ["-i", place.host, "-p", str(port), "-t", place.transport]
    return [*place.before, program, "-sn", scenario, *where, "-nostdin", *trace]


def _messages(log: Path, own: int, peer: int) -> list[Sent]:
    data = log.read_bytes() if log.exists() else b""
    found = []
    for entry in _ENTRY.finditer(data):
        payload = data[entry.end() : entry.end() + int(entry[2])]
        ports = (own, peer) if entry[1] == b"sent" else (peer, own)
        found.append(Sent(*ports, payload))
    return found
