"""Bytes read ahead from pipes, files and sockets."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sipcap.inlet import Inlet
from sipcap.limits import OUTPUT_WRITE_BYTES, READ_AHEAD_BYTES


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe; the test closes the writing one."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def drain(inlet: Inlet, timeout_s: float = 30.0) -> bytes:
    """Everything up to the end."""
    until_s = time.monotonic() + timeout_s
    data = b""
    while not inlet.at_end and time.monotonic() < until_s:
        data += inlet.get(0.1)
    return data


def wait_until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait until something holds."""
    until_s = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.01)
    assert condition()


def test_get_hands_out_all_bytes_in_order(pipe: tuple[int, int]) -> None:
    """What goes into a pipe comes out of the inlet, and then its end."""
    inlet = Inlet(pipe[0])
    data = bytes(range(256)) * 4_000
    writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=pipe[1])
    os.close(pipe[1])
    assert writer.stdin is not None
    writer.stdin.write(data)
    writer.stdin.close()
    assert drain(inlet) == data
    assert (inlet.at_end, inlet.failure, inlet.get(0)) == (True, None, b"")
    writer.wait(30)


def test_get_without_data_returns_after_its_time(pipe: tuple[int, int]) -> None:
    """A quiet pipe is no end, and costs no more time than allowed."""
    inlet = Inlet(pipe[0])
    assert (inlet.get(0.0), inlet.get(0.05), inlet.at_end) == (b"", b"", False)
    os.write(pipe[1], b"x")
    assert inlet.get(30.0) == b"x"
    os.close(pipe[1])
    assert drain(inlet) == b""


def test_get_of_nothing_is_the_end(pipe: tuple[int, int]) -> None:
    """A pipe that was closed at once holds nothing."""
    os.close(pipe[1])
    assert drain(Inlet(pipe[0])) == b""


def test_read_ahead_is_bounded_and_goes_on(tmp_path: Path) -> None:
    """A reader that is busy does not make the memory grow, and misses nothing."""
    path = tmp_path / "input"
    data = os.urandom(1 << 20) * 40
    path.write_bytes(data)
    with path.open("rb", buffering=0) as file:
        inlet = Inlet(file.fileno())
        wait_until(lambda: file.tell() >= READ_AHEAD_BYTES)
        time.sleep(0.2)
        assert file.tell() <= READ_AHEAD_BYTES + OUTPUT_WRITE_BYTES
        assert drain(inlet) == data


def test_pipe_made_non_blocking_by_others_is_read_as_usual(pipe: tuple[int, int]) -> None:
    """A flag that another program set on our pipe is no end of the input."""
    flags = fcntl.fcntl(pipe[0], fcntl.F_GETFL)
    fcntl.fcntl(pipe[0], fcntl.F_SETFL, flags | os.O_NONBLOCK)
    inlet = Inlet(pipe[0])
    for piece in (b"one", b"two"):
        assert inlet.get(0.1) == b""
        os.write(pipe[1], piece)
        assert inlet.get(30.0) == piece
    os.close(pipe[1])
    assert drain(inlet) == b""
    assert inlet.failure is None


def test_failure_is_kept_behind_what_was_read() -> None:
    """Input that breaks off is told from input that ends."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    peer, _ = server.accept()
    peer.sendall(b"before")
    inlet = Inlet(client.fileno())
    assert inlet.get(30.0) == b"before"
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()  # with a reset
    assert drain(inlet) == b""
    assert isinstance(inlet.failure, ConnectionResetError)
    server.close()
    client.close()


def test_folder_is_a_failure(tmp_path: Path) -> None:
    """What cannot be read at all says why."""
    folder = os.open(tmp_path, os.O_RDONLY)
    inlet = Inlet(folder)
    assert drain(inlet) == b""
    assert isinstance(inlet.failure, IsADirectoryError)
    os.close(folder)


def test_stop_hands_out_what_was_read_ahead_and_reads_no_more(pipe: tuple[int, int]) -> None:
    """What left the pipe is not lost; what is still in it stays there for others."""
    inlet = Inlet(pipe[0])
    os.write(pipe[1], b"one")
    wait_until(lambda: inlet._queued_bytes == 3)
    os.write(pipe[1], b"two")
    wait_until(lambda: inlet._queued_bytes == 6)
    assert b"".join(inlet.stop()) == b"onetwo"
    assert (inlet.at_end, inlet.stop()) == (False, [])
    os.write(pipe[1], b"stays")
    time.sleep(0.1)
    assert os.read(pipe[0], 100) == b"stays"
    os.close(pipe[1])


def test_stop_in_the_middle_of_reading_loses_nothing() -> None:
    """At whatever moment it comes: a byte has been handed out, or is still in the pipe."""
    for number in range(200):
        reading, writing = os.pipe()
        inlet = Inlet(reading)
        writer = threading.Thread(target=lambda end: [os.write(end, b"x" * 100) for _ in range(40)], args=(writing,))
        writer.start()
        time.sleep(number % 20 * 0.0001)
        taken = b"".join(inlet.stop())
        writer.join()
        os.close(writing)
        while data := os.read(reading, 1 << 16):
            taken += data
        os.close(reading)
        assert len(taken) == 4_000


def test_stop_at_the_end_knows_that_it_is_the_end(pipe: tuple[int, int]) -> None:
    """Input that ended before the stop is complete."""
    os.write(pipe[1], b"all")
    os.close(pipe[1])
    inlet = Inlet(pipe[0])
    wait_until(lambda: inlet._ended)
    assert not inlet.at_end
    assert (inlet.stop(), inlet.at_end) == ([b"all"], True)


def test_stop_lets_a_thread_that_waits_for_room_end(tmp_path: Path) -> None:
    """No thread is left behind a full read-ahead."""
    path = tmp_path / "input"
    path.write_bytes(bytes(4 * READ_AHEAD_BYTES))
    with path.open("rb", buffering=0) as file:
        inlet = Inlet(file.fileno())
        wait_until(lambda: file.tell() >= READ_AHEAD_BYTES)
        assert sum(map(len, inlet.stop())) >= READ_AHEAD_BYTES
        at = file.tell()
        time.sleep(0.2)
        assert file.tell() == at
