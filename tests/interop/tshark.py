"""tshark as a second reader of captures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .processes import WAIT_S

_LENIENT = ("-o", "udp.ignore_ipv6_zero_checksum:TRUE")
_BETWEEN = "|"
_FIELDS = ("sip.Method", "sip.Status-Code", "sip.Call-ID")


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """One SIP message: its method, or the status code of a reply, and its Call-ID."""

    method: str
    call_id: str


def executable() -> str | None:
    """Return the path of tshark, if there is one."""
    return shutil.which("tshark")


def read(capture: Path, options: Sequence[str] = ()) -> list[Seen]:
    """Return the SIP messages that tshark finds in *capture*, in the order of the file.

    Args:
        capture: a file.
        options: more arguments, as for protocols that tshark has to be told the port of.
    """
    argv = [executable() or "tshark", "-n", "-r", str(capture), "-Y", "sip", *_LENIENT, *options]
    argv += ["-T", "fields", "-E", "separator=/t", "-E", f"aggregator={_BETWEEN}"]
    for field in _FIELDS:
        argv += ["-e", field]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=WAIT_S)
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    return [seen for line in lines for seen in _of_packet(*line.split("\t"))]


def _of_packet(methods: str, statuses: str, call_ids: str) -> Iterator[Seen]:
    """The messages of one packet, which are all requests or all replies in these tests."""
    for method, call_id in zip((methods or statuses).split(_BETWEEN), call_ids.split(_BETWEEN), strict=True):
        yield Seen(method, call_id)
