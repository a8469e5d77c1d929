"""TCP connections: frames in any pieces, cuts, junk, drains."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

import pytest

from sipcap.limits import STREAM_RESYNC_BYTES
from tests.support.messages import chunk, hep3, hep3_datagram, hep3_with
from tests.support.streams import Make, connected

FRAMES = [hep3_datagram(number) for number in range(12)]
LARGEST = hep3(chunk(15, b"x" * (65_535 - 12)))


def reset(client: socket.socket) -> None:
    """Close a connection so that the other side reads an error instead of an end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


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
