"""Two network namespaces with a cable between them: traffic that no other test sees, and that leaves no machine."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.programs import need

_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_numbers = itertools.count()


@dataclass(frozen=True)
class Side:
    """One end of the cable: a namespace with the interface ``name``, which has both addresses, and loopback."""

    namespace: str
    name: str
    ip4: str
    ip6: str
    mac: str

    @property
    def before(self) -> tuple[str, ...]:
        """What runs a command in here."""
        return ("ip", "netns", "exec", self.namespace)

    def ip(self, *args: str) -> None:
        """Run the program ip in here."""
        _ip("-n", self.namespace, *args)

    def open_socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this namespace, to be used from anywhere."""
        made: list[socket.socket] = []

        def make() -> None:
            descriptor = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(descriptor, _CLONE_NEWNET) == 0:  # this thread alone
                made.append(socket.socket(family, kind, protocol))
            os.close(descriptor)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        assert made, "setns failed"
        return made[0]

    def send_frames(self, frames: Iterable[bytes], interface: str = "") -> int:
        """Put frames on the cable as they are; how many."""
        with self.open_socket(socket.AF_PACKET, socket.SOCK_RAW) as packets:
            packets.bind((interface or self.name, 0))
            number = 0
            for frame in frames:
                packets.send(frame)
                number += 1
            return number

    def sniffer(self) -> socket.socket:
        """A socket that gets every frame here."""
        packets = self.open_socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        packets.bind((self.name, _ETH_P_ALL))
        return packets


@dataclass(frozen=True)
class Cable:
    """The two ends."""

    left: Side
    right: Side


@contextlib.contextmanager
def cable() -> Iterator[Cable]:
    """Lay a cable; skipped who may not, but not in CI."""
    need("ip")
    need_root()
    number = f"{os.getpid()}-{next(_numbers)}"
    left = Side(f"sipcap-{number}-l", "left", "10.77.0.1", "fd77::1", "02:00:00:00:77:01")
    right = Side(f"sipcap-{number}-r", "right", "10.77.0.2", "fd77::2", "02:00:00:00:77:02")
    with contextlib.ExitStack() as stack:
        for side in (left, right):
            _ip("netns", "add", side.namespace)
            stack.callback(_ip, "netns", "del", side.namespace)
        left.ip("link", "add", left.name, "type", "veth", "peer", "name", right.name, "netns", right.namespace)
        for side in (left, right):
            side.ip("link", "set", side.name, "address", side.mac)
            side.ip("link", "set", side.name, "addrgenmode", "none")  # nothing is said that no test says
            side.ip("addr", "add", f"{side.ip4}/24", "dev", side.name)
            side.ip("addr", "add", f"{side.ip6}/64", "dev", side.name, "nodad")
            side.ip("link", "set", side.name, "up")
            side.ip("link", "set", "lo", "up")
        for side, other in ((left, right), (right, left)):
            # While an address is being resolved the kernel keeps about a hundred packets, and drops the others.
            for address in (other.ip4, other.ip6):
                side.ip("neigh", "replace", address, "lladdr", other.mac, "dev", side.name, "nud", "permanent")
        yield Cable(left, right)


def need_root() -> None:
    """Skip a test that needs more than a user may; in CI there is no excuse."""
    if os.geteuid() == 0 and Path("/proc/self/ns/net").exists():
        return
    if os.environ.get("CI") == "true":
        pytest.fail("root is needed in CI")
    pytest.skip("only root may do this")


def _ip(*args: str) -> None:
    done = subprocess.run(["ip", *args], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30)
    assert done.returncode == 0, (args, done.stderr.decode())
