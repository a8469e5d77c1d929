"""Sockets and FIFOs in the file system: modes, groups, those that are there already."""

from __future__ import annotations

import grp
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from sipcap.errors import CannotStart
from sipcap.service.control.server import ControlOptions, ControlServer
from tests.support.controlling import SmallService, connected, serving

KINDS = ("control_socket", "binrpc_socket", "rpc_fifo")


def mode_of(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def start_error(**options: str) -> str:
    """Why a server cannot start."""
    server = ControlServer(ControlOptions(**options), SmallService())
    with pytest.raises(CannotStart) as caught:
        server.start()
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_place_is_its_owners_alone(tmp_path: Path, kind: str) -> None:
    """Mode 0600, whatever the umask."""
    old = os.umask(0)
    try:
        with serving(SmallService(), **{kind: str(tmp_path / "x")}):
            assert mode_of(tmp_path / "x") == 0o600
    finally:
        os.umask(old)


@pytest.mark.parametrize("kind", KINDS)
def test_place_of_a_group_is_shared_with_it(tmp_path: Path, kind: str) -> None:
    """Mode 0660 and the group, by name or number."""
    group = grp.getgrgid(os.getgid())
    for name in (group.gr_name, str(group.gr_gid)):
        with serving(SmallService(), control_group=name, **{kind: str(tmp_path / "x")}):
            found = (tmp_path / "x").stat()
            assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, group.gr_gid)


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_group_is_said_and_nothing_remains(tmp_path: Path, kind: str) -> None:
    """A service whose group is misspelt does not start half."""
    error = start_error(control_group="no-such-group", **{kind: str(tmp_path / "x")})
    assert error == f"{tmp_path / 'x'}: there is no group no-such-group"


@pytest.mark.parametrize("kind", KINDS)
def test_second_server_on_one_path_does_not_start(tmp_path: Path, kind: str) -> None:
    """And the first goes on."""
    path = tmp_path / "x"
    with serving(SmallService(), **{kind: str(path)}):
        before = path.stat().st_ino
        assert "another process" in start_error(**{kind: str(path)})
        assert path.stat().st_ino == before
    assert not path.exists()


@pytest.mark.parametrize("kind", ["control_socket", "binrpc_socket"])
def test_stale_socket_is_replaced(tmp_path: Path, kind: str) -> None:
    """What a killed service left behind is in nobody's way."""
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with serving(SmallService(), **{kind: str(path)}), connected(path):
        pass


def test_stale_fifo_is_replaced(tmp_path: Path) -> None:
    """Nobody reads it."""
    path = tmp_path / "x"
    os.mkfifo(path)
    with serving(SmallService(), rpc_fifo=str(path)):
        assert mode_of(path) == 0o600


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_what_is_something_else_stays(tmp_path: Path, kind: str, what: str) -> None:
    """A path that was named by mistake is not removed."""
    path = tmp_path / "x"
    if what == "file":
        path.write_text("precious")
    elif what == "folder":
        path.mkdir()
    else:
        (tmp_path / "y").write_text("precious")
        path.symlink_to(tmp_path / "y")
    assert str(path) in start_error(**{kind: str(path)})
    assert path.is_dir() or path.read_text() == "precious"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["missing/x", "x" * 300, "a\0b"])
def test_path_that_cannot_be_is_said(tmp_path: Path, kind: str, name: str) -> None:
    """In one line with the path."""
    error = start_error(**{kind: f"{tmp_path}/{name}"})
    assert error.startswith(f"{tmp_path}/")
    assert "\n" not in error


def test_datagram_socket_of_another_is_left_alone(tmp_path: Path) -> None:
    """It answers nobody who connects with a stream, but somebody has it open."""
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert "another process" in start_error(control_socket=str(path))
        assert path.exists()


def test_first_socket_is_removed_if_the_second_cannot_be(tmp_path: Path) -> None:
    """All of them, or none."""
    (tmp_path / "file").write_text("")
    start_error(control_socket=str(tmp_path / "c"), binrpc_socket=str(tmp_path / "file"))
    assert not (tmp_path / "c").exists()


def test_close_leaves_a_socket_that_is_anothers(tmp_path: Path) -> None:
    """Whoever replaced it keeps it."""
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        with serving(SmallService(), control_socket=str(path)):
            path.unlink()
            other.bind(str(path))
        assert path.exists()


def test_many_servers_at_once_on_a_stale_path_are_one(tmp_path: Path) -> None:
    """Those who look and bind at the same time do not remove each other's socket."""
    path = tmp_path / "x"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    servers = [ControlServer(ControlOptions(control_socket=str(path)), SmallService()) for _ in range(8)]
    started = []

    def start(server: ControlServer) -> None:
        try:
            server.start()
            started.append(server)
        except CannotStart:
            pass  # seven of eight

    threads = [threading.Thread(target=start, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len(started) == 1
        with connected(path):
            pass
    finally:
        for server in started:
            server.close()
