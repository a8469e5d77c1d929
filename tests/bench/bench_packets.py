"""What packets cost before extraction: ``python -m tests.bench.bench_packets [--count N]``.

Prints microseconds of processor time a packet, the best of five rounds, over distinct realistic SIP messages in UDP,
IPv4 and Ethernet, with their addresses and ports changing:

* pcap and pcapng file to packets;
* packets to messages;
* both, as ``sipcap replay`` does it;
* RTP to what counts it: packets without a message, which are most of a capture's;
* HEPv3 datagrams to messages.

With SIPCAP_COMPILED=0 in the environment it is the references that are measured.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sipcap import compiled
from sipcap.counters import Counters
from sipcap.sources.hep_gate import HepGate
from sipcap.sources.packet_decoder import PacketDecoder
from sipcap.sources.pcap import PcapOptions, PcapSource
from sipcap.sources.pcap_reader import open_reader
from tests.bench.bench_decode import in_lists, processor
from tests.support import packets
from tests.support.messages import BASE_TS_US, hep3_datagram, sip_message

ROUNDS = 5
ADDRESSES = 500


def write_capture(path: Path, payloads: list[bytes], make: Callable[..., bytes]) -> None:
    """Write a capture between phones and a proxy."""
    frames = [
        packets.ethernet(packets.ip4(packets.udp(each, 5_060 + number % 7), source=f"10.0.{at // 250}.{at % 250}"))
        for number, each in enumerate(payloads)
        for at in (number % ADDRESSES,)
    ]
    path.write_bytes(make((BASE_TS_US + 1_000 * number, frame) for number, frame in enumerate(frames)))


def best(what: str, count: int, once: Callable[[], object]) -> None:
    """Print the best of all rounds."""
    taken = []
    for _ in range(ROUNDS):
        gc.collect()
        began = time.process_time()
        once()
        taken.append(time.process_time() - began)
    sys.stdout.write(f"{what:28} {1e6 * min(taken) / count:6.2f} µs   (worst {1e6 * max(taken) / count:.2f})\n")


def read_all(path: Path) -> list[Any]:
    """All packets of a capture, in lists."""
    reader = open_reader(str(path), None)
    lists = []
    while (found := reader.read()) is not None:
        lists.append(found)
    reader.close()
    return lists


def decode_all(lists: list[Any]) -> int:
    """Decode lists of packets, and drop the messages as a stage drops them."""
    decoder = PacketDecoder(Counters(), Counter())
    return sum(len(decoder.decode(each)) for each in lists)


def replay(path: Path) -> int:
    """Read and decode a capture."""
    source = PcapSource(PcapOptions([str(path)]))
    source.open()
    return sum(len(messages) for messages in source)


def measure(folder: Path, count: int) -> None:
    """Measure and print."""
    calls, blocks, media = (folder / name for name in ("calls", "blocks", "media"))
    payloads = [sip_message(number) for number in range(count)]
    write_capture(calls, payloads, packets.pcap)
    write_capture(blocks, payloads, packets.pcapng)
    write_capture(
        media, [b"\x80\x08" + number.to_bytes(10, "big") + bytes(160) for number in range(count)], packets.pcap
    )
    datagrams = in_lists([hep3_datagram(number) for number in range(count)])
    sys.stdout.write(
        f"{processor()}, load {os.getloadavg()[0]:.1f}, twins {'' if compiled.ENABLED else 'not '}wanted; "
        f"{count:,} packets, best of {ROUNDS}, processor time a packet\n"
    )
    best("pcap to packets", count, lambda: sum(map(len, read_all(calls))))
    best("pcapng to packets", count, lambda: sum(map(len, read_all(blocks))))
    talk, voices = read_all(calls), read_all(media)
    best("packets to messages", count, lambda: decode_all(talk))
    best("RTP packets to nothing", count, lambda: decode_all(voices))
    best("pcap to messages", count, lambda: replay(calls))
    best("pcapng to messages", count, lambda: replay(blocks))
    best("HEPv3 to messages", count, lambda: [HepGate(Counters()).decode(list(each)) for each in datagrams])


def main() -> None:
    """Read the command line, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=40_000, help="packets of each kind")
    options: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.count)


if __name__ == "__main__":
    main()
