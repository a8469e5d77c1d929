"""Records into PostgreSQL, with COPY."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus

from sipcap.ddl import read_statements
from sipcap.errors import CannotStart
from sipcap.limits import SERVER_CONNECT_S, SERVER_WAIT_S
from sipcap.sinks.driver import LEDGER, Driver, Found, Load, Refused, Trouble, one_line
from sipcap.sinks.forms import usual_name
from sipcap.sinks.shape import Charset, Column, Kind, Tally, charset_for
from sipcap.sinks.url import DatabaseUrl, parse_url

DEFAULT_PORT: Final = 5432
OPTIONS: Final = frozenset({
    "application_name", "channel_binding", "connect_timeout", "gssencmode", "host", "hostaddr", "krbsrvname", "options",
    "passfile", "require_auth", "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert", "target_session_attrs",
})  # fmt: skip
"""What libpq knows and what does not change how records are stored."""

_DEAD_PEER: Final = {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 30_000}
"""A server that vanished is noticed within half a minute; libpq's default waits for hours."""

_MAX_NAME_BYTES: Final = 63
_KEY_BYTES: Final = 2_600
"""What surely fits an entry of a B-tree index: a third of a page, 2,704 bytes with its head."""

# Within each transaction, so that it holds behind a pooler too. A transaction whose client vanished must not keep the
# ledger's entry of its batch locked.
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED;"
    f" SET LOCAL TimeZone = 'UTC'; SET LOCAL lock_timeout = '{SERVER_WAIT_S}s';"
    f" SET LOCAL idle_in_transaction_session_timeout = '{2 * SERVER_WAIT_S}s'"
)
_FIND: Final = """
SELECT c.relkind::text, a.attname, coalesce(nullif(t.typbasetype, 0), t.oid)::regtype::text,
    CASE WHEN t.typbasetype = 0 THEN a.atttypmod ELSE t.typtypmod END,
    EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
        WHERE i.indrelid = c.oid AND m.amname = 'btree' AND a.attnum = ANY (i.indkey::int2[]))
FROM pg_class c
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND coalesce(to_jsonb(a) ->> 'attgenerated', '') = ''
    LEFT JOIN pg_type t ON t.oid = a.atttypid
WHERE c.oid = to_regclass(%s)
"""
_TABLES: Final = "rpvf"  # kinds of relation that take rows: tables, partitioned ones, views, foreign ones
_TEXTS: Final = ("text", "character varying", "character")
_CODECS: Final = {"UTF8": "utf-8", "SQL_ASCII": "utf-8", "EUC_CN": "gb2312", "KOI8R": "koi8_r", "KOI8U": "koi8_u"}
_BUSY: Final = ("25", "53", "55", "57", "58", "XX")
"""Classes of SQLSTATE for what is nobody's row: read-only, resources, locks, an operator, I/O, damage."""


logging.getLogger("psycopg").addHandler(logging.NullHandler())  # what matters is raised


def parse_postgresql_url(url: str) -> DatabaseUrl:
    """Read ``postgresql://``, also with ``?host=`` as libpq has it; raises CannotStart."""
    found = parse_url(url, "postgresql", DEFAULT_PORT, OPTIONS)
    options = dict(found.options)
    host = options.pop("host", "")
    if not host:
        return found
    is_socket = host.startswith("/")
    return replace(found, options=options, host="" if is_socket else host, socket=host if is_socket else "")


