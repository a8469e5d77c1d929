"""Whether a running service does its work: what ``/healthz`` says."""

from __future__ import annotations

from typing import Any


def ailments(stats: dict[str, Any]) -> list[str]:
    """What is wrong, a line each; empty = healthy.

    A service is healthy while all its processes live, and each database takes records or the spool does
    instead. Capture that is switched off is none of its ailments.

    Args:
        stats: ``Controller.stats()``.
    """
    found = [
        f"listener {listener['name']}: {missing} of {len(listener['workers'])} workers not running"
        for listener in stats["listeners"]
        if (missing := sum(not worker["pid"] for worker in listener["workers"]))
    ]
    if stats["sorting"] is not None and not stats["sorting"]["pid"]:
        found.append("the sorting process is not running: nothing reaches a database")
    for store in stats["stores"]:
        if store["database_up"]:
            continue
        if not store["pid"]:
            found.append(f"capture mode {store['mode']}: its storing process is not running")
        elif not store["database_tried"]:
            continue  # nothing has been for it yet
        elif store["spool_bytes"] is None:
            found.append(f"capture mode {store['mode']}: the database is away, and there is no spool")
        elif store["spool_full"]:
            found.append(f"capture mode {store['mode']}: the database is away, and the spool is full")
    return found
