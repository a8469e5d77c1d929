"""The running service, asked at its control socket."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sipcap.config.settings import Settings
from sipcap.doctor.finding import Finding, fine, unknown, wrong
from sipcap.doctor.machine import MEND_CLOCK
from sipcap.errors import ControlError
from sipcap.service.control.client import ControlClient
from sipcap.service.control.methods import STATS
from sipcap.service.control.places import place_to_ask
from sipcap.service.health import ailments

_TIMEOUT_S: Final = 5.0
_LOSSES: Final = ("dropped", "rejected")


class Asked:
    """What a service said of itself.

    Args:
        path: the control socket.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.stats: dict[str, Any] = {}
        """Empty if nobody answered."""
        self.failure = ""
        with contextlib.closing(ControlClient(path, _TIMEOUT_S)) as client:
            try:
                found = client.call(STATS)
                self.stats = found if isinstance(found, dict) else {}
            except ControlError as error:
                self.failure = str(error)

    @property
    def pid(self) -> int:
        """The supervisor; 0 if nobody answered."""
        return int(self.stats.get("pid", 0))


def ask(settings: Settings, socket_path: str | None) -> Asked:
    """Ask the service of a configuration, or the one at a socket that was named."""
    configured = settings.control_socket
    return Asked(socket_path or (str(configured) if configured is not None else place_to_ask()))


def check_service(asked: Asked) -> Iterator[Finding]:
    """Look whether a service runs and is well."""
    if not asked.stats:
        yield _unanswered(asked)
        return
    stats = asked.stats
    yield fine(f"service: version {stats['version']} runs (pid {stats['pid']}) and answers at {asked.path}")
    for ailment in ailments(stats):
        yield wrong(f"service: {ailment}", "journalctl -u sipcap -n 50")
    if not stats["enabled"]:
        yield wrong("service: capture is switched off", f"sipcap status on --socket {shlex.quote(asked.path)}")
    lost = stats["counters"].get("kernel_dropped", 0)
    if lost:
        yield wrong(
            f"service: the kernel has dropped {lost} packet(s) at its sockets: the buffers are too small, or there are"
            " too few workers",
            f"sudo sysctl -w net.core.rmem_max={2 * _rmem_max()}",
        )


def _unanswered(asked: Asked) -> Finding:
    path = Path(asked.path)
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return unknown(f"service: none runs with the control socket {path}")
    except OSError as error:
        return wrong(f"service: {path}: {error.strerror}", f"sudo sipcap doctor --socket {shlex.quote(asked.path)}")
    quoted = shlex.quote(asked.path)
    if not stat.S_ISSOCK(mode):
        return wrong(f"service: {path} is no socket: no service can start with it", f"mv {quoted} {quoted}.old")
    if not os.access(path, os.W_OK):
        return wrong(f"service: the control socket {path} is not for {os.geteuid()}", f"sudo chmod g+rw {quoted}")
    if "refused" in asked.failure.lower():
        return unknown(f"service: none runs; {path} is left of one that was killed, and the next start replaces it")
    return wrong(f"service: {asked.failure}", f"sudo fuser -v {quoted}")


def check_skew(asked: Asked) -> Iterator[Finding]:
    """Look at the clocks of those who send HEP, as the running service sees them."""
    if not asked.stats:
        yield unknown("clocks of HEP senders: only a running service sees them")
        return
    counters: Mapping[str, Any] = asked.stats["counters"]
    skewed, received = counters.get("clock_skew", 0), counters.get("received", 0)
    if skewed:
        yield wrong(
            f"clocks of HEP senders: {skewed} of {received} message(s) were dated so far off that they got the time of"
            " their arrival (original_ts_us has their own); mend the sender's clock, there:",
            MEND_CLOCK,
        )
    else:
        since_s = max(time.time() - asked.stats["started_us"] / 1e6, 0.0)
        yield fine(f"clocks of HEP senders: right in all {received} message(s) of {since_s:.0f} s")


def _rmem_max() -> int:
    try:
        return int(Path("/proc/sys/net/core/rmem_max").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 32 << 20
