"""How fast decoding is: ``python -m tests.bench.bench_decode``.

Prints, each as the best of five rounds with the spread between the rounds, over distinct realistic
messages in lists of 100 that are dropped as a stage drops them:

* HEPv3 datagram to SipRecord;
* SipRecord to NDJSON, and NDJSON line to SipRecord.
"""

from __future__ import annotations

import gc
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from sipcap.extract import Extractor
from sipcap.ndjson import decode_record, encode_records
from sipcap.record import Record
from sipcap.wire.hep import decode_datagram
from sipcap.wire.message import Message
from tests.support.messages import BASE_TS_US, hep3_datagram

MESSAGES = 12_000
ROUNDS = 5
LIST = 100
T = TypeVar("T")


def in_lists(things: Sequence[T]) -> list[Sequence[T]]:
    """The things, 100 by 100."""
    return [things[at : at + LIST] for at in range(0, len(things), LIST)]


def decoder() -> Callable[[Sequence[bytes]], list[Record]]:
    """Decode as ``listen`` does: one call a datagram, one a message."""
    record_of = Extractor().record

    def records_of(datagrams: Sequence[bytes]) -> list[Record]:
        messages: list[Message] = []
        for datagram in datagrams:
            decode_datagram(datagram, messages, BASE_TS_US)
        return [record_of(message, BASE_TS_US) for message in messages]

    return records_of


def line_decoder(lines: Sequence[bytes]) -> list[Record]:
    """Decode as ``store`` does: one call a line."""
    return [decode_record(line, lambda _: {})[0] for line in lines]


def measure(what: str, work: Callable[[Sequence[T]], object], things: Sequence[T]) -> None:
    """Run ``work`` over all lists several times and print the rate."""
    lists = in_lists(things)
    rates = []
    for _ in range(ROUNDS):
        gc.collect()
        began = time.perf_counter()
        for part in lists:
            work(part)
        rates.append(len(things) / (time.perf_counter() - began))
    spread = 100 * (max(rates) - min(rates)) / max(rates)
    sys.stdout.write(f"{what:28} {max(rates):>10,.0f} /s   (spread {spread:.0f} %)\n")


def processor() -> str:
    """The model name of the first processor."""
    for line in Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor()


def main() -> None:
    """Measure and print."""
    datagrams = [hep3_datagram(number) for number in range(MESSAGES)]
    records = decoder()(datagrams)
    lines = encode_records(records).splitlines()
    sys.stdout.write(
        f"Python {platform.python_version()}, msgspec {msgspec.__version__}, {processor()}\n"
        f"{MESSAGES:,} distinct messages, on average {sum(map(len, datagrams)) // MESSAGES} bytes as HEPv3 "
        f"and {sum(map(len, lines)) // MESSAGES} as NDJSON; best of {ROUNDS}, one process\n"
    )
    measure("HEPv3 datagram to record", decoder(), datagrams)
    measure("record to NDJSON", encode_records, records)
    measure("NDJSON to record", line_decoder, lines)


if __name__ == "__main__":
    main()
