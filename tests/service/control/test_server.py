"""The control server on real sockets: answers, hostile clients, bounds."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sipcap.limits import CONTROL_CONNECTIONS, CONTROL_REQUEST_BYTES
from sipcap.service.control import clients
from sipcap.service.control.client import ControlClient
from sipcap.service.control.server import ControlOptions, ControlServer
from tests.service.control.test_binrpc import CHECK as BINRPC_CHECK
from tests.service.control.test_binrpc import ENABLED as BINRPC_ENABLED
from tests.support.background import wait_for
from tests.support.controlling import PATIENCE_S, SmallService, connected, read_all, read_line, serving

CHECK = b'{"jsonrpc":"2.0","method":"sipcapture.status","params":["check"],"id":1}'
ENABLED = b'{"jsonrpc":"2.0","result":"Enabled","id":1}\n'


@pytest.fixture
def service() -> SmallService:
    """What is asked."""
    return SmallService()


@pytest.fixture
def path(tmp_path: Path, service: SmallService) -> Iterator[Path]:
    """The socket of a server that runs."""
    path = tmp_path / "control.sock"
    with serving(service, control_socket=str(path)):
        yield path


def is_answering(path: Path) -> bool:
    """Whether a client is served."""
    with connected(path) as client:
        client.sendall(CHECK)
        return read_line(client) == ENABLED


def test_server_answers_a_line(path: Path) -> None:
    """One request, one line."""
    with connected(path) as client:
        client.sendall(CHECK + b"\n")
        assert read_line(client) == ENABLED


def test_server_answers_requests_without_lines_and_in_pieces(path: Path) -> None:
    """Values are found by their brackets, whatever the pieces."""
    with connected(path) as client:
        for at in range(len(CHECK)):
            client.sendall(CHECK[at : at + 1])
        assert read_line(client) == ENABLED
        client.sendall(CHECK * 3)
        assert [read_line(client) for _ in range(3)] == [ENABLED] * 3


def test_server_answers_what_came_before_the_end_of_the_stream(path: Path) -> None:
    """A client that has said everything, as socat and nc do, gets its answers; then the connection ends."""
    with connected(path) as client:
        client.sendall(CHECK + b"\n" + CHECK)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == ENABLED * 2


def test_server_says_that_half_a_request_is_none(path: Path) -> None:
    """At the end of the stream it is known that the rest will not come."""
    with connected(path) as client:
        client.sendall(CHECK[:-1])
        client.shutdown(socket.SHUT_WR)
        assert json.loads(read_all(client))["error"]["code"] == -32700


def test_server_closes_who_stops_in_the_middle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a request is answered with an error after a while, even if a byte comes now and then."""
    monkeypatch.setattr(clients, "CONTROL_STALLED_S", 0.3)
    with connected(path) as client:
        client.sendall(b"{")
        end_s = time.monotonic() + PATIENCE_S
        client.settimeout(0.1)
        received = b""
        while time.monotonic() < end_s:
            try:
                piece = client.recv(1000)
            except TimeoutError:
                client.send(b" ")
                continue
            if not piece:
                break
            received += piece
        assert json.loads(received)["error"]["code"] == -32700


