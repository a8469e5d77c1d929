"""``sipcap top``: a running service, live."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Final

import click

from sipcap.cli.asking import client_of, interval_option, socket_option, wait_or_stop
from sipcap.cli.common import Env, common_options
from sipcap.cli.console import wants_color
from sipcap.cli.keys import Keys
from sipcap.service.control.client import ControlClient, Unreachable
from sipcap.service.control.methods import STATS
from sipcap.service.control.places import place_to_ask
from sipcap.service.rates import Change, is_same_process
from sipcap.stopping import Stop

_TIMEOUT_S: Final = 2.0
_FIRST_S: Final = 1.0  # between the two looks that the first line needs, for its rates
_LOGGER = logging.getLogger("sipcap")

Show = Callable[[Change, str], None]
"""Shows the latest change; the text says why there is nothing newer."""


@click.command("top", epilog="\b\nEXAMPLES\n    $ sipcap top\n    $ sipcap top --interval 60 >> rates.log")
@interval_option
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many looks.  [default: go on]")
@socket_option
@common_options
def command(interval: float, count: int | None, socket_path: str | None, **_: Any) -> None:
    """Show what a running sipcap run receives, stores and loses, and who sends it.

    On a terminal it is a page with counters, rates, the methods, sources and user agents that send most, and the
    latest errors; elsewhere a line for every look, the first one after a second. q or Ctrl-C ends it. When the
    service goes away it waits for the next one.
    """
    stop = Stop()
    stop.install()
    place = socket_path or place_to_ask()
    with closing(client_of(place, _TIMEOUT_S)) as client:
        is_page = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        watch = _Watch(client, stop, interval, count, says=not is_page)
        if is_page:
            _on_page(watch, place, stop)
        else:
            watch.run(_show_line)


def _on_page(watch: _Watch, place: str, stop: Stop) -> None:
    from rich.console import Console  # noqa: PLC0415  # a tenth of a second that pipes do not pay for
    from rich.live import Live  # noqa: PLC0415

    from sipcap.cli.top_view import page_of  # noqa: PLC0415

    watch.look()  # whoever is not there shows before the screen is cleared
    console = Console(no_color=not wants_color(Env.current().color, sys.stdout))
    with Keys() as keys, Live(
        console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    ) as live:  # fmt: skip
        stop.leaving.append(keys.close)
        footer = "q ends" if keys.are_heard else ""

        def show(change: Change, trouble: str) -> None:
            live.update(page_of(change, place, console, trouble, footer), refresh=True)

        watch.run(show, lambda: keys.pressed(b"q"))


def _show_line(change: Change, trouble: str) -> None:
    from sipcap.cli.top_view import line_of  # noqa: PLC0415

    if not trouble:
        sys.stdout.write(f"{line_of(change)}\n")
        sys.stdout.flush()


class _Watch:
    """Looks at the service again and again.

    Args:
        client: asks it.
        stop: when to end.
        interval_s: between two looks.
        count: how many are shown; None = until the stop.
        says: whether to log that it waits, and to begin with two looks.
    """

    def __init__(self, client: ControlClient, stop: Stop, interval_s: float, count: int | None, *, says: bool) -> None:
        self._client = client
        self._stop = stop
        self._interval_s = interval_s
        self._count = count
        self._begins_with_two = says
        self._level = logging.WARNING if says else logging.DEBUG  # a line of the log would break the page
        self._change: Change | None = None
        self._state: Mapping[str, Any] | None = None
        self._at_s = 0.0
        self._trouble = ""

    def look(self) -> Change:
        """Ask once.

        Raises:
            ControlError: nobody answers, or it refused.
        """
        state, now_s = self._client.call(STATS), time.monotonic()
        change = Change(self._state, state, now_s - self._at_s)
        if self._state is not None and (self._trouble or not is_same_process(self._state, state)):
            _LOGGER.log(self._level, "the service is back")
        self._state, self._at_s, self._trouble, self._change = state, now_s, "", change
        return change

    def run(self, show: Show, ends: Callable[[], bool] = lambda: False) -> None:
        """Look and show until it is enough, or somebody *ends* it; the first look must succeed."""
        change = self._change or self.look()
        if self._begins_with_two:
            if wait_or_stop(self._stop, min(self._interval_s, _FIRST_S), ends):
                return
            change = self._look_again(change)
        shown = 0
        while True:
            show(change, self._trouble)
            shown += 1
            if shown == self._count or wait_or_stop(self._stop, self._interval_s, ends):
                return
            change = self._look_again(change)

    def _look_again(self, change: Change) -> Change:
        """The latest change; the one before, if nobody answers."""
        try:
            return self.look()
        except Unreachable as error:
            if not self._trouble:
                _LOGGER.log(self._level, "waiting for the service: %s", error)
            self._trouble = f"waiting for the service: {error}"
            return change
