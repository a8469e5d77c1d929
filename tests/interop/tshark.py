"""tshark as a second reader of captures."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .processes import WAIT_S

_FIELDS = ("sip.Method", "sip.Status-Code", "sip.Call-ID")


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """One SIP message: its method, or the status code of a reply, and its Call-ID."""

    method: str
    call_id: str


def executable() -> str | None:
    """Return the path of tshark, if there is one."""
    return shutil.which("tshark")


def read(capture: Path) -> list[Seen]:
    """Return the SIP messages that tshark finds in *capture*, in the order of the file."""
    argv = [executable() or "tshark", "-n", "-r", str(capture), "-Y", "sip", "-T", "fields", "-E", "separator=/t"]
    for field in _FIELDS:
        argv += ["-e", field]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=WAIT_S)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [Seen(method or status, call_id) for method, status, call_id in (line.split("\t") for line in lines)]