def test_server_closes_who_is_idle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that asks nothing for long does not keep its place."""
    monkeypatch.setattr(clients, "CONTROL_IDLE_S", 0.2)
    with connected(path) as client:
        assert read_all(client) == b""


@pytest.mark.parametrize(
    "hostile", [b"[" * 1000, b'{"a":"' + b"x" * (CONTROL_REQUEST_BYTES + 9000), b"x" * (CONTROL_REQUEST_BYTES + 9000)]
)
def test_server_refuses_what_is_too_long_or_too_deep(path: Path, hostile: bytes) -> None:
    """With an error and the end of the connection; others are served."""
    with connected(path) as client:
        sender = threading.Thread(target=send_quietly, args=(client, hostile))
        sender.start()
        assert json.loads(read_line(client))["error"]["code"] == -32600
        sender.join()
    assert is_answering(path)


def send_quietly(client: socket.socket, data: bytes) -> None:
    """Send to one who may close."""
    try:
        client.sendall(data)
    except OSError:
        pass  # that is what is tested


def test_server_full_of_silent_clients_serves_a_new_one(path: Path) -> None:
    """Who was silent longest makes room; the number of connections is bounded."""
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(path)) for _ in range(CONTROL_CONNECTIONS + 10)]
        assert is_answering(path)
        wait_for(lambda: sum(is_closed(each) for each in silent) >= 11, "closing the oldest")
        assert all(is_closed(each) for each in silent[:5])
        assert not is_closed(silent[-1])


def is_closed(client: socket.socket) -> bool:
    """Whether the other side has closed."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_server_flooded_with_requests_serves_others_and_keeps_its_bounds(path: Path) -> None:
    """Clients that send without reading, and that send as fast as they can, keep nobody waiting for long."""
    stop = threading.Event()

    def flood(reads: bool) -> None:
        with connected(path) as client:
            client.settimeout(0.1)
            while not stop.is_set():
                try:
                    client.sendall(CHECK * 50)
                    if reads:
                        client.recv(65_536)
                except TimeoutError:
                    continue
                except OSError:
                    return

    def connect_again_and_again() -> None:
        while not stop.is_set():
            try:
                with connected(path) as client:
                    client.send(b"{")
            except OSError:
                time.sleep(0.01)

    threads = [threading.Thread(target=flood, args=(reads,)) for reads in (True, False, True)]
    threads.append(threading.Thread(target=connect_again_and_again))
    for thread in threads:
        thread.start()
    try:
        client = ControlClient(str(path), PATIENCE_S)
        answers = [client.call("sipcapture.status", "check") for _ in range(5)]
        assert answers == ["Enabled"] * 5
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        client.close()


def test_server_that_is_not_read_from_keeps_little(path: Path, service: SmallService) -> None:
    """A client that takes no answers is not read any more: what it sends stays with it."""
    service.errors = [{"ts_us": 1, "text": "x" * 100_000}]
    stats = b'{"jsonrpc":"2.0","method":"sipcapture.stats","id":1}'
    with connected(path) as client:
        client.setblocking(False)
        sent = 0
        end_s = time.monotonic() + PATIENCE_S
        blocked_since_s = None
        while time.monotonic() < end_s:
            try:
                sent += client.send(stats * 100)
                blocked_since_s = None
            except BlockingIOError:
                blocked_since_s = blocked_since_s or time.monotonic()
                if time.monotonic() - blocked_since_s > 1.0:
                    break
                time.sleep(0.01)
        assert blocked_since_s is not None
        assert sent < 2_000_000
        assert is_answering(path)


def test_server_survives_a_bug_in_a_method(
    path: Path, service: SmallService, monkeypatch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture
) -> None:
    """It costs one client its connection, is logged, and nothing else happens."""

    def broken() -> dict[str, Any]:
        raise KeyError("stores")

    monkeypatch.setattr(service, "stats", broken)
    with connected(path) as client:
        client.sendall(b'{"jsonrpc":"2.0","method":"sipcapture.stats","id":1}')
        assert read_all(client) == b""
    assert is_answering(path)
    assert [record.levelno for record in log.records if "bug" in record.message] == [logging.ERROR]


def test_server_survives_clients_that_go_away(path: Path) -> None:
    """Before, within and behind a request."""
    for data in (b"", CHECK[:9], CHECK, CHECK * 200):
        with connected(path) as client:
            client.sendall(data)
    assert is_answering(path)


def test_binrpc_server_answers_recorded_bytes_however_they_come(tmp_path: Path, service: SmallService) -> None:
    """In pieces, several on one connection; junk ends it with a fault."""
    path = tmp_path / "binrpc.sock"
    with serving(service, binrpc_socket=str(path)), connected(path) as client:
        for at in range(len(BINRPC_CHECK)):
            client.sendall(BINRPC_CHECK[at : at + 1])
        client.sendall(BINRPC_CHECK * 2)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == BINRPC_ENABLED * 3
        with connected(path) as hostile:
            hostile.sendall(b"\xa1\x0f\xff\xff\xff\xff")
            assert b"bad request: length" in read_all(hostile)


