"""A progress bar on stderr, for people who wait for a file."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from sipcap.cli.common import Env
from sipcap.cli.console import wants_color
from sipcap.sources.replayed import ReplaySource

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_INTERVAL_S: Final = 0.1


class ReplayProgress:
    """Shows how much of the captures has been read; nothing unless stderr is a terminal and -q is not given.

    It is a context manager; ``update`` is cheap enough to be called for every message.

    Args:
        source: what is read.
        paths: its files.
        loops: how many times they are read.
        shown: False if lines go to the same terminal.
    """

    def __init__(self, source: ReplaySource, paths: tuple[str, ...], loops: int, *, shown: bool) -> None:
        self._source = source
        self._shown = shown and sys.stderr.isatty() and Env.current().verbosity >= 0
        self._total = _total_bytes(paths, loops)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._next_s = 0.0

    def __enter__(self) -> Self:
        if self._shown:
            self._start()
        return self

    def _start(self) -> None:
        from rich.console import Console  # noqa: PLC0415  # a tenth of a second that pipes do not pay for
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn  # noqa: PLC0415

        console = Console(stderr=True, no_color=not wants_color(Env.current().color, sys.stderr))
        columns = (
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[received]} messages of {task.fields[packets]} packets"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        # It must not touch stdout: records go there.
        self._bar = Progress(
            *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False, auto_refresh=False
        )
        self._task = self._bar.add_task("replay", total=self._total, received=0, packets=0)
        self._bar.start()

    def update(self) -> None:
        """Show where we are, ten times a second at most."""
        if self._bar is None or self._task is None:
            return
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + _INTERVAL_S
        stats = self._source.stats
        self._bar.update(self._task, completed=self._source.used_bytes, received=stats.received, packets=stats.packets)
        self._bar.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def _total_bytes(paths: tuple[str, ...], loops: int) -> int | None:
    """The size of all files; None if one of them is a pipe."""
    total = 0
    for path in paths:
        file = Path("/dev/stdin" if path == "-" else path)
        if not file.is_file():
            return None
        total += file.stat().st_size
    return total * loops
