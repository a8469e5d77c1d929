"""``sipcap status``: is capture on, switch it, show the state of a running service."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import closing
from typing import Any

import click
import msgspec

from sipcap.cli.asking import client_of, interval_option, socket_option, wait_or_stop
from sipcap.cli.common import common_options
from sipcap.cli.console import escape_controls
from sipcap.counters import Counters
from sipcap.service.control.client import ControlClient
from sipcap.service.control.methods import STATS, STATUS
from sipcap.stopping import Stop

_LOGGER = logging.getLogger("sipcap")


@click.command(
    "status",
    epilog="\b\nEXAMPLES\n    $ sipcap status\n    Enabled\n    $ sipcap status off --mode mode1\n    Disabled\n"
    "    $ sipcap status --json | jq .counters.received\n\n"
    "\b\nFILES\n    /run/sipcap/sipcap.sock         the control socket of a service of the system\n"
    "    $XDG_RUNTIME_DIR/sipcap.sock    of one of a user",
)
@click.argument(
    "word", metavar="[on|off|check]", required=False, default="check",
    type=click.Choice(["on", "off", "check"], case_sensitive=False), help="What to do; check only looks.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the whole state and all counters as one line of JSON.")
@click.option("--watch", is_flag=True, help="Go on, with a line every --interval seconds, until stopped.")
@interval_option
@click.option("--mode", metavar="NAME", help="One capture mode instead of all of them.")
@socket_option
@common_options
def command(
    word: str, as_json: bool, watch: bool, interval: float, mode: str | None, socket_path: str | None, **_: Any
) -> None:
    """Tell whether a running sipcap run stores what it captures, or switch that on or off.

    The answer is Enabled or Disabled, as that of the module's RPC. Off holds in every worker at once, until
    it is switched on again or the service is started anew; what is let pass meanwhile is counted
    (filtered, capture_off).
    """
    with closing(client_of(socket_path)) as client:
        answer = _ask(client, word, mode)
        if not watch:
            _write(_json_of(client) if as_json else answer)
            if mode is None and answer == "Enabled":
                _warn_of_modes(client)
            return
        stop = Stop()
        stop.install()
        while True:
            _write(_json_of(client) if as_json else _line_of(client, answer))
            if wait_or_stop(stop, interval):
                return
            answer = _ask(client, "check", mode)


def _ask(client: ControlClient, word: str, mode: str | None) -> str:
    return str(client.call(STATUS, word, *([] if mode is None else [mode])))


def _warn_of_modes(client: ControlClient) -> None:
    """Capture is on as a whole, and yet modes that were switched off by themselves store nothing."""
    off = sorted(name for name, on in client.call(STATS)["modes"].items() if not on)
    if off:
        names = ", ".join(off)
        _LOGGER.warning("switched off all the same: capture mode %s; on again with --mode NAME on", names)


def _json_of(client: ControlClient) -> str:
    return msgspec.json.encode(client.call(STATS)).decode()


def _line_of(client: ControlClient, answer: str) -> str:
    counters = Counters()
    counters.add(client.call(STATS)["counters"])
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}  {answer}  {counters.summary()}"


def _write(line: str) -> None:
    sys.stdout.write(f"{escape_controls(line)}\n")
    sys.stdout.flush()
