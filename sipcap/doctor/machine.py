"""Clock and capabilities of this machine."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sipcap.doctor.finding import Finding, fine, unknown, wrong

_UNSYNCHRONISED: Final = 0x40  # STA_UNSYNC
_ERROR: Final = 5  # TIME_ERROR
_TIMEX_BYTES: Final = 512  # struct timex has 208
_STATUS_AT: Final = ctypes.sizeof(ctypes.c_int) * 2 + ctypes.sizeof(ctypes.c_long) * 4
"""modes, padding, offset, freq, maxerror, esterror come before status (adjtimex(2)); on 32 bits there is no padding."""

MEND_CLOCK: Final = "sudo timedatectl set-ntp true"
_TIMESYNCD: Final = Path("/lib/systemd/systemd-timesyncd")


def mend_clock() -> str:
    """What keeps this machine's clock right: what is installed, else something that can be."""
    if _TIMESYNCD.exists():
        return MEND_CLOCK
    if shutil.which("chronyd", path="/usr/sbin:/usr/local/sbin"):
        return "sudo systemctl enable --now chrony"
    return "sudo apt-get install -y chrony"


def clock_is_synchronised() -> bool | None:
    """Whether the kernel's clock is kept right by somebody; None = it does not say."""
    asked = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes 0: only read
    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(asked)
    except (AttributeError, OSError):
        return None
    if state < 0:
        return None
    at = _STATUS_AT if ctypes.sizeof(ctypes.c_long) == 8 else _STATUS_AT - ctypes.sizeof(ctypes.c_int)
    status = ctypes.c_int.from_buffer(asked, at).value
    return state != _ERROR and not status & _UNSYNCHRONISED


def check_clock() -> Iterator[Finding]:
    """Records of captured packets have this machine's time, and so have the tables that they go into."""
    found = clock_is_synchronised()
    if found is None:
        yield unknown("clock: the kernel does not say whether it is synchronised")
    elif found:
        yield fine("clock: synchronised")
    else:
        yield wrong("clock: nobody keeps it right (adjtimex: unsynchronised)", mend_clock())


def has_capability(number: int) -> bool:
    """Whether this process has a capability (capabilities(7))."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return os.geteuid() == 0
    mask = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(mask, 16) >> number & 1)
