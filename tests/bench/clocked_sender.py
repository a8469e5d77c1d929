"""A paced UDP sender of HEPv3 whose messages are of now: ``clocked_sender PORT RATE SECONDS`` prints what it sent.

Each message has a time of its own (its place in the pace, from the clock at the start), by which it can be told from
all others in a table, and every dialog its own Call-ID. The rest repeats after ``DISTINCT`` messages. The datagrams
are made before the clock starts and sent many at a time, so that the sender costs little of what is measured.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from collections.abc import Iterator

from tests.bench.mmsg import Packets
from tests.support.messages import hep3_datagram

DISTINCT = 120_000
_STEPS = 12  # messages of one dialog, see sip_message
_SLICE_S = 0.001
_SECONDS_AT, _MICROSECONDS_AT = 62, 72
"""Where the time stands in the chunks 9 and 10 of every datagram with IPv4 addresses (usual_chunks)."""


class Clocked:
    """The datagrams and where in each of them the Call-ID begins."""

    def __init__(self, number: int) -> None:
        self.datagrams = [bytearray(hep3_datagram(place)) for place in range(number)]
        self._call_ids = [datagram.index(b"Call-ID: ") + len(b"Call-ID: ") for datagram in self.datagrams]

    def stamp(self, number: int, ts_us: int) -> None:
        """Make the datagram of a message that of this number and time."""
        place = number % len(self.datagrams)
        datagram, seconds = self.datagrams[place], ts_us // 1_000_000
        struct.pack_into(">I", datagram, _SECONDS_AT, seconds)
        struct.pack_into(">I", datagram, _MICROSECONDS_AT, ts_us - seconds * 1_000_000)
        at = self._call_ids[place]
        datagram[at : at + 8] = b"%08x" % (number // _STEPS)


def _turns(rate: int, seconds: float) -> Iterator[int]:
    """How many messages are due, looked at every millisecond to the end of the time."""
    total = int(rate * seconds)
    begin_s = time.perf_counter()
    due = 0
    while due < total and (elapsed_s := time.perf_counter() - begin_s) < seconds + 1:
        due = min(int(elapsed_s * rate), total)
        yield due
        time.sleep(_SLICE_S)


def send(port: int, rate: int, seconds: float) -> dict[str, float]:
    """Send at a rate for so long; if the machine is too busy, fewer are sent, never more."""
    # A multiple of the dialogs' length, so that a dialog's messages keep one number over the repetition.
    clocked = Clocked(min(DISTINCT, -(-int(rate * seconds) // _STEPS) * _STEPS))
    sent = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        packets = Packets(sock, clocked.datagrams)
        begin_s, busy_s, begin_us = time.perf_counter(), time.process_time(), time.time_ns() // 1_000
        for due in _turns(rate, seconds):
            for number in range(sent, due):
                clocked.stamp(number, begin_us + number * 1_000_000 // rate)
            while sent < due:
                sent += packets.send(sent % len(packets), due - sent)
        elapsed_s = time.perf_counter() - begin_s
    busy = (time.process_time() - busy_s) / elapsed_s
    return {"sent": sent, "seconds": elapsed_s, "busy": busy, "first_us": begin_us}


if __name__ == "__main__":
    port, rate, seconds = sys.argv[1:]
    sys.stdout.write(json.dumps(send(int(port), int(rate), float(seconds))) + "\n")