class PostgresqlDriver(Driver):
    """A connection to PostgreSQL 10 or newer."""

    errors = (psycopg.Error, Refused, UnicodeEncodeError)
    takes_nul = False

    def __init__(self, url: DatabaseUrl) -> None:
        super().__init__(url.place)
        self._parameters = _parameters(url)
        self._connection: psycopg.Connection[Any] | None = None
        self._charset = Charset()

    @property
    def connected(self) -> bool:
        """See Driver."""
        return self._connection is not None and not self._connection.closed

    def connect(self) -> None:
        """See Driver."""
        self.disconnect()
        # Prepared statements and poolers do not go together.
        connection = psycopg.connect(**self._parameters, autocommit=True, prepare_threshold=None)
        self._connection = connection
        encoding = connection.info.parameter_status("server_encoding") or "UTF8"
        self._charset = charset_for(_CODECS.get(encoding, encoding.replace("WIN", "cp", 1)))

    def disconnect(self) -> None:
        """See Driver."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def interrupt(self) -> None:
        """See Driver. A server that does not answer would not hear a request to cancel either."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as peer:
                peer.shutdown(socket.SHUT_RDWR)

    def trouble(self, error: Exception) -> Trouble:
        """See Driver."""
        if not self.connected:
            return Trouble.LOST
        state = getattr(error, "sqlstate", None)
        if state is None:
            return Trouble.LOST if isinstance(error, psycopg.OperationalError) else Trouble.REFUSED
        if state[:2] == "08":
            return Trouble.LOST
        if state[:2] == "40":
            return Trouble.CLASH
        return Trouble.BUSY if state[:2] in _BUSY else Trouble.REFUSED

    def text(self, error: Exception) -> str:
        """See Driver."""
        primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        return one_line(primary or str(error))

    def check_name(self, name: str) -> None:
        """See Driver."""
        super().check_name(name)
        if name.startswith("pg_"):
            raise Refused(f"{name}: reserved, no table for messages")
        if len(name.encode()) > _MAX_NAME_BYTES:
            raise Refused(f"table name of more than {_MAX_NAME_BYTES} bytes: {name}")

    def find(self, name: str) -> Found | None:
        """See Driver."""
        described = self._run(_FIND, (quote(name),)).fetchall()
        if not described:
            return None
        if described[0][0] not in _TABLES:
            raise Refused(f"{name} is not a table")
        return Found([self._column(*row[1:]) for row in described if row[1] is not None])

    def _column(self, name: str, kind: str, modifier: int, is_key: bool) -> Column:
        if kind == "bytea":
            return Column(name, Kind.BYTES)
        if kind not in _TEXTS:
            return Column(name)
        chars = modifier - 4 if modifier > 4 else None
        return Column(name, Kind.TEXT, chars, _KEY_BYTES if is_key else None, self._charset)

    def create(self, kind: str, name: str) -> None:
        """See Driver."""
        self.begin()
        try:
            # Two processes that both see no table would both create it; IF NOT EXISTS does not prevent the error.
            self._run("SELECT pg_advisory_xact_lock(%s)", (zlib.crc32(b"sipcap") << 16,))
            if self.find(name) is None:
                for statement in self.definition(kind, name):
                    self._run(statement)
            self.commit()
        except (psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation):
            self.rollback()  # somebody who does not know our lock was faster

    def definition(self, kind: str, name: str) -> list[str]:
        """The statements that create a table that does not exist; columns of the module's tables may be renamed."""
        statements = _statements(kind, name)
        if kind not in {"sip", "report"}:
            return list(statements)
        return [self.naming.in_definition(statement, quote) for statement in statements]

    def begin(self) -> None:
        """See Driver."""
        self._run(_BEGIN)

    def claim(self, batch_id: str, now_s: int) -> bool:
        """See Driver."""
        claim = f"INSERT INTO {LEDGER} (batch_id, committed_s) VALUES (%s, %s) ON CONFLICT DO NOTHING"  # noqa: S608
        return self._run(claim, (batch_id, now_s)).rowcount == 1

    def store(self, loads: Sequence[Load], tally: Tally) -> None:
        """See Driver."""
        for load in loads:
            names = ", ".join(quote(column.sql_name) for column in load.table.shape.columns)
            copy_in = f"COPY {quote(load.table.name)} ({names}) FROM STDIN".encode()
            with self._cursor() as cursor, cursor.copy(copy_in) as copy:
                for values in load.values(tally):
                    copy.write_row(values)

    def commit(self) -> None:
        """See Driver."""
        if self._run("COMMIT").statusmessage != "COMMIT":  # what a transaction that has failed answers is ROLLBACK
            raise psycopg.InternalError("the transaction was not committed")

    def rollback(self) -> None:
        """See Driver."""
        if self._connection is not None and self._connection.info.transaction_status is not TransactionStatus.IDLE:
            self._run("ROLLBACK")

    def clean_ledger(self, before_s: int) -> None:
        """See Driver."""
        self._run(f"DELETE FROM {LEDGER} WHERE committed_s < %s", (before_s,))  # noqa: S608

    def _cursor(self) -> psycopg.Cursor[Any]:
        if self._connection is None:
            raise psycopg.OperationalError("not connected")
        return self._connection.cursor()

    def _run(self, statement: str, values: Sequence[object] | None = None) -> psycopg.Cursor[Any]:
        return self._cursor().execute(statement.encode(), values)


def _parameters(url: DatabaseUrl) -> dict[str, Any]:
    """What libpq is told; what the URL does not say is left to its own defaults (PGPASSWORD, ~/.pgpass ...)."""
    options: dict[str, Any] = {"connect_timeout": SERVER_CONNECT_S, "application_name": "sipcap"} | dict(url.options)
    options["host"] = url.host
    port = url.port
    if url.socket:
        path = PurePosixPath(url.socket)  # libpq takes the folder; the file is called .s.PGSQL.<port>
        is_file = path.name.startswith(".s.PGSQL.")
        options["host"] = str(path.parent if is_file else path)
        port = int(path.suffix[1:]) if is_file and path.suffix[1:].isdigit() else port
    options |= _DEAD_PEER | {"port": port, "dbname": url.database, "client_encoding": "UTF8"}
    if url.user is not None:
        options["user"] = url.user
    if url.password is not None:
        options["password"] = url.password
    if not str(options["connect_timeout"]).isdecimal():
        raise CannotStart("--db-url: connect_timeout is not a number of seconds")
    return options


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def _statements(kind: str, name: str) -> list[str]:
    """The statements of ``sql/postgresql/<kind>.sql`` for a table of this name that does not exist.

    The indexes get their names from the server: it finds free ones and cuts long ones.
    """
    usual = usual_name(kind, name)
    statements = []
    for statement in read_statements("postgresql", kind):
        head, is_index, rest = statement.partition(" ON ")
        text = f"CREATE INDEX ON {rest}" if is_index and head.startswith("CREATE INDEX") else statement
        statements.append(text.replace(" IF NOT EXISTS", "").replace(f'"{usual}"', quote(name)))
    return statements
