"""What ``sipcap top`` shows: a page for a terminal, a line for all else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sipcap.cli.console import escape_controls, safe_text
from sipcap.service.rates import Change, Row

_LOSSES: Final = ("rejected", "dropped", "dead_letter", "kernel_dropped")
_ERRORS: Final = 5
_KINDS: Final = {"methods": "method", "statuses": "status", "sources": "source", "user_agents": "user agent"}


def line_of(change: Change) -> str:
    """One line without its end."""
    state = change.after
    tops = (f"{row.name} {_rate(row.rate)}" for kind in ("methods", "sources") for row in change.top(kind, 1))
    queue = sum(store["queue"] for store in state["stores"])
    parts = [
        time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
        _word(state["enabled"]),
        f"received {_rate(change.counter('received'))}",
        f"stored {_rate(change.counter('stored', 'reported'))}",
        f"lost {_rate(change.counter(*_LOSSES))}",
        f"queue {queue}",
        *tops,
    ]
    return "  ".join(map(escape_controls, parts))


def page_of(change: Change, place: str, height: int, trouble: str = "") -> RenderableType:
    """A page.

    Args:
        change: the latest two looks.
        place: where the service was asked.
        height: lines of the terminal.
        trouble: why there is nothing newer; empty if there is.
    """
    entries = max((height - 12) // 2, 3)
    grid = Table.grid(expand=True, padding=(0, 2))
    for _ in range(2):
        grid.add_column(ratio=1)
    grid.add_row(_counts("counter", change.counters()), Group(_stores(change), Text(), _listeners(change.after)))
    grid.add_row()
    for left, right in (("methods", "statuses"), ("sources", "user_agents")):
        grid.add_row(*(_counts(_KINDS[kind], change.top(kind, entries)) for kind in (left, right)))
        grid.add_row()
    return Group(_header(change.after, place, trouble), grid, _errors(change.after["errors"]))


def _header(state: Mapping[str, Any], place: str, trouble: str) -> RenderableType:
    up_s = max(int(time.time() - state["started_us"] / 1_000_000), 0)
    days, rest = divmod(up_s, 86_400)
    up = f"{days} d " * bool(days) + time.strftime("%H:%M:%S", time.gmtime(rest))
    first = Text.assemble(
        safe_text(f"sipcap {state['version']}  pid {state['pid']}  up {up}  {place}  "),
        safe_text(_word(state["enabled"]), "bold green" if state["enabled"] else "bold yellow"),
    )
    return Group(first, safe_text(trouble, "bold red"))


def _counts(title: str, rows: Iterable[Row]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    table.add_column(title, ratio=1, no_wrap=True)
    table.add_column("messages", justify="right", no_wrap=True)
    table.add_column("a second", justify="right", no_wrap=True)
    for row in rows:
        style = "red" if row.name.partition(" ")[0] in _LOSSES and row.count else ""
        table.add_row(safe_text(row.name, style), safe_text(f"{row.count}", style), safe_text(_rate(row.rate), style))
    return table


def _stores(change: Change) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    for title in ("capture mode", "", "queue", "spool", "database"):
        table.add_column(title, no_wrap=True)
    for store in change.after["stores"]:
        spool = "-" if store["spool_bytes"] is None else f"{store['spool_records']} ({_size(store['spool_bytes'])})"
        database = safe_text("up") if store["database_up"] else safe_text("away", "bold red")
        is_on = change.after["modes"].get(store["mode"], True)
        table.add_row(
            safe_text(store["mode"]),
            safe_text(_word(is_on)),
            safe_text(f"{store['queue']}"),
            safe_text(spool),
            database,
        )
    times = f"batch: {change.latency('batch_s')}, database: {change.latency('database_s')}"
    table.caption = safe_text(times)
    table.caption_justify = "left"
    return table


def _listeners(state: Mapping[str, Any]) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    for title in ("listener", "workers", "restarts", "addresses"):
        table.add_column(title, no_wrap=True)
    for listener in state["listeners"]:
        workers = listener["workers"]
        running = sum(bool(worker["pid"]) for worker in workers)
        table.add_row(
            safe_text(listener["name"]),
            safe_text(f"{running} of {len(workers)}", "" if running == len(workers) else "bold red"),
            safe_text(f"{sum(worker['restarts'] for worker in workers)}"),
            safe_text(", ".join(map(str, listener["addresses"]))),
        )
    return table


def _errors(errors: list[Mapping[str, Any]]) -> RenderableType:
    lines = [
        safe_text(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(each['ts_us'] // 1_000_000))}  {each['text']}")
        for each in errors[-_ERRORS:]
    ]
    return Group(safe_text("recent errors", "bold"), *lines) if lines else Text()


def _word(is_on: bool) -> str:
    return "Enabled" if is_on else "Disabled"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}/s"


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1_000_000:.1f} MB"
