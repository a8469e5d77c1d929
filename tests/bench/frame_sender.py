"""A paced sender of frames: ``frame_sender INTERFACE SIP_RATE OTHER_RATE SECONDS`` prints what it sent of each kind.

Frames are made before the clock starts and handed to the kernel many at a time (sendmmsg), so that the sender costs
little of what is measured.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Sequence

from tests.bench.mmsg import Packets
from tests.support.messages import sip_message
from tests.support.packets import ethernet, ip4, udp

DISTINCT = 10_000
FLOWS = 500
RTP_BYTES = 172
_SLICE_S = 0.001
_SOL_PACKET, _QDISC_BYPASS = 263, 20


class FrameSender:
    """Sends frames of a list in turn, over and over."""

    def __init__(self, interface: str, frames: Sequence[bytearray]) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((interface, 0))
        self._socket.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        self._packets = Packets(self._socket, frames)
        self.sent = 0

    def send(self, number: int) -> None:
        """Send so many."""
        until = self.sent + number
        while self.sent < until:
            self.sent += self._packets.send(self.sent % len(self._packets), until - self.sent)


def make_frames(sip_rate: int, other_rate: int) -> tuple[list[bytearray], int]:
    """Distinct messages, each followed by its share of RTP; also how many frames a message comes with."""
    rtp = [
        _frame(udp(bytes((0x80, 0)) + bytes(RTP_BYTES - 2), 10_000 + 2 * number, 20_000), number)
        for number in range(FLOWS)
    ]
    share = other_rate // sip_rate
    frames = []
    for number in range(DISTINCT):
        frames.append(_frame(udp(sip_message(number)), number))
        frames += (rtp[(number + step) % FLOWS] for step in range(share))
    return frames, 1 + share


def _frame(datagram: bytes, number: int) -> bytearray:
    source = f"10.{number % FLOWS // 250}.1.{1 + number % 250}"
    return bytearray(ethernet(ip4(datagram, source=source)))


def send(interface: str, sip_rate: int, other_rate: int, seconds: float) -> dict[str, float]:
    """Send both kinds at their rates; if the machine is too busy, fewer are sent, never more."""
    frames, share = make_frames(sip_rate, other_rate)
    sender = FrameSender(interface, frames)
    total = int(sip_rate * seconds) * share
    begin_s, busy_s = time.perf_counter(), time.process_time()
    while sender.sent < total and (elapsed_s := time.perf_counter() - begin_s) < seconds + 1:
        due = min(int(elapsed_s * sip_rate) * share, total)
        if due > sender.sent:
            sender.send(due - sender.sent)
        time.sleep(_SLICE_S)
    elapsed_s = time.perf_counter() - begin_s
    sip = -(-sender.sent // share)
    busy = (time.process_time() - busy_s) / elapsed_s
    return {"sip": sip, "others": sender.sent - sip, "seconds": elapsed_s, "busy": busy}


if __name__ == "__main__":
    name, sip_rate, other_rate, seconds = sys.argv[1:]
    sys.stdout.write(json.dumps(send(name, int(sip_rate), int(other_rate), float(seconds))) + "\n")
