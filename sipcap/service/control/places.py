"""Where the control socket is when nobody says: one list for ``run`` and its clients (design 1.4)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

SOCKET_VARIABLE: Final = "SIPCAP_STATUS_SOCKET"
SYSTEM_FOLDER: Final = "/run/sipcap"
_NAME: Final = "sipcap.sock"


def places() -> list[str]:
    """Where a control socket may be, the first choice first; the variable is the only choice where it is set."""
    if path := os.environ.get(SOCKET_VARIABLE):
        return [path]
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [f"{folder}/{_NAME}" for folder in (SYSTEM_FOLDER, own) if folder]


def place_to_serve() -> str | None:
    """Where a service that nobody told makes its socket: in the first folder that may be written to.

    That of the system is made if it is missing, which root may.
    """
    if path := os.environ.get(SOCKET_VARIABLE):
        return path
    with contextlib.suppress(OSError):
        Path(SYSTEM_FOLDER).mkdir(mode=0o755)
    return next((path for path in places() if os.access(Path(path).parent, os.W_OK | os.X_OK)), None)


def place_to_ask() -> str:
    """Where a client that nobody told looks: the first that is there, else the first at all."""
    known = places()
    return next((path for path in known if Path(path).exists()), known[0])
