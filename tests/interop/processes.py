"""Start peers, wait for them with a bound, and end exactly what was started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

# Long enough for a loaded two-core machine, short enough that a hang is seen as a failure and not as patience.
WAIT_S = 20.0
STOP_S = 10.0


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
    """Poll *condition* until it holds; fail naming *what* when it does not within *timeout_s*."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.002)


def free_udp_port(family: socket.AddressFamily = socket.AF_INET) -> int:
    """Return a UDP port of the loopback interface that was free a moment ago."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def udp_is_bound(port: int, *, pid: int | str = "self", protocol: str = "udp") -> bool:
    """Tell whether some process has a socket on *port*, in the network that the process *pid* sees.

    Read from the kernel's table, because a probe datagram would be one more message for the peer to count.
    """
    suffix = f":{port:04X}"
    for table in (f"/proc/{pid}/net/{protocol}", f"/proc/{pid}/net/{protocol}6"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
            if any(line.split()[1].endswith(suffix) for line in lines):
                return True
    return False


def stop(process: subprocess.Popen[bytes]) -> int:
    """End *process* and its children by the group's id, politely first; return the exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait(STOP_S)


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    log: Path,
    *,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run *argv* in the folder of *log*, both streams into *log* unless *stdout* is given, and stop it on leaving."""
    with log.open("wb") as stream:
        process = subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=stream if stdout is None else stdout,
            stderr=stream,
            cwd=log.parent,
            env=None if env is None else {**os.environ, **env},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)
