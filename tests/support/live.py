"""``sipcap listen`` at the right end of a cable, and what is sent from the left one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.background import Background, background, wait_for
from tests.support.messages import sip_message
from tests.support.namespaces import Cable
from tests.support.packets import ethernet, ip4, udp

JSON = ("--log-format", "json")


@contextlib.contextmanager
def listening(network: Cable, folder: Path, *args: str, iface: str = "right") -> Iterator[Background]:
    """Run ``sipcap listen`` on the right side; it is ready."""
    where = ("--iface", iface) if iface else ()
    with background(folder, "listen", *JSON, *where, *args, before=network.right.before) as process:
        wait_for(lambda: process.ended or "listening on" in process.said, "listening")
        assert not process.ended, process.said
        yield process


def sip_frames(count: int, *, first: int = 0, flows: int = 1, port: int = 5060) -> Iterator[bytes]:
    """Ethernet frames with distinct messages; ``flows`` different source addresses."""
    for number in range(first, first + count):
        yield ethernet(ip4(udp(sip_message(number), port), source=f"192.0.2.{1 + number % flows}"))


def texts(process: Background) -> list[bytes]:
    """The messages that it has written."""
    return [line["msg"].encode() for line in process.lines]


def wait_for_lines(process: Background, number: int) -> None:
    """Wait until so many records were written."""
    wait_for(lambda: process.output.count(b"\n") >= number, f"{number} lines")
