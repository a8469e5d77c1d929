"""Minutes of load: ``python -m tests.bench.bench_service [sqlite|mysql] [--minutes 10] [--rate 10000] …``.

HEPv3 over UDP on loopback at a fixed rate, through ``sipcap run --config``, into one table for each minute of the
messages' time, with all indexes. Messages are of now and each has a time of its own, so that the tables tell whether
one of them is missing or there twice. Prints

* at every million rows, how many were stored a second since the last one;
* every 30 seconds, the memory (PSS) of all processes of the service together, and its slope in the end;
* what was sent, received, stored, dropped by the kernel and lost, and whether the counters add up (design 1.9).

It ends by itself: the sender after its time, the service with SIGTERM. The temporary folder is removed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sipcap.sinks import sqlite as sqlite_sink
from tests.bench.bench_decode import processor
from tests.bench.bench_run import free_port, resident_bytes
from tests.conftest import ROOT
from tests.support.background import children_of, imbalance
from tests.support.servers import running
from tests.support.services import Service, service

_LOG_BYTES = 1 << 30
"""innodb_log_file_size: with the 96 MB that it comes with, InnoDB writes its pages all the time."""
ROW_BYTES = 2_000  # with indexes and what databases keep beside them; more than was seen
MEMORY_EVERY_S = 30.0
WARM_S = 60.0
"""Memory before this does not count for the slope: processes, caches and their pages are being filled."""
_SETTLE_S = 60.0
_LOOK_S = 0.5
_CONFIG = """
[sipcap]
capture_on = 1
db_url = {url}
table_name = sip_capture_%Y%m%d_%H%M
control_socket = control.sock
spool = spool
[listen:hep]
listen = udp:127.0.0.1:{port}
children = {children}
"""


@dataclass(frozen=True)
class Target:
    """A database, and how to ask it."""

    url: str
    conditions: str
    ask: Any  # a statement to a list of tuples


@contextmanager
def sqlite(folder: Path) -> Iterator[Target]:
    """A file in the folder."""
    path = folder / "load.db"

    def ask(statement: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(statement).fetchall()

    pragmas = ", ".join(sqlite_sink._PRAGMAS)
    yield Target(f"sqlite:///{path}", f"SQLite {sqlite3.sqlite_version}; {pragmas} (the cache in KiB)", ask)


@contextmanager
def mysql(pool_mb: int) -> Iterator[Target]:
    """A private MariaDB; each commit is synchronised, as it comes."""
    settings = {"innodb-buffer-pool-size": pool_mb << 20, "innodb-log-file-size": _LOG_BYTES}
    with running("mysql", durable=True, settings=settings) as server:
        database = server.create_database()
        names = ("version", "innodb_buffer_pool_size", "innodb_flush_log_at_trx_commit", "innodb_log_file_size")
        found = server.execute(f"SELECT {', '.join(f'@@{name} AS {name}' for name in names)}")[0]
        said = ", ".join(f"{name} {value}" for name, value in found.items())
        yield Target(
            server.url(database),
            f"MariaDB; {said}",
            lambda statement: [tuple(row.values()) for row in server.execute(statement, database)],
        )


@dataclass
class Watch:
    """What was seen of a running service."""

    began_s: float = field(default_factory=time.monotonic)
    memory: list[tuple[float, int]] = field(default_factory=list)  # seconds since the start, bytes
    unbalanced: int = 0
    _used: tuple[float, float] = (0.0, 0.0)
    _million: int = 0
    _million_at: tuple[float, int] = (0.0, 0)

    def look(self, capture: Service) -> dict[str, Any]:
        """Look once, and print what is due; the counters."""
        counters = capture.counters
        now_s, stored = time.monotonic() - self.began_s, counters["stored"]
        self.unbalanced += imbalance(counters) != 0
        if not stored:
            self._million_at = now_s, 0  # the sender is still making its messages
        if stored // 1_000_000 > self._million:
            self._million = stored // 1_000_000
            since_s, since = now_s - self._million_at[0], stored - self._million_at[1]
            self._million_at = now_s, stored
            say(f"{now_s:6.0f} s: {stored:>10,} rows, {since / since_s:>8,.0f} rows/s since the last million")
        if now_s >= len(self.memory) * MEMORY_EVERY_S:
            self.memory.append((now_s, resident_bytes(capture.process.pid)))
            say(
                f"{now_s:6.0f} s: memory {self.memory[-1][1] / 1e6:6.1f} MB; received {counters['received']:,},"
                f" stored {stored:,}, pending {counters['pending']:,}, spooled {counters['spooled']:,},"
                f" kernel_dropped {counters['kernel_dropped']:,}; {self._processor_share(capture, now_s):.0%} of a core"
            )
        return counters

    def _processor_share(self, capture: Service, now_s: float) -> float:
        """What the service took of the processor since the last look."""
        pids = [capture.process.pid, *children_of(capture.process.pid)]
        before, self._used = self._used, (now_s, sum(map(processor_s, pids)))
        return (self._used[1] - before[1]) / (now_s - before[0]) if before[1] else 0.0

    def slope(self) -> str:
        """How memory changed, behind the warm-up, by least squares."""
        points = [(at_s / 60, size) for at_s, size in self.memory if at_s >= WARM_S]
        if len(points) < 3:
            return "too short a run for a slope of memory"
        mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
        spread = sum((x - mean_x) ** 2 for x, _ in points)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
        low, high = min(y for _, y in points), max(y for _, y in points)
        return (
            f"memory behind {WARM_S:.0f} s: {low / 1e6:.1f} to {high / 1e6:.1f} MB, slope {slope / 1e3:+,.0f} kB/minute"
        )


def processor_s(pid: int) -> float:
    """What a process has taken of the processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def load(options: argparse.Namespace, folder: Path, target: Target) -> tuple[dict[str, Any], dict[str, Any], Watch]:
    """Start, send, watch, stop; what the sender and the service say in the end, and what was seen."""
    port = free_port()
    text = _CONFIG.format(url=target.url, port=port, children=options.children)
    with service(folder, text) as capture:
        argv = [sys.executable, "-m", "tests.bench.clocked_sender", str(port), str(options.rate)]
        with subprocess.Popen([*argv, str(60 * options.minutes)], cwd=ROOT, stdout=subprocess.PIPE) as sender:
            watch = Watch()
            while sender.poll() is None:
                watch.look(capture)
                time.sleep(_LOOK_S)
            assert sender.stdout is not None
            sent = json.loads(sender.stdout.read())
        until_s = time.monotonic() + _SETTLE_S
        while time.monotonic() < until_s and (now := watch.look(capture))["pending"] + now["spooled"]:
            time.sleep(_LOOK_S)
        code = capture.process.stop()
        return sent, capture.process.summary | {"exit": code}, watch


