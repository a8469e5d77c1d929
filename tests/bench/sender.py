"""A paced UDP sender of distinct HEPv3 datagrams, as a process of its own: ``sender PORT RATE SECONDS``."""

from __future__ import annotations

import socket
import sys
import time

from tests.support.messages import hep3_datagram

DISTINCT = 20_000
_SLICE_S = 0.002


def send(port: int, rate: int, seconds: float) -> int:
    """Send at ``rate`` datagrams a second for so long; returns how many were sent.

    The datagrams are made before the clock starts and repeat after ``DISTINCT``. If the machine is too
    busy for the rate, fewer are sent, never more.
    """
    datagrams = [hep3_datagram(number) for number in range(min(DISTINCT, int(rate * seconds)))]
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        begin_s = time.perf_counter()
        while (elapsed_s := time.perf_counter() - begin_s) < seconds:
            due = int(elapsed_s * rate)
            while sent < due:
                sock.send(datagrams[sent % len(datagrams)])
                sent += 1
            time.sleep(_SLICE_S)
    return sent


if __name__ == "__main__":
    sys.stdout.write(f"{send(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))}\n")
