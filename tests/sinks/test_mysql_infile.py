"""A server that asks for files gets what was offered to it, and never a file."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from sipcap.errors import CannotStart
from sipcap.sinks.mysql_infile import InfileConnection
from sipcap.sinks.registry import open_sink
from tests.support.fake_mysql import OK, FakeMysql, file_request, result

SECRET = "root:secret-of-this-machine"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that nobody may read."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return path


def connect(server: FakeMysql) -> InfileConnection:
    """A connection as the sink makes it."""
    return InfileConnection(
        host="127.0.0.1", port=server.port, user="u", database="d", charset="utf8mb4", local_infile=True,
        autocommit=None, read_timeout=10,
    )  # fmt: skip


@pytest.mark.parametrize("turn", range(5))
def test_open_server_that_answers_with_requests_for_a_file_gets_none(secret: Path, turn: int) -> None:
    """Whichever statement of ours it uses for the attempt, the answer is a broken connection."""
    seen: list[bytes] = []

    def answer(statement: bytes) -> list[bytes]:
        seen.append(statement)
        if len(seen) > turn:
            return [file_request(str(secret))]
        return result("1", "16777216", "0") if b"@@local_infile" in statement else [OK]

    with FakeMysql(answer) as server, pytest.raises(CannotStart):
        open_sink(f"mysql://u:p@127.0.0.1:{server.port}/d")
    assert len(seen) > turn
    assert SECRET.encode() not in server.received


def test_load_server_that_asks_for_another_file_gets_the_offered_rows(secret: Path) -> None:
    """The name that the server sends is not looked at."""

    def answer(statement: bytes) -> list[bytes]:
        return [file_request(str(secret))] if statement.startswith(b"LOAD") else [OK]

    with FakeMysql(answer) as server:
        connection = connect(server)
        connection.load("LOAD DATA LOCAL INFILE 'sipcap' INTO TABLE t", [b"one\n", b"two\n"])
        connection.close()
    assert b"one\ntwo\n" in server.received
    assert SECRET.encode() not in server.received


def test_load_server_that_asks_twice_gets_nothing_more(secret: Path) -> None:
    """A second request, with no rows left to offer, ends the connection."""

    def answer(statement: bytes) -> list[bytes]:
        return [file_request(str(secret))] if statement.startswith(b"LOAD") else [OK]

    with FakeMysql(answer) as server:
        connection = connect(server)
        connection.load("LOAD DATA", [b"one\n"])
        with pytest.raises(pymysql.err.OperationalError, match="nobody offered"), connection.cursor() as cursor:
            cursor.execute("LOAD DATA")
        assert not connection.open
    assert SECRET.encode() not in server.received


def test_connect_dead_peer_is_noticed_in_half_a_minute() -> None:
    """A server that vanishes without a word must not hold a batch for hours."""
    with FakeMysql(lambda _: [OK]) as server:
        connection = connect(server)
        assert connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= 30
        connection.close()


def test_show_warnings_is_not_there(secret: Path) -> None:
    """The one way of pymysql to read an answer without ours is closed."""
    with FakeMysql(lambda statement: [file_request(str(secret))] if b"WARNINGS" in statement else [OK]) as server:
        connection = connect(server)
        with pytest.raises(NotImplementedError):
            connection.show_warnings()
        connection.close()
    assert SECRET.encode() not in server.received


def test_load_rows_that_cannot_be_made_end_the_connection() -> None:
    """An error while rows are read passes through, and no half of a batch is taken for a whole."""

    def lines() -> Iterator[bytes]:
        yield b"one\n"
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")

    with FakeMysql(lambda statement: [file_request("sipcap")] if b"LOAD" in statement else [OK]) as server:
        connection = connect(server)
        with pytest.raises(UnicodeEncodeError):
            connection.load("LOAD DATA", lines())
        assert not connection.open


def test_open_server_that_wants_the_password_in_clear_text_does_not_get_it() -> None:
    """Without TLS nobody is told the password, not even the server."""
    with FakeMysql(lambda _: [OK], plugin="mysql_clear_password") as server:
        with pytest.raises(CannotStart, match="clear text"):
            open_sink(f"mysql://u:p4ssw0rd@127.0.0.1:{server.port}/d")
        assert b"p4ssw0rd" not in server.received


@pytest.mark.parametrize(
    "garbage", [b"", b"\x00", b"\x00\xfc", b"\x01", b"\x05abc", b"\xfc", b"\xff", b"\xff\x00", b"\xfe" * 9]
)
def test_open_server_that_talks_nonsense_cannot_start(garbage: bytes) -> None:
    """Bytes that make no sense are a database that cannot be used, not a bug of ours."""
    with FakeMysql(lambda _: [garbage] * 3) as server, pytest.raises(CannotStart):
        open_sink(f"mysql://u:p@127.0.0.1:{server.port}/d")
