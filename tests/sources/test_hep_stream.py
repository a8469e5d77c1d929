"""TCP connections: pieces, stops, floods, refusals."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from sipcap.counters import Counters
from sipcap.limits import STREAM_RESYNC_BYTES
from sipcap.sources.addresses import PeerFilter, parse_networks
from sipcap.sources.hep_stream import Room, StreamPort
from tests.support.messages import chunk, hep3, hep3_datagram, hep3_with
from tests.support.receiving import PATIENCE_S, connect

FRAMES = [hep3_datagram(number) for number in range(12)]
LARGEST = hep3(chunk(15, b"x" * (65_535 - 12)))


class Host:
    """A StreamPort with the selector that calls it."""

    def __init__(self, *, allow: list[str] | None = None, room: Room | None = None, idle_s: float = 60.0) -> None:
        self.stats = Counters()
        self.selector = selectors.DefaultSelector()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._listening.setblocking(False)
        self.number = int(self._listening.getsockname()[1])
        peers = PeerFilter(parse_networks(allow)) if allow else None
        self.port = StreamPort(self._listening, self.stats, peers, None, self.selector, room=room, idle_s=idle_s)

    def turn(self, timeout_s: float = 0.0) -> list[bytes]:
        """Give everybody who has something one turn."""
        return [frame for key, _ in self.selector.select(timeout_s) for frame in key.data()]

    def run(self, until: Callable[[list[bytes]], bool]) -> list[bytes]:
        """Take turns until something is so; what came in."""
        frames: list[bytes] = []
        end_s = time.monotonic() + PATIENCE_S
        while not until(frames):
            frames += self.turn(0.01)
            assert time.monotonic() < end_s, f"{len(frames)} frames, {self.stats.as_dict()}"
        return frames

    def frames(self, number: int) -> list[bytes]:
        """So many frames."""
        return self.run(lambda frames: len(frames) >= number)

    def close(self) -> None:
        """Close everything."""
        self.port.close()
        self.selector.close()


Make = Callable[..., Host]


@pytest.fixture
def make_host() -> Iterator[Make]:
    """Makes hosts, and closes them behind the test."""
    with contextlib.ExitStack() as stack:

        def make(*, allow: list[str] | None = None, room: Room | None = None, idle_s: float = 60.0) -> Host:
            host = Host(allow=allow, room=room, idle_s=idle_s)
            stack.callback(host.close)
            return host

        yield make


def reset(client: socket.socket) -> None:
    """Close a connection so that the other side reads an error instead of an end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def connected(host: Host) -> socket.socket:
    """A client that has been accepted."""
    client = connect(host.number)
    before = host.port.connections
    host.run(lambda _: host.port.connections > before)
    return client


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Within, this process cannot open anything."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("size", [1, 5, 7, 1_000, 1_000_000])
def test_frames_come_whole_in_any_pieces(make_host: Make, size: int) -> None:
    """However the bytes are cut, the frames are the same, in order, and nothing is left over."""
    host = make_host()
    stream = b"".join(FRAMES[:3] if size == 1 else FRAMES)
    with connected(host) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        got: list[bytes] = []
        for at in range(0, len(stream), size):
            client.sendall(stream[at : at + size])
            got += host.turn()
        got += host.frames(len(FRAMES[:3] if size == 1 else FRAMES) - len(got))
    assert b"".join(got) == stream
    host.run(lambda _: host.port.connections == 0)
    assert host.stats.received == 0  # what is whole is counted where it is decoded


def test_frames_of_the_largest_size_come_through(make_host: Make) -> None:
    """65,535 bytes, the most that the length field can say; Kamailio closes at 16 KB."""
    host = make_host()
    with connected(host) as client:
        client.sendall(LARGEST * 2)
        assert host.frames(2) == [LARGEST, LARGEST]


@pytest.mark.parametrize("ending", [socket.socket.close, reset], ids=["end", "reset"])
@pytest.mark.parametrize(("sent", "cut"), [(FRAMES[0][:100], 1), (FRAMES[0][:3], 1), (FRAMES[0], 0), (b"", 0)])
def test_connection_that_ends_inside_a_frame_is_counted(
    make_host: Make, ending: Callable[[socket.socket], None], sent: bytes, cut: int
) -> None:
    """A peer that goes away in the middle loses one message, and that one is counted."""
    host = make_host()
    client = connected(host)
    client.sendall(sent)
    frames = host.turn(0.1)
    ending(client)
    host.run(lambda _: host.port.connections == 0)
    assert len(frames) == (not cut and bool(sent))
    assert (host.stats.received, host.stats.rejected["stream_cut"]) == (cut, cut)


def test_junk_costs_one_message_and_the_next_frame_is_found(make_host: Make) -> None:
    """Bytes that are no HEP are counted once for each place, and the connection goes on."""
    host = make_host()
    with connected(host) as client:
        client.sendall(FRAMES[0] + b"INVITE sip:a@b SIP/2.0\r\n\r\n" + FRAMES[1] + b"HEP3\0\5!" + FRAMES[2])
        assert host.frames(3) == FRAMES[:3]
    assert host.stats.rejected == {"magic": 1, "length": 1}
    assert host.stats.received == 2


def test_junk_without_end_closes_the_connection(make_host: Make) -> None:
    """A peer that never speaks HEP is not listened to for ever."""
    host = make_host()
    with connected(host) as client:
        client.sendall(b"GET / HTTP/1.1\r\n" * (STREAM_RESYNC_BYTES // 16 + 10))
        host.run(lambda _: host.port.connections == 0)
    assert host.stats.rejected == {"magic": 1}


def test_stalled_frame_is_dropped_and_counted(make_host: Make) -> None:
    """Who stops in the middle of a frame for too long is closed; the message counts as cut."""
    host = make_host(idle_s=0.0)
    with connected(host) as client:
        client.sendall(FRAMES[0] + FRAMES[1][:50])
        assert host.frames(1) == [FRAMES[0]]
        host.port.drop_stalled()
        assert client.recv(1) == b""
    assert (host.port.connections, host.stats.rejected) == (0, {"stream_cut": 1})


def test_dripping_frame_does_not_gain_time_by_each_byte(make_host: Make) -> None:
    """One byte a second is a stall as well: what counts is when the frame began."""
    host = make_host(idle_s=0.3)
    drip = iter(FRAMES[0])
    with connected(host) as client:
        while host.port.connections:
            with contextlib.suppress(OSError):
                client.send(bytes((next(drip),)))  # runs out of bytes if nobody closes it
            time.sleep(0.002)
            host.turn()
            host.port.drop_stalled()
    assert host.stats.rejected == {"stream_cut": 1}
    assert host.stats.imbalance() == 0


def test_idle_connection_between_frames_stays(make_host: Make) -> None:
    """An agent without calls may be silent for hours; it must not lose its first message after that."""
    host = make_host(idle_s=0.0)
    with connected(host) as client:
        client.sendall(FRAMES[0])
        host.frames(1)
        host.port.drop_stalled()
        client.sendall(FRAMES[1])
        assert host.frames(1) == [FRAMES[1]]


def test_stalled_frame_is_forgiven_while_nobody_read(make_host: Make) -> None:
    """If our own reader was busy for a minute, the peers did not stall."""
    host = make_host(idle_s=0.0)
    with connected(host) as client:
        client.sendall(FRAMES[0][:50])
        host.turn(0.1)
        host.port.forgive(60.0)
        host.port.drop_stalled()
        client.sendall(FRAMES[0][50:])
        assert host.frames(1) == [FRAMES[0]]


def test_room_bounds_the_connections_of_all_ports_together(make_host: Make) -> None:
    """The bound is of the process; who is refused is counted, and who leaves makes room."""
    room = Room(2)
    first, second = make_host(room=room), make_host(room=room)
    clients = [connected(first), connected(second)]
    with connect(first.number) as refused:
        first.run(lambda _: first.stats.received == 1)
        assert refused.recv(1) == b""
    assert first.stats.rejected == {"too_many_connections": 1}
    clients.pop().close()
    second.run(lambda _: second.port.connections == 0)
    clients.append(connected(first))
    assert (first.port.connections, room.left) == (2, 0)
    for client in clients:
        client.close()


def test_peer_that_is_not_allowed_is_closed_and_counted(make_host: Make) -> None:
    """--allow holds for connections; a refused one counts as one message."""
    host = make_host(allow=["192.0.2.0/24"])
    with connect(host.number) as client:
        client.sendall(FRAMES[0])
        host.run(lambda _: host.stats.received > 0)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert (host.port.connections, host.stats.received, host.stats.rejected) == (0, 1, {"not_allowed": 1})


def test_descriptors_used_up_turns_peers_away(make_host: Make) -> None:
    """Without descriptors, peers are refused and counted, and accepted again when there are some."""
    host = make_host()
    clients = [connect(host.number) for _ in range(3)]
    with no_descriptor_left():
        host.run(lambda _: host.stats.received == 3)
        assert host.turn() == []
    assert host.stats.rejected == {"too_many_connections": 3}
    assert [client.recv(1) for client in clients] == [b""] * 3
    with connected(host) as late:
        late.sendall(FRAMES[0])
        assert host.frames(1) == [FRAMES[0]]
    for client in clients:
        client.close()


def test_descriptors_used_up_everywhere_pauses_instead_of_spinning(make_host: Make) -> None:
    """Where even the spare descriptor does not help, the port is deaf until it is told to resume."""

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            raise OSError(errno.ENFILE, "Too many open files in system")

    host = make_host()
    host.selector.unregister(host.port.socket)
    exhausted = Exhausted(fileno=os.dup(host.port.socket.fileno()))
    exhausted.setblocking(False)
    with selectors.DefaultSelector() as selector, connect(host.number):
        port = StreamPort(exhausted, host.stats, None, None, selector)
        assert len(selector.select(PATIENCE_S)) == 1
        port.accept()
        assert selector.select(0.0) == []
        port.resume()
        assert len(selector.select(PATIENCE_S)) == 1
        port.close()


def test_drain_reads_more_than_one_buffer(make_host: Make) -> None:
    """Frames that the kernel holds are read to the last one, however many turns that takes."""
    host = make_host()
    sent = [hep3_with(b"%03d" % number + b"x" * 60_000) for number in range(8)]
    with connected(host) as client:
        client.settimeout(0.5)
        whole = 0
        with contextlib.suppress(TimeoutError):  # as far as the buffers of the kernel go
            for frame in sent:
                client.sendall(frame)
                whole += 1
        got: list[bytes] = []
        read = True
        while read:
            frames, read = host.port.drain()
            got += frames
    assert whole >= 2
    assert got[:whole] == sent[:whole]


def test_accept_all_takes_the_whole_queue(make_host: Make) -> None:
    """Connections that the kernel accepted before a stop are ours."""
    host = make_host()
    clients = [connect(host.number) for _ in range(20)]
    host.port.accept_all()
    assert host.port.connections == 20
    for client in clients:
        client.close()


def test_close_counts_frames_that_are_not_whole(make_host: Make) -> None:
    """A stop in the middle of a frame loses it, and says so."""
    host = make_host()
    clients = [connected(host) for _ in range(3)]
    for client in clients[:2]:
        client.sendall(FRAMES[0][:-1])
    host.turn(0.1)
    host.turn(0.1)
    host.port.close()
    assert host.stats.rejected == {"stream_cut": 2}
    for client in clients:
        client.close()
