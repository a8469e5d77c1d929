"""How ``sipcap tables`` shows what it finds and does: NDJSON, or a line for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from sipcap.cli.console import escape_controls
from sipcap.quantities import size_text

format_option = click.option(
    "--format", "output_format", type=click.Choice(["auto", "json", "line"]), default="auto", show_default=True,
    help="auto: NDJSON into a pipe or file, lines for people on a terminal.",
)  # fmt: skip


def printer(output_format: str) -> Callable[[Iterable[dict[str, Any]]], None]:
    """Choose how objects are written to stdout; each is there at once."""
    is_json = output_format == "json" or (output_format == "auto" and not sys.stdout.isatty())
    form = _json if is_json else _line

    def show(objects: Iterable[dict[str, Any]]) -> None:
        for keys in objects:
            sys.stdout.write(f"{form(keys)}\n")
        sys.stdout.flush()

    return show


def _json(keys: dict[str, Any]) -> str:
    return json.dumps(keys, ensure_ascii=False, separators=(",", ":"))


def _line(keys: dict[str, Any]) -> str:
    """The same for people; a name cannot move the cursor."""
    name = keys.get("table", "")
    if keys.get("partition"):
        name += f".{keys['partition']}"
    words = [keys.get("action", ""), name]
    if "size_bytes" in keys:
        about = "" if keys.get("exact", True) else "about "
        words.append(f"{about}{size_text(keys['size_bytes'])}")
    if "rows" in keys:
        words.append(f"{keys['rows']} rows")
    if keys.get("oldest"):
        words.append(f"{keys['oldest']} to {keys['newest']}")
    if keys.get("before"):
        words.append(f"before {keys['before']}")
    if keys.get("go"):
        words.append(f"until {keys['go']}")
    for key, text in (("bytes_per_day", "a day"), ("bytes_kept", "in the long run"), ("free_bytes", "free")):
        if key in keys:
            words.append(f"{size_text(keys[key])} {text}")
    if keys.get("disk_full"):
        words.append(f"disk full {keys['disk_full']}")
    if keys.get("why"):
        words.append(f"({keys['why']})")
    if keys.get("error"):
        words.append(f"failed: {keys['error']}")
    elif keys.get("done") is False:
        words.append("not done" if keys["action"] != "drop" else "was gone")
    return escape_controls("  ".join(filter(None, words)))
