"""Mirror mode on a veth pair: SIP at a fixed rate, alone and in the middle of RTP, and what is lost of it.

``python -m tests.bench.bench_mirror [SIP_RATE OTHER_RATE [CHILDREN]]``; as root, for it makes network namespaces.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT, SIPCAP, environment
from tests.support.namespaces import Cable, Side, cable

SECONDS = 10.0
_ALL = ((20_000, 0, 1), (20_000, 200_000, 1), (20_000, 200_000, 2))
_OUT_S = 30.0


@contextmanager
def _listening(side: Side, folder: Path, args: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "said").open("wb") as said, (folder / "lines").open("wb") as lines:
        process = subprocess.Popen(
            [*side.before, SIPCAP[0], "-m", "sipcap", "listen", "--log-format", "json", *args],
            stdin=subprocess.DEVNULL, stdout=lines, stderr=said, cwd=folder, env=environment(),
        )  # fmt: skip
        try:
            until_s = time.monotonic() + _OUT_S
            while b"listening on" not in (folder / "said").read_bytes() and time.monotonic() < until_s:
                time.sleep(0.05)
            if process.poll() is not None:
                sys.exit((folder / "said").read_text())
            yield process
        finally:
            process.kill()
            process.wait()


def measure(network: Cable, sip_rate: int, other_rate: int, children: int) -> str:
    """One run; a line of the table."""
    args = ["--mode", "mirror", "--iface", "right", "--children", str(children)]
    if other_rate:
        args += ["--listen", "*:5060", "--bpf"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _listening(network.right, folder, args) as process:
            sender = [
                sys.executable,
                "-m",
                "tests.bench.frame_sender",
                "left",
                str(sip_rate),
                str(other_rate),
                str(SECONDS),
            ]
            sent = json.loads(subprocess.check_output([*network.left.before, *sender], cwd=ROOT, env=environment()))
            time.sleep(3)
            process.terminate()
            _, _, usage = os.wait4(process.pid, 0)
            process.returncode = 0
        summary = json.loads(
            next(line for line in reversed((folder / "said").read_bytes().splitlines()) if b"received" in line)
        )
        written = (folder / "lines").read_bytes().count(b"\n")
    busy = (usage.ru_utime + usage.ru_stime) / SECONDS
    rates = f"{sent['sip'] / sent['seconds']:,.0f} + {sent['others'] / sent['seconds']:,.0f} /s"
    return (
        f"| {children} | {rates} | {sent['sip']:,} | {written:,} | {sent['sip'] - written:,} "
        f"| {summary['kernel_dropped']:,} | {busy:.0%} | {sent['busy']:.0%} |"
    )


def main() -> None:
    """Print the table."""
    given = [int(word) for word in sys.argv[1:]]
    runs = [(given[0], given[1], given[2] if len(given) > 2 else 1)] if given else _ALL
    print(f"load average {os.getloadavg()[0]:.1f}, {SECONDS:.0f} s each")
    print("| children | SIP + RTP | SIP sent | lines | lost | kernel_dropped | sipcap CPU | sender CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with cable() as network:
        for sip_rate, other_rate, children in runs:
            print(measure(network, sip_rate, other_rate, children), flush=True)


if __name__ == "__main__":
    main()
