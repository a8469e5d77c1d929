"""What the tests of ``sipcap replay`` share: captures, collectors, and the program while it runs."""

from __future__ import annotations

import json
import socket
import subprocess
from typing import Any

from sipcap.wire.hep import decode_datagram
from sipcap.wire.message import Message
from tests.conftest import SIPCAP, environment
from tests.support import packets


def records(stdout: bytes) -> list[dict[str, Any]]:
    """The records of NDJSON."""
    return [json.loads(line) for line in stdout.splitlines()]


def frame(payload: bytes, source: int = 5060, destination: int = 5062) -> bytes:
    """A payload over UDP, IPv4 and Ethernet with a VLAN tag."""
    return packets.ethernet(packets.ip4(packets.udp(payload, source, destination)), vlans=(100,))


def collected(collector: socket.socket, count: int) -> list[Message]:
    """That many messages, as they arrive."""
    messages: list[Message] = []
    while len(messages) < count:
        decode_datagram(collector.recv(65_535), messages)
    return messages


def to(collector: socket.socket) -> str:
    """The endpoint of a collector."""
    return f"udp:127.0.0.1:{collector.getsockname()[1]}"


def start(*args: str, **streams: Any) -> subprocess.Popen[bytes]:
    """Start ``sipcap replay``; stdout and stderr are pipes unless *streams* says otherwise."""
    return subprocess.Popen(
        [*SIPCAP, "replay", *args],
        env=environment(),
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )
