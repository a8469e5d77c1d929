"""TCP connections that stall, drip, come by the thousand or are not welcome."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import selectors
import socket
import time
from collections.abc import Iterator

from sipcap.sources.hep_stream import Room, StreamPort
from tests.support.messages import hep3_datagram
from tests.support.receiving import PATIENCE_S, connect
from tests.support.streams import Make, connected

FRAMES = [hep3_datagram(number) for number in range(12)]


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


def test_room_is_made_by_closing_who_never_spoke(make_host: Make) -> None:
    """Silent connections may stay while there is room; when there is none, those that never sent a frame go."""
    host = make_host(room=Room(3), idle_s=0.0)
    speaker, *silent = [connected(host) for _ in range(3)]
    speaker.sendall(FRAMES[0])
    host.frames(1)
    with connect(host.number) as agent:
        agent.sendall(FRAMES[1])
        assert host.frames(1) == [FRAMES[1]]
        assert [client.recv(1) for client in silent] == [b"", b""]
        speaker.sendall(FRAMES[2])
        assert host.frames(1) == [FRAMES[2]]
    assert host.stats.rejected == {}
    for client in (speaker, *silent):
        client.close()


def test_room_is_not_made_of_who_speaks_now(make_host: Make) -> None:
    """An agent whose first message waits to be read keeps its place."""
    host = make_host(room=Room(1), idle_s=0.0)
    with connected(host) as late:
        late.sendall(FRAMES[0])
        with connect(host.number) as other:
            host.port.accept()
            assert other.recv(1) == b""
        assert host.frames(1) == [FRAMES[0]]
    assert host.stats.rejected == {"too_many_connections": 1}


def test_connection_dropped_since_it_was_named_is_left_alone(make_host: Make) -> None:
    """The selector may name a connection that somebody else's turn has closed meanwhile."""
    host = make_host()
    with connected(host) as client:
        client.sendall(FRAMES[0][:50])
        (named,) = [key for key, _ in host.selector.select(PATIENCE_S)]
        client.sendall(FRAMES[0][50:])
        assert [frame for _ in range(2) for frame in named.data()] == [FRAMES[0]]
    host.run(lambda _: host.port.connections == 0)
    assert (named.data(), host.stats.received) == ([], 0)


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


def test_accept_all_takes_the_whole_queue(make_host: Make) -> None:
    """Connections that the kernel accepted before a stop are ours."""
    host = make_host()
    clients = [connect(host.number) for _ in range(20)]
    host.port.accept_all()
    assert host.port.connections == 20
    for client in clients:
        client.close()
