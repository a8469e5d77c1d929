"""What ``sipcap top`` shows: a page for a terminal, a line for all else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sipcap.cli.console import escape_controls, safe_text
from sipcap.cli.top_narrow import narrow_page, that_fit
from sipcap.cli.top_parts import (
    KINDS,
    LOSSES,
    addresses_of,
    counts,
    database_of,
    errors_of,
    header,
    height_of,
    rate_of,
    size_of,
    whole_text,
    word_of,
)
from sipcap.service.rates import Change

_WIDE: Final = 110  # columns that two tables of everything beside each other need
_HIGH: Final = 32  # lines that they need one below the other
_ERRORS: Final = 5


def line_of(change: Change) -> str:
    """One line without its end."""
    state = change.after
    tops = (f"{row.name} {rate_of(row.rate)}" for kind in ("methods", "sources") for row in change.top(kind, 1))
    queue = sum(store["queue"] for store in state["stores"])
    parts = [
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        word_of(state["enabled"]),
        f"received {rate_of(change.counter('received'))}",
        f"stored {rate_of(change.counter('stored', 'reported'))}",
        f"lost {rate_of(change.counter(*LOSSES))}",
        f"queue {queue}",
        *tops,
    ]
    return "  ".join(map(escape_controls, parts))


def page_of(change: Change, place: str, console: Console, trouble: str = "", footer: str = "") -> RenderableType:
    """A page.

    Args:
        change: the latest two looks.
        place: where the service was asked.
        console: whose size it fits into.
        trouble: why there is nothing newer; empty if there is.
        footer: the last line; empty = there is none.
    """
    height = console.height - bool(footer)
    is_narrow = console.width < _WIDE or console.height < _HIGH
    page = (narrow_page if is_narrow else _wide_page)(change, place, console, trouble, height)
    return Group(page, safe_text(footer, "dim")) if footer else page


def _wide_page(change: Change, place: str, console: Console, trouble: str, height: int) -> RenderableType:
    errors = errors_of(change.after["errors"][-_ERRORS:])
    grid = Table.grid(expand=True, padding=(0, 2))
    for _ in range(2):
        grid.add_column(ratio=1)
    rows = that_fit(change.counters(), height // 2)
    grid.add_row(counts("counter", rows), Group(_stores(change), Text(), _listeners(change.after)))
    grid.add_row()
    head = header(change.after, place, trouble)
    room = height - height_of(console, Group(head, grid, errors)) - 4
    for left, right in (("methods", "statuses"), ("sources", "user_agents")):
        grid.add_row(*(counts(KINDS[kind], change.top(kind, max(room // 2, 3))) for kind in (left, right)))
        grid.add_row()
    return Group(head, grid, errors)


def _stores(change: Change) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    for title in ("capture mode", "", "queue", "spool", "database"):
        table.add_column(title, no_wrap=True)
    for store in change.after["stores"]:
        spool = "-" if store["spool_bytes"] is None else f"{store['spool_records']} ({size_of(store['spool_bytes'])})"
        is_on = change.after["modes"].get(store["mode"], True)
        table.add_row(
            safe_text(store["mode"]),
            safe_text(word_of(is_on)),
            safe_text(f"{store['queue']}"),
            safe_text(spool),
            database_of(store),
        )
    times = f"batch: {change.latency('batch_s')}, database: {change.latency('database_s')}"
    table.caption = safe_text(times)
    table.caption_justify = "left"
    return table


def _listeners(state: Mapping[str, Any]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    for title in ("listener", "workers", "restarts"):
        table.add_column(title, no_wrap=True)
    table.add_column("addresses", overflow="fold")
    for listener in state["listeners"]:
        workers = listener["workers"]
        running = sum(bool(worker["pid"]) for worker in workers)
        table.add_row(
            safe_text(listener["name"]),
            safe_text(f"{running} of {len(workers)}", "" if running == len(workers) else "bold red"),
            safe_text(f"{sum(worker['restarts'] for worker in workers)}"),
            whole_text("\n".join(addresses_of(listener))),
        )
    return table
