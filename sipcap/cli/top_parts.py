"""Parts of the page that ``sipcap top`` shows, whatever its width."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sipcap.cli.console import escape_controls, safe_text
from sipcap.service.rates import Row

LOSSES: Final = ("rejected", "dropped", "dead_letter", "kernel_dropped")
_ADDRESSES: Final = 4
KINDS: Final = {"methods": "method", "statuses": "status", "sources": "source", "user_agents": "user agent"}


def height_of(console: Console, part: RenderableType) -> int:
    """How many lines a part takes."""
    return len(console.render_lines(part, console.options.update(height=None)))


def whole_text(text: str, style: str = "") -> Text:
    """Text for Rich as ``safe_text``, but one that goes on in the next line where it does not fit.

    Args:
        text: may have several lines.
        style: of Rich.
    """
    return Text("\n".join(map(escape_controls, text.split("\n"))), style=style, overflow="fold")


def header(state: Mapping[str, Any], place: str, trouble: str) -> RenderableType:
    """What service this is, and since when; under it why there is nothing newer, if so."""
    up_s = max(int(time.time() - state["started_us"] / 1_000_000), 0)
    days, rest = divmod(up_s, 86_400)
    up = f"{days} d " * bool(days) + time.strftime("%H:%M:%S", time.gmtime(rest))
    first = Text.assemble(
        safe_text(f"sipcap {state['version']}  pid {state['pid']}  up {up}  "),
        safe_text(word_of(state["enabled"]), "bold green" if state["enabled"] else "bold yellow"),
        safe_text(f"  {place}"),
        no_wrap=True,
        overflow="ellipsis",
    )
    return Group(first, safe_text(trouble, "bold red")) if trouble else first


def database_of(store: Mapping[str, Any]) -> Text:
    """Whether a capture mode's database takes records, as far as that is known."""
    if store["database_up"]:
        return safe_text("up")
    return safe_text("away", "bold red") if store.get("database_tried", True) else safe_text("-")


def rate_of(rate: float | None) -> str:
    """A rate in full."""
    return "-" if rate is None else f"{rate:.1f}/s"


def short_rate_of(rate: float | None) -> str:
    """A rate without its unit, and without a fraction that nobody sees."""
    return "-" if rate is None else f"{rate:.0f}" if rate >= 100 else f"{rate:.1f}"


def addresses_of(listener: Mapping[str, Any]) -> list[str]:
    """Where a listener is heard, for people: of many, the first ones."""
    addresses = list(map(str, listener["addresses"]))
    more = len(addresses) - _ADDRESSES
    return [*addresses[:_ADDRESSES], *([f"and {more} more"] if more > 0 else [])]


def counts(
    title: str, rows: Iterable[Row], *, of_rate: Callable[[float | None], str] = rate_of, titles: Sequence[str] = ()
) -> Table:
    """A table of what was counted.

    Args:
        title: of the names.
        rows: names, counts and rates.
        of_rate: writes a rate.
        titles: of the columns of counts and rates; with one, only rates are shown.
    """
    titles = titles or ("messages", "a second")
    table = Table(box=None, expand=True, pad_edge=False)
    table.add_column(title, ratio=1, no_wrap=True)
    for each in titles:
        table.add_column(each, justify="right", no_wrap=True)
    for row in rows:
        style = "red" if row.name.partition(" ")[0] in LOSSES and row.count else ""
        cells = [safe_text(f"{row.count}", style), safe_text(of_rate(row.rate), style)]
        table.add_row(safe_text(row.name, style), *cells[-len(titles) :])
    return table


def errors_of(errors: Sequence[Mapping[str, Any]], form: str = "%Y-%m-%d %H:%M:%S") -> RenderableType:
    """The latest errors, each on a line; nothing if there is none.

    Args:
        errors: their time and text.
        form: of the time, in UTC.
    """
    lines = [
        safe_text(f"{time.strftime(form, time.gmtime(each['ts_us'] // 1_000_000))}  {each['text']}") for each in errors
    ]
    return Group(safe_text("recent errors", "bold"), *lines) if lines else Group()


def word_of(is_on: bool) -> str:
    """How the module says that capture is on."""
    return "Enabled" if is_on else "Disabled"


def size_of(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / 1_000_000:.1f} MB"