def verify(target: Target, tables: list[str]) -> tuple[int, int, list[str]]:
    """Rows and distinct times of all tables, and which tables hold rows of another minute."""
    rows, distinct, strange = 0, 0, []
    for table in tables:
        statement = f"SELECT count(*), count(DISTINCT micro_ts), min(micro_ts), max(micro_ts) FROM {table}"
        number, times, first_us, last_us = target.ask(statement)[0]
        rows, distinct = rows + number, distinct + times
        minutes = {time.strftime("%Y%m%d_%H%M", time.gmtime(ts_us // 1_000_000)) for ts_us in (first_us, last_us)}
        if minutes != {table.removeprefix("sip_capture_")}:
            strange.append(table)
    return rows, distinct, strange


def measure(options: argparse.Namespace, folder: Path, target: Target) -> bool:
    """One run; whether nothing was lost, nothing is there twice, and everything adds up."""
    say(target.conditions)
    sent, counted, watch = load(options, folder, target)
    listing = "SELECT name FROM sqlite_schema WHERE type = 'table'" if "sqlite" in target.url else "SHOW TABLES"
    tables = sorted(name for (name,) in target.ask(listing) if name.startswith("sip_capture_"))
    rows, distinct, strange = verify(target, tables)
    size = sum(path.stat().st_size for path in folder.glob("load.db*"))
    say(
        f"sent {sent['sent']:,.0f} in {sent['seconds']:.0f} s ({sent['sent'] / sent['seconds']:,.0f}/s, the sender took"
        f" {sent['busy']:.0%} of a core), received {counted['received']:,}, stored {counted['stored']:,},"
        f" kernel_dropped {counted['kernel_dropped']:,}, lost {sent['sent'] - rows:,.0f}; {rows:,} rows, {distinct:,}"
        f" distinct, in {len(tables)} tables" + (f", {size / 1e9:.1f} GB" if size else "")
    )
    say(watch.slope())
    adds_up = imbalance(counted) == 0 and sent["sent"] == counted["received"] + counted["kernel_dropped"]
    say(
        f"counters add up: {'yes' if adds_up else f'NO: {counted}'}; unbalanced while it ran: {watch.unbalanced} looks;"
        f" rows of another minute: {', '.join(strange) or 'none'}; exit code {counted['exit']}"
    )
    return adds_up and rows == distinct == counted["stored"] == sent["sent"] and not strange and not watch.unbalanced


def main() -> None:
    """Read the command line, look whether there is room, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("database", nargs="?", choices=("sqlite", "mysql"), default="sqlite")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=10_000, help="messages a second")
    parser.add_argument("--children", type=int, default=1, help="capturing processes")
    parser.add_argument("--pool-mb", type=int, default=1_024, help="innodb_buffer_pool_size")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to make the files")
    options = parser.parse_args()
    tempfile.tempdir = str(options.folder)
    needed, free = int(60 * options.minutes * options.rate) * ROW_BYTES, shutil.disk_usage(options.folder).free
    if needed > free:
        parser.error(f"{needed / 1e9:.0f} GB are needed in {options.folder}, and {free / 1e9:.0f} GB are free")
    say(
        f"Python {platform.python_version()}, {processor()}, {os.cpu_count()} CPUs, {platform.release()},"
        f" load average {os.getloadavg()[0]:.1f}; {options.minutes:g} minutes at {options.rate:,}/s,"
        f" {options.children} capturing process(es)"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        opened = sqlite(folder) if options.database == "sqlite" else mysql(options.pool_mb)
        sys.exit(not measure(options, folder, stack.enter_context(opened)))


if __name__ == "__main__":
    main()