def test_off_over_one_protocol_shows_in_the_other(tmp_path: Path, service: SmallService) -> None:
    """All sockets are about the same service."""
    control, binrpc = tmp_path / "c.sock", tmp_path / "b.sock"
    with serving(service, control_socket=str(control), binrpc_socket=str(binrpc)):
        client = ControlClient(str(control))
        assert client.call("sipcapture.status", "off") == "Disabled"
        client.close()
        with connected(binrpc) as other:
            other.sendall(BINRPC_CHECK)
            assert b"Disabled" in other.recv(1000)


def test_close_removes_the_sockets_and_ends_the_threads(tmp_path: Path, service: SmallService) -> None:
    """Nothing is left behind, neither in the file system nor in the process."""
    names = {"control_socket": "c", "binrpc_socket": "b", "rpc_fifo": "f"}
    paths = {key: str(tmp_path / name) for key, name in names.items()}
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    with serving(service, metrics_listen="127.0.0.1:0", **paths):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "c", "f"]
        assert {"control", "metrics"} <= {thread.name for thread in threading.enumerate()}
    assert list(tmp_path.iterdir()) == []
    assert not {"control", "metrics"} & {thread.name for thread in threading.enumerate()}
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_fork_leaves_the_sockets_with_the_parent(tmp_path: Path, service: SmallService) -> None:
    """A worker that lives on keeps no socket of a service that is gone, and removes none."""
    path = tmp_path / "control.sock"
    with serving(service, control_socket=str(path), rpc_fifo=str(tmp_path / "fifo")) as server:
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            server.close()  # a second time, as a worker's own cleaning up may do
            os.write(told, b"x")
            time.sleep(PATIENCE_S)
            os._exit(0)
        try:
            assert os.read(ready, 1) == b"x"
            assert is_answering(path)
            server.close()
            with pytest.raises(FileNotFoundError), connected(path):
                pass
            with serving(service, control_socket=str(path), rpc_fifo=str(tmp_path / "fifo")):
                assert is_answering(path)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(ready)
            os.close(told)


def test_open_before_start_holds_clients_until_it_starts(tmp_path: Path, service: SmallService) -> None:
    """Sockets may be made while there are rights to; who comes early waits."""
    path = tmp_path / "control.sock"
    server = ControlServer(ControlOptions(control_socket=str(path)), service)
    server.open()
    try:
        with connected(path) as client:
            client.sendall(CHECK)
            server.start()
            assert read_line(client) == ENABLED
    finally:
        server.close()


def cpu_share(seconds: float) -> float:
    """The share of one processor that the thread of the server takes, over so many seconds."""
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "control"]
    assert thread.ident is not None
    clock = time.pthread_getcpuclockid(thread.ident)
    before_s, started_s = time.clock_gettime(clock), time.monotonic()
    time.sleep(seconds)
    return (time.clock_gettime(clock) - before_s) / (time.monotonic() - started_s)


@pytest.mark.parametrize("what", ["blanks", "connections"])
def test_server_flooded_with_nothing_takes_little_of_the_processor(path: Path, what: str) -> None:
    """Bytes that are no requests, and connections that ask nothing, are taken at a bounded rate."""
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            try:
                with connected(path) as client:
                    client.settimeout(0.1)
                    while what == "blanks" and not stop.is_set():
                        client.sendall(b" " * 4096)
            except OSError:
                continue

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        time.sleep(1.0)  # what the budgets hold at first is used up
        assert cpu_share(1.5) < 0.2
        assert is_answering(path)
    finally:
        stop.set()
        thread.join()


def test_server_without_free_descriptors_waits_for_one(path: Path) -> None:
    """It does not spin, and serves those who came meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with connected(path) as first, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as late:
        first.sendall(CHECK)
        assert read_line(first) == ENABLED
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
        spare += [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]  # no gap is left below the limit
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, hard))
            late.connect(str(path))
            late.settimeout(PATIENCE_S)
            late.sendall(CHECK)
            first.sendall(CHECK)
            assert read_line(first) == ENABLED
            assert cpu_share(1.0) < 0.2
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in spare:
                os.close(descriptor)
        assert read_line(late) == ENABLED
