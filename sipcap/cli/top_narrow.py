"""The page of ``sipcap top`` where 80 columns must do: what tells how the service is, is never cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sipcap.cli.console import safe_text
from sipcap.cli.top_parts import (
    KINDS,
    LOSSES,
    addresses_of,
    counts,
    database_of,
    errors_of,
    header,
    height_of,
    short_rate_of,
    size_of,
    whole_text,
)
from sipcap.service.rates import Change, Row

_COUNTERS: Final = 42  # columns: the longest name, a count of days and a rate
_METHODS: Final = 16  # columns: SUBSCRIBE, and its rate
_STATUSES: Final = 13
_ALWAYS: Final = ("received", "stored", "reported", "pending", "spooled", *LOSSES)


def narrow_page(change: Change, place: str, console: Console, trouble: str, height: int) -> RenderableType:
    """A page; see ``page_of``. The lists of who sends most take the room that the rest leaves."""
    state = change.after
    head = header(state, place, trouble)
    rows = that_fit(change.counters(), max(height // 2 - 2, 4))
    state_grid = Table.grid(expand=True, padding=(0, 2))
    state_grid.add_column(max_width=_COUNTERS, ratio=1)
    state_grid.add_column(ratio=1)
    state_grid.add_row(
        counts("counter", rows, of_rate=short_rate_of, titles=("messages", "/s")),
        Group(_stores(change), *_listeners(state["listeners"])),
    )
    room = height - height_of(console, Group(head, state_grid)) - 3  # and three titles
    third = max(room // 3, 1)
    errors = state["errors"][-third:]
    agents = change.top("user_agents", third)
    methods = max(room - len(errors) - len(agents), 1)
    senders = Table.grid(expand=True, padding=(0, 2))
    for width in (_METHODS, _STATUSES, None):
        senders.add_column(width=width, ratio=None if width else 1)
    senders.add_row(*(
        counts(KINDS[kind], change.top(kind, methods), of_rate=short_rate_of, titles=("/s",))
        for kind in ("methods", "statuses", "sources")
    ))  # fmt: skip
    user_agents = counts(KINDS["user_agents"], agents, of_rate=short_rate_of, titles=("messages", "/s"))
    return Group(head, state_grid, senders, user_agents, errors_of(errors, "%d %H:%M:%S"))


def that_fit(rows: Sequence[Row], most: int) -> list[Row]:
    """The first counters, those of losses and of what is on its way before the others."""
    important = [row for row in rows if row.name.partition(" ")[0] in _ALWAYS]
    others = [row for row in rows if row not in important]
    kept = [*important, *others][:most]
    return [row for row in rows if row in kept]


def _stores(change: Change) -> Table:
    table = Table(box=None, expand=True, pad_edge=False)
    table.add_column("capture mode", ratio=1, overflow="fold")
    for title in ("queue", "spool"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("database", no_wrap=True)
    for store in change.after["stores"]:
        is_on = change.after["modes"].get(store["mode"], True)
        database = database_of(store) if is_on or not store["database_up"] else safe_text("off", "yellow")
        table.add_row(whole_text(store["mode"]), f"{store['queue']}", _spooled(store), database)
    times = f"batch: {change.latency('batch_s')}\ndatabase: {change.latency('database_s')}"
    table.caption = Text(times)
    table.caption_justify = "left"
    return table


def _spooled(store: Mapping[str, Any]) -> str:
    if store["spool_bytes"] is None:
        return "-"
    return f"{store['spool_records']} ({size_of(store['spool_bytes'])})" if store["spool_records"] else "0"


def _listeners(listeners: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Each with its workers on a line, and its addresses on those that they need."""
    lines = []
    for listener in listeners:
        workers = listener["workers"]
        running = sum(bool(worker["pid"]) for worker in workers)
        restarts = sum(worker["restarts"] for worker in workers)
        said = f"{running} of {len(workers)} worker(s)" + f", {restarts} restart(s)" * bool(restarts)
        style = "" if running == len(workers) else "bold red"
        lines.append(Text.assemble(whole_text(f"{listener['name']}: "), whole_text(said, style), overflow="fold"))
        lines += [whole_text(f"  {each}") for each in addresses_of(listener)]
    return lines
