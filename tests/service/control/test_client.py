"""The client of a control socket: answers, refusals, and servers that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sipcap.errors import ControlError
from sipcap.service.control.client import ControlClient, Unreachable
from sipcap.service.control.places import place_to_ask, place_to_serve
from tests.support.controlling import SmallService, serving


@contextmanager
def fake(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[None]:
    """Somebody at a socket who is no service; *serve* gets each connection in turn."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(8)

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        serve(connection)
                    except OSError:
                        pass  # the client has gone

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


HINT = "; is sipcap run running, or elsewhere (--socket)?"


def why(path: Path, timeout_s: float = 10.0) -> str:
    """Why a call does not reach a service."""
    with closing(ControlClient(str(path), timeout_s)) as client, pytest.raises(Unreachable) as caught:
        client.call("sipcapture.stats")
    text = str(caught.value)
    assert text.endswith(HINT)
    return text.removesuffix(HINT)


def test_client_calls_again_and_again(tmp_path: Path) -> None:
    """On one connection."""
    path = tmp_path / "x"
    with serving(SmallService(), control_socket=str(path)), closing(ControlClient(str(path))) as client:
        assert [client.call("sipcapture.status", word) for word in ("check", "off", "check")] == [
            "Enabled", "Disabled", "Disabled",
        ]  # fmt: skip


def test_client_raises_what_the_service_refuses(tmp_path: Path) -> None:
    """With the service's text; it is no reason to try again."""
    path = tmp_path / "x"
    with serving(SmallService(), control_socket=str(path)), closing(ControlClient(str(path))) as client:
        with pytest.raises(ControlError, match="Bad parameter") as caught:
            client.call("sipcapture.status", "once")
        assert not isinstance(caught.value, Unreachable)
        assert client.call("sipcapture.status", "check") == "Enabled"


def test_client_survives_a_restart_of_the_service(tmp_path: Path) -> None:
    """The connection is made anew; while nobody is there, it says so."""
    path = tmp_path / "x"
    with closing(ControlClient(str(path))) as client:
        for _ in range(3):
            with serving(SmallService(), control_socket=str(path)):
                assert client.call("sipcapture.status", "check") == "Enabled"
            with pytest.raises(Unreachable):
                client.call("sipcapture.status", "check")


@pytest.mark.parametrize("name", ["missing", "missing/x", "x" * 300, "a\0b"])
def test_client_without_a_service_says_where(tmp_path: Path, name: str) -> None:
    """In one line."""
    assert why(tmp_path / name).startswith(f"no service at {tmp_path}/")


def test_client_of_a_dead_socket_says_so(tmp_path: Path) -> None:
    """What a killed service left behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / "x"))
    assert why(tmp_path / "x").endswith("refused")


@pytest.mark.parametrize(
    "answer", [b"hello\n", b"\xff\n", b"{}\n", b"[1]\n", b'{"jsonrpc":"2.0","result":1,"id":77}\n', b"[" * 5000 + b"\n"]
)
def test_client_of_something_else_says_so(tmp_path: Path, answer: bytes) -> None:
    """Not a traceback, whatever answers there."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)

    with fake(tmp_path / "x", serve):
        assert why(tmp_path / "x").endswith("speaks no JSON-RPC")


def test_client_of_one_who_closes_gives_up(tmp_path: Path) -> None:
    """After a few attempts."""
    calls = []
    with fake(tmp_path / "x", lambda connection: calls.append(connection.recv(1000))):
        assert why(tmp_path / "x").endswith("closed")
    assert len(calls) == 3


def test_client_of_one_who_is_silent_gives_up_in_time(tmp_path: Path) -> None:
    """Also if a byte comes now and then."""
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        while not stop.wait(0.05):
            connection.sendall(b" ")

    with fake(tmp_path / "x", serve):
        try:
            assert why(tmp_path / "x", 0.5).endswith("no answer within 0.5 s")
        finally:
            stop.set()


def test_client_takes_no_endless_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is bounded, too."""
    monkeypatch.setattr("sipcap.service.control.client.CONTROL_ANSWER_BYTES", 100_000)

    def serve(connection: socket.socket) -> None:
        while True:
            connection.sendall(b"x" * 10_000)

    with fake(tmp_path / "x", serve):
        assert why(tmp_path / "x").endswith("the answer is too long")


def test_places_follow_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable alone if it is set; else the system's folder, then the user's (design 1.4)."""
    monkeypatch.delenv("SIPCAP_STATUS_SOCKET", raising=False)
    monkeypatch.setattr("sipcap.service.control.places.SYSTEM_FOLDER", str(tmp_path / "run" / "system"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "own"))
    assert place_to_serve() is None  # there is no "run" that a folder could be made in
    assert place_to_ask() == str(tmp_path / "run" / "system" / "sipcap.sock")
    (tmp_path / "own").mkdir()
    assert place_to_serve() == str(tmp_path / "own" / "sipcap.sock")
    (tmp_path / "own" / "sipcap.sock").touch()
    assert place_to_ask() == str(tmp_path / "own" / "sipcap.sock")
    (tmp_path / "run").mkdir()
    assert place_to_serve() == str(tmp_path / "run" / "system" / "sipcap.sock")
    monkeypatch.setenv("SIPCAP_STATUS_SOCKET", "/elsewhere")
    assert (place_to_serve(), place_to_ask()) == ("/elsewhere", "/elsewhere")
