"""How fast a capture is replayed: ``python -m tests.bench.bench_replay [--count N]``.

Writes a capture of distinct realistic SIP messages over UDP, IPv4 and Ethernet, and prints, each as the best of five
runs of the program with the spread between them, by the clock and by the processor time of the program itself, which
neighbours on the same machine disturb less:

* to NDJSON into /dev/null, from pcap, pcapng, a packed file and a pipe, whole run (start included);
* ``tshark -T json`` of the same file, once: the ratio; and the peak memory of a run;
* to HEP over UDP at ``--speed max``, to a socket that is not read: what the sender alone can do;
* the pace: how far from its captured time each of 1,000 messages a second arrives, as median and 99th percentile.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from sipcap.compiled import twins
from tests.bench.bench_decode import processor
from tests.conftest import ROOT, environment
from tests.support import packets
from tests.support.messages import BASE_TS_US, sip_message

SIPCAP = (sys.executable, "-m", "sipcap", "-qq", "replay")
ROUNDS = 5
PACED = 5_000


@dataclass(frozen=True)
class Run:
    """What one run of a program took."""

    seconds: float
    cpu_seconds: float


def run(*argv: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> Run:
    """Run a program that writes into /dev/null."""
    began = time.perf_counter()
    child = subprocess.Popen(
        argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), cwd=ROOT
    )
    _, status, usage = os.wait4(child.pid, 0)
    taken = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, argv)
    return Run(taken, usage.ru_utime + usage.ru_stime)


def write_capture(path: Path, count: int, make: Callable[..., bytes] = packets.pcap) -> float:
    """Write the capture; returns the average size of a message."""
    payloads = [sip_message(number) for number in range(count)]
    frames = (packets.ethernet(packets.ip4(packets.udp(each))) for each in payloads)
    path.write_bytes(make((BASE_TS_US + 1_000 * number, frame) for number, frame in enumerate(frames)))
    return sum(map(len, payloads)) / count


def best(what: str, count: int, once: Callable[[], Run]) -> float:
    """Print the rates of the best of all rounds; returns that by the clock."""
    runs = [once() for _ in range(ROUNDS)]
    clock, cpu = min(each.seconds for each in runs), min(each.cpu_seconds for each in runs)
    spread = 100 * (1 - clock / max(each.seconds for each in runs))
    sys.stdout.write(
        f"{what:40} {count / clock:>9,.0f} /s   {count / cpu:>9,.0f} /s of processor time   "
        f"({clock:.2f} s, spread {spread:.0f} %)\n"
    )
    return count / clock


def peak_mb(path: Path) -> float:
    """The most memory that replaying a file to NDJSON takes; from inside, as rusage has what the parent had, too."""
    program = (
        "import sys\nfrom sipcap.cli.main import run\nrun(['-qq', 'replay', sys.argv[1]])\n"
        "print(*[line.split()[1] for line in open('/proc/self/status') if line[:5] == 'VmHWM'], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    return int(done.stderr) / 1_024


def from_pipe(path: Path) -> Run:
    """Replay a pipe into /dev/null."""
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        return run(*SIPCAP, "-", stdin=cat.stdout)


def to_hep(path: Path) -> Run:
    """Send to a socket whose owner does not read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        return run(*SIPCAP, str(path), "--to", f"udp:127.0.0.1:{bound.getsockname()[1]}", "--speed", "max")


def pace_errors(path: Path) -> list[float]:
    """How far from its captured distance to the first message each one arrives, in milliseconds."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(10)
        to = f"udp:127.0.0.1:{bound.getsockname()[1]}"
        with subprocess.Popen([*SIPCAP, str(path), "--to", to]):
            arrivals = []
            for _ in range(PACED):
                bound.recv(65_535)
                arrivals.append(time.monotonic())
    return [abs(at - arrivals[0] - number / 1_000) * 1_000 for number, at in enumerate(arrivals)]


def measure(folder: Path, count: int) -> None:
    """Measure and print."""
    path, empty, paced, packed, blocks = (folder / name for name in ("calls", "empty", "paced", "packed", "blocks"))
    size = write_capture(path, count)
    write_capture(paced, PACED)
    write_capture(blocks, count, packets.pcapng)
    empty.write_bytes(packets.pcap([]))
    packed.write_bytes(gzip.compress(path.read_bytes(), 6))
    sys.stdout.write(
        f"Python {platform.python_version()}, msgspec {msgspec.__version__}, {processor()}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[0]:.1f}, {'with' if twins() else 'without'} compiled code\n"
        f"{count:,} distinct messages of {size:.0f} bytes on average over UDP, IPv4, Ethernet; best of {ROUNDS}\n"
    )
    best("start alone (runs a second)", 1, lambda: run(*SIPCAP, str(empty)))
    rate = best("pcap to NDJSON", count, lambda: run(*SIPCAP, str(path)))
    best("pcapng to NDJSON", count, lambda: run(*SIPCAP, str(blocks)))
    best("pcap.gz to NDJSON", count, lambda: run(*SIPCAP, str(packed)))
    best("pcap through a pipe to NDJSON", count, lambda: from_pipe(path))
    best("pcap to HEPv3 over UDP, --speed max", count, lambda: to_hep(path))
    if tshark := shutil.which("tshark"):
        theirs = count / run(tshark, "-n", "-r", str(path), "-T", "json").seconds
        sys.stdout.write(
            f"tshark -T json: {theirs:,.0f} /s, one run; pcap to NDJSON is {rate / theirs:.0f} times as fast\n"
        )
    errors = pace_errors(paced)
    sys.stdout.write(
        f"pace of 1,000 messages/s: median error {statistics.median(errors):.3f} ms, "
        f"99 % below {statistics.quantiles(errors, n=100)[98]:.2f} ms\n"
    )


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=300_000, help="messages in the capture")
    options: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.count)


if __name__ == "__main__":
    main()
