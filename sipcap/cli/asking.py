"""What the clients of a running service share: where it is, and a wait between two questions."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import click

from sipcap.service.control.client import TIMEOUT_S, ControlClient
from sipcap.service.control.places import SOCKET_VARIABLE, place_to_ask
from sipcap.stopping import Stop

_LOOK_S: Final = 0.05

socket_option = click.option(
    "--socket", "socket_path", envvar=SOCKET_VARIABLE, metavar="PATH",
    help="The control socket of the service.  [default: /run/sipcap/sipcap.sock, $XDG_RUNTIME_DIR/sipcap.sock]",
)  # fmt: skip

interval_option = click.option(
    "--interval", type=click.FloatRange(0.1, 86_400), default=1.0, show_default=True, metavar="SECONDS",
    help="Between two looks at the service.",
)  # fmt: skip


def client_of(socket_path: str | None, timeout_s: float = TIMEOUT_S) -> ControlClient:
    """A client for the option ``--socket``."""
    return ControlClient(socket_path or place_to_ask(), timeout_s)


def wait_or_stop(stop: Stop, seconds: float, ends: Callable[[], bool] = lambda: False) -> bool:
    """Let time pass, or less if a stop is wanted, by a signal or because it *ends*; whether it is."""
    until_s = time.monotonic() + seconds
    while not stop.requested and (left_s := until_s - time.monotonic()) > 0:
        if ends():
            stop.request()
        else:
            time.sleep(min(left_s, _LOOK_S))
    return stop.requested
