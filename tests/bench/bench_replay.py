"""How fast a capture is replayed: ``python -m tests.bench.bench_replay [--count N]``.

Writes a pcap of distinct realistic SIP messages over UDP, IPv4 and Ethernet, and prints, each as the best of
five runs of the program with the spread between them:

* to NDJSON into /dev/null, from a file and from a pipe, whole run (start included) and without the start;
* to HEP over UDP at ``--speed max``, to a socket that is not read: what the sender alone can do;
* the pace: how far from its captured time each of 1,000 messages a second arrives, as median and 99th percentile.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cypcap  # type: ignore[import-untyped]  # it ships no types
import msgspec

from tests.bench.bench_decode import processor
from tests.support import packets
from tests.support.messages import BASE_TS_US, sip_message

SIPCAP = (sys.executable, "-m", "sipcap", "-qq", "replay")
ROUNDS = 5
PACED = 5_000


def write_capture(path: Path, count: int) -> float:
    """Write the capture; returns the average size of a message."""
    payloads = [sip_message(number) for number in range(count)]
    packets.sip_capture(path, payloads, first_us=BASE_TS_US)
    return sum(map(len, payloads)) / count


def seconds(run: Callable[[], object]) -> list[float]:
    """How long each of the rounds took."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return taken


def say(what: str, count: int, taken: list[float], start_s: float = 0.0) -> None:
    """Print the rate of the best round."""
    spread = 100 * (max(taken) - min(taken)) / max(taken)
    rate = count / (min(taken) - start_s)
    sys.stdout.write(f"{what:44} {rate:>9,.0f} /s   ({min(taken):.2f} s, spread {spread:.0f} %)\n")


def to_ndjson(path: Path) -> None:
    """Replay a file into /dev/null."""
    subprocess.run([*SIPCAP, str(path)], stdout=subprocess.DEVNULL, check=True)


def from_pipe(path: Path) -> None:
    """Replay a pipe into /dev/null."""
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        subprocess.run([*SIPCAP, "-"], stdin=cat.stdout, stdout=subprocess.DEVNULL, check=True)


def to_hep(path: Path) -> None:
    """Send to a socket whose owner does not read."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        to = f"udp:127.0.0.1:{bound.getsockname()[1]}"
        subprocess.run([*SIPCAP, str(path), "--to", to, "--speed", "max"], check=True)


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="messages in the capture")
    count: int = parser.parse_args().count
    with tempfile.TemporaryDirectory() as folder:
        path, empty, paced = (Path(folder) / name for name in ("calls.pcap", "empty.pcap", "paced.pcap"))
        size = write_capture(path, count)
        write_capture(paced, PACED)
        empty.write_bytes(packets.pcap([]))
        libpcap = cypcap.lib_version().partition(" (")[0]
        sys.stdout.write(
            f"Python {platform.python_version()}, msgspec {msgspec.__version__}, {libpcap}, {processor()}, "
            f"{os.cpu_count()} CPUs\n"
            f"{count:,} distinct messages of {size:.0f} bytes on average over UDP, IPv4, Ethernet; best of {ROUNDS}\n"
        )
        start_s = min(seconds(lambda: to_ndjson(empty)))
        file_s = seconds(lambda: to_ndjson(path))
        say("pcap to NDJSON, whole run", count, file_s)
        say(f"pcap to NDJSON, without the start ({start_s:.2f} s)", count, file_s, start_s)
        say("pcap through a pipe to NDJSON, whole run", count, seconds(lambda: from_pipe(path)))
        say("pcap to HEPv3 over UDP, --speed max", count, seconds(lambda: to_hep(path)))
        errors = pace_errors(paced)
        sys.stdout.write(
            f"pace of 1,000 messages/s: median error {statistics.median(errors):.3f} ms, "
            f"99 % below {statistics.quantiles(errors, n=100)[98]:.2f} ms\n"
        )


if __name__ == "__main__":
    main()
