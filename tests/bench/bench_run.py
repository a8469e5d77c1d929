"""The highest rate without loss, end to end: ``python -m tests.bench.bench_run [run|pipe] [RATE ...]``.

A paced sender in a process of its own sends HEPv3 over loopback; ``sipcap run`` (or ``sipcap listen | sipcap
store``) stores into SQLite with all indexes; the rows are counted in the database. Everything shares this
machine's cores. Without rates it begins at 5,000 a second and goes up by 2,500 until something is lost.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECONDS = 20.0
SETTLE_S = 3.0


def free_port() -> int:
    """A UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start(kind: str, port: int, database: Path) -> list[subprocess.Popen[bytes]]:
    """Start what is measured; the first process is the one to stop."""
    sipcap = [sys.executable, "-m", "sipcap"]
    listen = ["--listen", f"udp:127.0.0.1:{port}"]
    store = ["--db-url", f"sqlite:///{database}"]
    if kind == "run":
        return [subprocess.Popen([*sipcap, "run", *listen, *store], stderr=subprocess.DEVNULL)]
    listening = subprocess.Popen([*sipcap, "listen", *listen], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    storing = subprocess.Popen([*sipcap, "store", *store], stdin=listening.stdout, stderr=subprocess.DEVNULL)
    assert listening.stdout is not None
    listening.stdout.close()
    return [listening, storing]


def resident_bytes(root: int) -> int:
    """Proportional memory of a process and its children, shared pages counted once."""
    total = 0
    for pid in [root, *children_of(root)]:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
    return total


def children_of(pid: int) -> list[int]:
    """Direct children of a process."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def rows_in(database: Path) -> int:
    """Rows that a reader sees now."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM sip_capture").fetchone()[0])


def measure(kind: str, rate: int) -> bool:
    """Run one rate, print what happened; whether nothing was lost."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "bench.db")
        port = free_port()
        processes = start(kind, port, database)
        time.sleep(1.5)
        sender = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.sender", str(port), str(rate), str(SECONDS)], stdout=subprocess.PIPE
        )
        peak = 0
        while sender.poll() is None:
            peak = max(peak, sum(resident_bytes(each.pid) for each in processes))
            time.sleep(0.25)
        assert sender.stdout is not None
        sent = int(sender.stdout.read())
        time.sleep(SETTLE_S)
        stored = rows_in(database)
        processes[0].send_signal(signal.SIGTERM)
        codes = [each.wait(30) for each in processes]
        final = rows_in(database)
        size = database.stat().st_size
    print(
        f"{kind}: {sent / SECONDS:,.0f}/s for {SECONDS:.0f} s: sent {sent:,}, stored {stored:,} after {SETTLE_S:.0f} s,"
        f" {final:,} in the end, lost {sent - final:,}; memory {peak / 1e6:.0f} MB; database {size / 1e6:.0f} MB;"
        f" exit codes {codes}",
        flush=True,
    )
    return stored == sent


def main() -> None:
    """Measure the rates given, or rising ones."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "run"
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.platform()}")
    if rates := [int(word) for word in sys.argv[2:]]:
        for rate in rates:
            measure(kind, rate)
        return
    rate = 5_000
    while measure(kind, rate):
        rate += 2_500
    print(f"highest rate without loss: {rate - 2_500:,}/s")


if __name__ == "__main__":
    main()
