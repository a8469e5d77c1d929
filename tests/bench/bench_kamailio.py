"""Against the module: ``python -m tests.bench.bench_kamailio [--seconds 15] [--children 8] …``.

Kamailio's sipcapture with one INSERT a message and ``sipcap run``, in turn, into the same table of the same private
MariaDB: the module's own definition with its indexes, made anew for each measurement, each commit synchronised. The
same HEPv3 messages come over UDP on loopback; both have the same receive buffer. For each it finds the highest rate
that is stored without loss: it doubles the rate until messages are missing, then halves the distance. What is not in
the table ``SETTLE_S`` after the last message counts as lost, so that a buffer hides no rate that cannot be kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench_decode import processor
from tests.bench.bench_service import say
from tests.conftest import ROOT
from tests.interop import kamailio
from tests.interop.served import account
from tests.support.database_server import DatabaseServer
from tests.support.kamailio_tables import mysql_sip_table
from tests.support.servers import running
from tests.support.services import service

SETTLE_S = 3.0
BAR = 4.0
_BUFFER = 64 << 20
_LOWEST, _HIGHEST = 1_000, 64_000
_FINE = 0.1
"""The search ends when the rates with and without loss are so near."""
_MORE = f"children={{children}}\nmaxbuffer={_BUFFER}\n"
_CONFIG = """
[sipcap]
capture_on = 1
db_url = {url}
control_socket = control.sock
spool = off
[listen:hep]
listen = udp:127.0.0.1:0
"""


@dataclass(frozen=True)
class Rival:
    """One of the two: starts it in a folder, and gives its port."""

    name: str
    start: Callable[[Path], AbstractContextManager[int]]


class Arena:
    """A server with a database, in which both store."""

    def __init__(self, server: DatabaseServer, seconds: float) -> None:
        self.server = server
        self.name = server.create_database()
        self._seconds = seconds

    def make_table(self) -> None:
        """An empty one."""
        self.server.execute("DROP TABLE IF EXISTS sip_capture", self.name)
        self.server.execute(mysql_sip_table(), self.name)

    def rows(self) -> tuple[int, int]:
        """How many there are, and how many different ones."""
        row = self.server.execute(
            "SELECT count(*) AS number, count(DISTINCT micro_ts) AS times FROM sip_capture", self.name
        )[0]
        return int(row["number"]), int(row["times"])

    def holds(self, rival: Rival, rate: int) -> bool:
        """Measure one rate; whether everything was stored."""
        self.make_table()
        with tempfile.TemporaryDirectory() as folder, rival.start(Path(folder)) as port:
            argv = [sys.executable, "-m", "tests.bench.clocked_sender", str(port), str(rate), str(self._seconds)]
            sent = json.loads(subprocess.check_output(argv, cwd=ROOT))
            time.sleep(SETTLE_S)
            rows, distinct = self.rows()
        lost = int(sent["sent"]) - rows
        reached = sent["sent"] / sent["seconds"]
        say(
            f"  {rival.name:22} {reached:>7,.0f}/s for {self._seconds:g} s: sent {sent['sent']:>9,}, stored {rows:>9,},"
            f" lost {lost:,} ({lost / sent['sent']:.1%})" + (f", {rows - distinct} twice" if rows != distinct else "")
        )
        if reached < 0.98 * rate:
            say("  the sender did not reach the rate; this is no result")
            return False
        return lost == 0 and rows == distinct

    def highest(self, rival: Rival) -> int:
        """The highest rate without loss; 0 if there is none."""
        good, bad = 0, _LOWEST
        while bad <= _HIGHEST and self.holds(rival, bad):
            good, bad = bad, 2 * bad
        while good and bad <= _HIGHEST and bad - good > _FINE * good:
            middle = round((good + bad) // 2, -2)
            if self.holds(rival, middle):
                good = middle
            else:
                bad = middle
        return good


def rivals(arena: Arena, url: str, children: int) -> list[Rival]:
    """Both."""

    def module(folder: Path) -> AbstractContextManager[int]:
        return kamailio.capturing_into(folder, "mysql", url, more=_MORE.format(children=children))

    @contextmanager
    def ours(folder: Path) -> Iterator[int]:
        with service(folder, _CONFIG.format(url=arena.server.url(arena.name))) as capture:
            yield capture.process.port

    return [Rival(f"Kamailio, {children} children", module), Rival("sipcap run", ours)]


def main() -> None:
    """Measure both, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15.0, help="of each rate")
    parser.add_argument("--children", type=int, default=8, help="receiving processes of Kamailio; 8 is its default")
    parser.add_argument("--pool-mb", type=int, default=128, help="innodb_buffer_pool_size; 128 is MariaDB's default")
    options = parser.parse_args()
    say(
        f"Python {platform.python_version()}, {processor()}, {os.cpu_count()} CPUs, load average"
        f" {os.getloadavg()[0]:.1f}; Kamailio {kamailio.release()}; receive buffers of {_BUFFER >> 20} MB"
    )
    with running("mysql", durable=True, settings={"innodb-buffer-pool-size": options.pool_mb << 20}) as server:
        found = server.execute("SELECT @@version AS version, @@innodb_flush_log_at_trx_commit AS flush")[0]
        say(f"MariaDB {found['version']}, flush_log_at_trx_commit {found['flush']}, buffer pool {options.pool_mb} MB")
        server.execute("SET GLOBAL time_zone = '+00:00'")
        arena = Arena(server, options.seconds)
        with account(server, arena.name) as url:
            theirs, ours = (arena.highest(rival) for rival in rivals(arena, url, options.children))
    ratio = ours / theirs if theirs else float("inf")
    say(f"without loss: Kamailio {theirs:,}/s, sipcap run {ours:,}/s: {ratio:.1f} times as much (the bar is {BAR:g})")
    sys.exit(ratio < BAR)


if __name__ == "__main__":
    main()
