"""Mirror mode from inside: rings behind forks, links without Ethernet, workers that die."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipcap.errors import CannotStart
from sipcap.limits import RING_BLOCK_BYTES
from sipcap.sources.interfaces import find_interface, lost_by_interfaces
from sipcap.sources.mirror import MirrorOptions, MirrorSource
from sipcap.sources.packet_ring import FEWEST_BLOCKS
from tests.support.messages import sip_message
from tests.support.namespaces import need_root
from tests.support.packets import ip4, ip6, udp

# Python 3.12 warns of a fork beside a thread: the threads are those of other tests, and the workers touch none.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

_TUNSETIFF, _IFF_TUN_NO_PI = 0x400454CA, 0x1001
_SIOCSIFFLAGS = 0x8914


@pytest.fixture
def tun() -> Iterator[tuple[str, int]]:
    """The name of a point-to-point interface without link headers, and where to write packets that it receives."""
    need_root()
    if not Path("/dev/net/tun").exists():
        pytest.skip("/dev/net/tun is not here")
    name = f"sipcap{os.getpid() % 100_000}"
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, _SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), 0x1 | 0x40))
    yield name, descriptor
    os.close(descriptor)


def _read(source: MirrorSource, number: int) -> list[bytes]:
    """Read so many messages."""
    payloads: list[bytes] = []
    until_s = time.monotonic() + 20
    for messages in source:
        payloads += [message.payload for message in messages]
        if len(payloads) >= number or time.monotonic() > until_s:
            source.stop()
    return payloads


@pytest.mark.parametrize("bpf", [None, "auto", "udp and src port 5060"])
def test_mirror_of_a_link_without_header(tun: tuple[str, int], bpf: str | None) -> None:
    """Packets of a tunnel interface begin with IP; filters begin there, too."""
    name, wire = tun
    source = MirrorSource(MirrorOptions(name, [range(5060, 5061)], bpf))
    source.open()
    try:
        for number in range(3):
            os.write(wire, ip4(udp(sip_message(number))))
        os.write(wire, ip6(udp(sip_message(3))))
        os.write(wire, ip4(udp(sip_message(4), 9, 9)))
        assert _read(source, 4) == list(map(sip_message, range(4)))
        assert source.stats.packets == (5 if bpf is None else 4)
    finally:
        source.close()


def test_mirror_worker_that_is_forked_again_goes_on_where_the_ring_is(tun: tuple[str, int]) -> None:
    """A worker is killed in the middle of the ring; the next one reads, in order, what the first had not."""
    name, wire = tun
    source = MirrorSource(MirrorOptions(name))
    source.open()
    try:
        turns = [list(map(sip_message, range(first, first + 30))) for first in (0, 30, 60)]
        for payload in turns[0]:
            os.write(wire, ip4(udp(payload)))
        assert _in_worker(source, 30, then_die=True) == turns[0]
        for turn in turns[1:]:
            for payload in turn:
                os.write(wire, ip4(udp(payload)))
            time.sleep(0.2)  # a block of its own
        assert _in_worker(source, 60, then_die=False) == turns[1] + turns[2]
    finally:
        source.close()


def _in_worker(source: MirrorSource, number: int, *, then_die: bool) -> list[bytes]:
    """Read so many messages behind a fork; the process dies before it can tidy up, or ends."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            source.enter_worker(0)
            found: list[bytes] = []
            for messages in source:
                found += [message.payload for message in messages]
                if len(found) >= number:
                    os.write(writing, b"\0".join(found))
                    if then_die:
                        os.kill(os.getpid(), signal.SIGKILL)
                    break
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return data.split(b"\0")


def test_mirror_times_and_counts_of_a_ring_that_wraps(tun: tuple[str, int]) -> None:
    """Blocks are used again and again; nothing is lost or read twice, and times go forward."""
    name, wire = tun
    source = MirrorSource(MirrorOptions(name, rcvbuf_bytes=1))
    source.open()
    try:
        enough = FEWEST_BLOCKS * RING_BLOCK_BYTES // 500 + 2_000
        times: list[int] = []
        written = 0
        for messages in source:
            times += [message.ts_us for message in messages]
            if written >= enough:
                source.stop()
            elif not messages:
                for number in range(500):
                    written += bool(os.write(wire, ip4(udp(sip_message(number)))))
        assert len(times) == source.stats.received == written
        assert times == sorted(times)
        assert source.stats.kernel_dropped == 0
    finally:
        source.close()


def test_mirror_buffer_is_shared_by_the_rings(tun: tuple[str, int], caplog: pytest.LogCaptureFixture) -> None:
    """--rcvbuf is what all workers have together, but each gets the least that a ring needs."""
    source = MirrorSource(MirrorOptions(tun[0], children=2, rcvbuf_bytes=16 << 20))
    source.open()
    sizes = [ring.size_bytes for ring in source._rings]
    source.close()
    source.close()
    assert sizes == [8 << 20, 8 << 20]


def test_lost_by_interfaces_adds_up_what_the_card_had_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one interface, or of all; one that has gone has lost nothing."""
    for name, missed, full in (("eth0", 3, 4), ("eth1", 50, 0)):
        folder = tmp_path / name / "statistics"
        folder.mkdir(parents=True)
        (folder / "rx_missed_errors").write_text(f"{missed}\n")
        (folder / "rx_fifo_errors").write_text(f"{full}\n")
    monkeypatch.setattr("sipcap.sources.interfaces._DEVICES", tmp_path)
    assert [lost_by_interfaces(name) for name in ("eth0", "eth1", "any", "eth2")] == [7, 50, 57, 0]


def test_mirror_counts_what_the_interface_lost_since_the_start(
    tun: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what was lost before nothing is counted; of several workers one counts."""
    counter = tmp_path / tun[0] / "statistics" / "rx_missed_errors"
    counter.parent.mkdir(parents=True)
    monkeypatch.setattr("sipcap.sources.interfaces._DEVICES", tmp_path)
    for index, expected in ((0, 5), (1, 0)):
        counter.write_text("100")
        source = MirrorSource(MirrorOptions(tun[0], children=2))
        source.open()
        source.enter_worker(index)
        for _ in source:
            counter.write_text("105")
            source.stop()
        source.close()
        assert source.stats.kernel_dropped == expected


def test_find_interface_refuses_what_cannot_be(tun: tuple[str, int]) -> None:
    """Names that no interface can have are no reason for a traceback."""
    for name in ("", "a" * 300, "no/such", "nul\0"):
        with pytest.raises(CannotStart, match="there is no interface"):
            find_interface(name)
