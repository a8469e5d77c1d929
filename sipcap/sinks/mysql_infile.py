"""LOAD DATA LOCAL INFILE from memory, for servers that are not trusted; the only file that knows pymysql's insides.

The server, and whoever has taken its place, may answer any statement with the request for a file of ours. The answer
here is what the running LOAD offers, or an error: no code opens a file by a name that came from the network.
pymysql's version is bounded in ``pyproject.toml`` because of what is overridden; a hostile server is among the tests.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from pymysql.connections import Connection, MySQLResult
from pymysql.constants import CR
from pymysql.cursors import Cursor
from pymysql.err import OperationalError

FILE_NAME: Final = "sipcap"
"""What LOAD DATA statements name; it stands for what is offered."""

_PACKET_BYTES: Final = 64 << 10
_DEAD_PEER: Final = (
    (socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3), (socket.TCP_USER_TIMEOUT, 30_000)
)  # fmt: skip


GARBLED: Final = (AssertionError, IndexError, OSError, RuntimeError, TypeError, ValueError, struct.error)
"""What pymysql raises of bytes that no server should send, and of an authentication that it cannot do."""


if TYPE_CHECKING:
    _Base = Connection[Cursor]  # generic in the stubs alone
else:
    _Base = Connection


class InfileConnection(_Base):
    """A connection that sends what it was given wherever a file is asked for."""

    offered: Iterable[bytes] | None = None
    server_status: int
    _secure: bool
    _sock: socket.socket  # None before it is connected
    _own_error: BaseException | None = None
    _result: Any
    _force_close: Callable[[], None]  # here and below: what pymysql's stubs leave out
    _read_packet: Callable[..., Any]

    def connect(self, sock: socket.socket | None = None) -> None:
        """As the original's; a server that vanishes is noticed within half a minute, not within hours."""
        super().connect(sock)
        if not self.unix_socket:
            for name, value in _DEAD_PEER:
                self._sock.setsockopt(socket.IPPROTO_TCP, name, value)

    def shut_down(self) -> None:
        """Make whatever another thread waits for fail at once."""
        sock: socket.socket | None = self._sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def load(self, statement: str, lines: Iterable[bytes]) -> tuple[int, int]:
        """Run a LOAD DATA LOCAL statement.

        Args:
            statement: reads from FILE_NAME.
            lines: read while they are sent.

        Returns:
            How many rows were stored, and how many warnings there were.
        """
        self.offered = lines
        try:
            with self.cursor() as cursor:
                return cursor.execute(statement), cursor.warning_count
        finally:
            self.offered = None

    def send_offered(self) -> None:
        """Send what is offered and the mark of its end, whatever name the server asked for."""
        lines, self.offered = self.offered, None
        if lines is None:
            self._force_close()
            raise OperationalError(CR.CR_MALFORMED_PACKET, "the server asked for a file that nobody offered")
        try:
            packet = bytearray()
            for line in lines:
                packet += line
                if len(packet) >= _PACKET_BYTES:
                    self.write_packet(bytes(packet))
                    packet.clear()
            if packet:
                self.write_packet(bytes(packet))
            self.write_packet(b"")
        except BaseException as error:
            self._force_close()  # half of it is no use, and the server waits for the rest
            self._own_error = error
            raise

    def _read_query_result(self, unbuffered: bool = False) -> int:
        """As the original's, with our result, and with one kind of error for bytes that make no sense."""
        self._result = None
        result = _Result(self)
        try:
            if unbuffered:
                result.init_unbuffered_query()
            else:
                result.read()
        except GARBLED as error:
            if error is self._own_error:
                raise
            self._force_close()
            raise OperationalError(CR.CR_MALFORMED_PACKET, "the server does not speak MySQL's protocol") from error
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return result.affected_rows or 0

    def _process_auth(self, plugin_name: bytes, packet: Any, handler: Any = None) -> Any:
        """As the original's, which would tell anybody the password who asks for it in clear text."""
        if plugin_name == b"mysql_clear_password" and not self._secure:
            raise OperationalError(CR.CR_AUTH_PLUGIN_ERR, "the server wants the password in clear text, without TLS")
        return super()._process_auth(plugin_name, packet, handler)  # type: ignore[misc]  # not in the stubs

    def show_warnings(self) -> Any:
        """Not here: the original would read with its own result, which opens files."""
        raise NotImplementedError


class _Result(MySQLResult):
    """A result whose request for a file is answered by the connection."""

    _read_ok_packet: Callable[[Any], None]

    def _read_load_local_packet(self, _request: Any) -> None:
        connection = self.connection
        assert isinstance(connection, InfileConnection), "made by it"
        connection.send_offered()
        answer = connection._read_packet()  # noqa: SLF001
        if not answer.is_ok_packet():
            raise OperationalError(CR.CR_COMMANDS_OUT_OF_SYNC, "Commands Out of Sync")
        self._read_ok_packet(answer)
