"""sngrep as a HEP 3 sender, without its interface.

What was found out with sngrep 1.6.0: ``-N`` needs no terminal; ``-I FILE -H`` sends the SIP of the file and exits 0;
with ``-d lo`` the filter must be separate words, because a first word with blanks is taken as a match expression.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from .processes import WAIT_S, running, wait_until

# sngrep means 2002, but converts the 32-bit field like a 16-bit one.
CAPTURE_ID = 2002 << 16
# It writes this once its capture is open.
_READY = b"Dialog count"


def executable() -> str | None:
    """Return the path of sngrep, if there is one."""
    return shutil.which("sngrep")


def may_capture() -> bool:
    """Tell whether this process may open a packet socket, which the live capture needs."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return False
    return True


def send_file(capture: Path, collector: int) -> None:
    """Let sngrep read *capture* and send its SIP to the port *collector*."""
    argv = [*_argv(collector), "-q", "-I", str(capture)]
    subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=WAIT_S)


@contextlib.contextmanager
def watching(folder: Path, port: int, collector: int, *, before: Sequence[str] = ()) -> Iterator[None]:
    """Let sngrep watch the UDP *port* on loopback and send what it sees to the port *collector*.

    ``before`` is a command that runs it, in another namespace for instance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "sngrep.log"
    with running([*before, *_argv(collector), "-d", "lo", "udp", "port", str(port)], log) as process:
        wait_until(
            lambda: process.poll() is not None or _READY in log.read_bytes(),
            "sngrep's capture on lo",
        )
        if process.poll() is not None:
            raise RuntimeError(f"sngrep ended: {log.read_text(errors='replace')}")
        yield


def _argv(collector: int) -> list[str]:
    # -F: the user's own configuration file must not change what is sent.
    return [executable() or "sngrep", "-F", "-N", "-H", f"udp:127.0.0.1:{collector}"]
