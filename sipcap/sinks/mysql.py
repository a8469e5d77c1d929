"""Records into MySQL and MariaDB, with LOAD DATA LOCAL INFILE where the server allows it."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Sequence
from typing import Any, Final

import pymysql
import pymysql.cursors
from pymysql.constants import CR

from sipcap.ddl import read_statements
from sipcap.limits import SERVER_WAIT_S
from sipcap.sinks.driver import LEDGER, Driver, Found, Load, Refused, Trouble, one_line
from sipcap.sinks.mysql_connect import parameters
from sipcap.sinks.mysql_infile import FILE_NAME, GARBLED, InfileConnection
from sipcap.sinks.mysql_rows import LOAD_FORMAT, RowText, quote
from sipcap.sinks.shape import Charset, Column, Kind, Tally, charset_for
from sipcap.sinks.url import DatabaseUrl

_LOGGER = logging.getLogger("sipcap")
_SESSION: Final = (
    f"SET time_zone = '+00:00', innodb_lock_wait_timeout = {SERVER_WAIT_S}, lock_wait_timeout = {SERVER_WAIT_S}"
)
_DUPLICATE: Final = 1062
_NOT_DELAYED: Final = 1616
_INFILE_FORBIDDEN: Final = frozenset({1148, 1235, 3948, 4166})
"""The server, or a proxy before it, does not do LOAD DATA LOCAL."""

_LOST: Final = frozenset({
    1042, 1043, 1053, 1077, 1078, 1079, 1080, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1927,
    4031,
})  # fmt: skip
_CLASH: Final = frozenset({1020, 1213, 1305, 3101})
"""Changed meanwhile, deadlock, the savepoint went with the transaction, turned down by the group at the commit."""

_BUSY: Final = frozenset({
    3, 1021, 1030, 1037, 1038, 1040, 1041, 1047, 1114, 1129, 1180, 1203, 1205, 1206, 1226, 1290, 1317, 1637, 1792, 1836,
    1969, 3024,
})  # fmt: skip
"""Disk full, out of memory, too many connections, lock waits, read-only, interrupted."""

_BYTES: Final = ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob")
_TEXTS: Final = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext")
_CODECS: Final = {"latin1": "cp1252", "koi8r": "koi8_r", "koi8u": "koi8_u", "macroman": "mac_roman", "ujis": "euc_jp"}
_QUOTED: Final = re.compile("`[^`]+`")
"""In a definition, the name of its table: the only one in quotes."""

_FIND: Final = """
SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, CHARACTER_MAXIMUM_LENGTH, CHARACTER_OCTET_LENGTH, CHARACTER_SET_NAME
FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND coalesce(GENERATION_EXPRESSION, '') = ''
"""
_ENGINE: Final = """
SELECT t.TABLE_NAME, e.TRANSACTIONS FROM information_schema.TABLES t
    LEFT JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME = %s
"""


class MysqlDriver(Driver):
    """A connection to MariaDB 10.2, MySQL 8.0.13 or newer."""

    errors = (pymysql.err.MySQLError, Refused, UnicodeEncodeError)
    takes_nul = True

    def __init__(self, url: DatabaseUrl) -> None:
        super().__init__(url.place)
        self._parameters = parameters(url)
        self._connection: InfileConnection | None = None
        self._folds_case = False
        self._max_packet = 0
        self._loads = False
        self._insert_only: set[str] = set()
        self._not_delayed: set[str] = set()
        self._told = self._told_plain = False

    @property
    def connected(self) -> bool:
        """See Driver."""
        return self._connection is not None and self._connection.open

    def connect(self) -> None:
        """See Driver."""
        self.disconnect()
        self._connection = InfileConnection(**self._parameters, defer_connect=True)
        try:
            self._connection.connect()
        except GARBLED as error:
            raise pymysql.err.OperationalError(CR.CR_CONN_HOST_ERROR, str(error)) from error
        self._query(_SESSION)
        with contextlib.suppress(pymysql.err.OperationalError):  # MariaDB alone; the ledger must not stay locked
            self._query(f"SET idle_transaction_timeout = {2 * SERVER_WAIT_S}")
        ((may_load, self._max_packet, folding),) = self._query(
            "SELECT @@local_infile, @@max_allowed_packet, @@lower_case_table_names"
        ).fetchall()
        self._folds_case = bool(folding)
        self._insert_only.clear()
        self._loads = bool(may_load)
        if not self._loads:
            self._tell_slow()

    def disconnect(self) -> None:
        """See Driver."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            with contextlib.suppress(pymysql.err.MySQLError):
                connection.close()

    def interrupt(self) -> None:
        """See Driver."""
        connection = self._connection
        if connection is not None:
            connection.shut_down()

    def trouble(self, error: Exception) -> Trouble:
        """See Driver."""
        code = _code(error)
        if not self.connected or code in _LOST or 2_000 <= code < 3_000 or code <= 0:
            return Trouble.LOST
        if code in _CLASH:
            return Trouble.CLASH
        return Trouble.BUSY if code in _BUSY else Trouble.REFUSED

    def text(self, error: Exception) -> str:
        """See Driver."""
        said = error.args[1] if isinstance(error, pymysql.err.MySQLError) and len(error.args) > 1 else error
        return one_line(str(said)) or "the connection is gone"

    def find(self, name: str) -> Found | None:
        """See Driver."""
        described = self._of_table(name, self._query(_FIND, name).fetchall())
        if not described:
            return None
        engines = self._of_table(name, self._query(_ENGINE, name).fetchall())
        transactional = all(answer in {"YES", None} for _, answer in engines)  # a view has no engine
        return Found([_column(*row[1:]) for row in described], transactional)

    def _of_table(self, name: str, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Those of a table alone: the server compares names as a dictionary does, e like E and é."""
        if self._folds_case:
            return [row for row in rows if row[0].lower() == name.lower()]
        return [row for row in rows if row[0] == name]

    def create(self, kind: str, name: str) -> None:
        """See Driver. The server's own locks order processes that create the same table."""
        for statement in read_statements("mysql", kind):
            named = self.naming.in_definition(statement, quote) if kind in {"sip", "report"} else statement
            self._query(_QUOTED.sub(lambda _: quote(name), named, count=1))

    def begin(self) -> None:
        """See Driver."""
        self._query("START TRANSACTION")

    def claim(self, batch_id: str, now_s: int) -> bool:
        """See Driver."""
        try:
            self._query(f"INSERT INTO {LEDGER} (batch_id, committed_s) VALUES (%s, %s)", batch_id, now_s)  # noqa: S608
        except pymysql.err.IntegrityError as error:
            if _code(error) != _DUPLICATE:
                raise
            return False
        return True

    def store(self, loads: Sequence[Load], tally: Tally) -> None:
        """See Driver."""
        if self.is_delayed:
            self._tell_of_transactions(loads)
        if self._loads and all(each.table.transactional and each.table.name not in self._insert_only for each in loads):
            self._query("SAVEPOINT sipcap")
            inexact = self._load_all(loads, tally)
            if not inexact:
                return
            self._query("ROLLBACK TO SAVEPOINT sipcap")
            tally.clear()
        else:
            inexact = set()
        for load in loads:
            self._insert(load, tally)
        # INSERT, being strict, has nothing against them: the warnings come with all rows of these tables.
        self._insert_only |= inexact

    def _insert(self, load: Load, tally: Tally) -> None:
        """Insert the rows of one table, delayed if that is wanted and its engine takes it."""
        name, text = load.table.name, RowText(load.table.shape)
        is_delayed = self.is_delayed and not load.table.transactional and name not in self._not_delayed
        before = tally.truncated, tally.sanitised
        for statement in text.insert_statements(name, load.values(tally), self._max_packet, is_delayed=is_delayed):
            try:
                self._live().query(statement)
            except pymysql.err.MySQLError as error:
                if not is_delayed or _code(error) != _NOT_DELAYED:
                    raise
                self._not_delayed.add(name)
                self._tell_plain(name)
                tally.truncated, tally.sanitised = before
                self._insert(load, tally)  # the first statement was refused: nothing is stored twice
                return

    def _tell_of_transactions(self, loads: Sequence[Load]) -> None:
        """Say once, of the first table that has transactions, that these do without; the others are like it."""
        name = next((load.table.name for load in loads if load.table.transactional), None)
        if name is not None and not self._told_plain:
            self._told_plain = True
            self._tell_plain(name)

    def _tell_plain(self, name: str) -> None:
        _LOGGER.info("%s: table %s does not take INSERT DELAYED: --insert-mode plain", self.place, name)

    def _load_all(self, loads: Sequence[Load], tally: Tally) -> set[str]:
        """Load rows; returns the table whose rows are not all stored as they are, if there is one."""
        for load in loads:
            text = RowText(load.table.shape)
            statement = (
                f"LOAD DATA LOCAL INFILE '{FILE_NAME}' INTO TABLE {quote(load.table.name)} {LOAD_FORMAT}"
                f" {text.load_targets()}"
            )
            try:
                stored, warnings = self._live().load(statement, text.load_lines(load.values(tally)))
            except pymysql.err.MySQLError as error:
                if _code(error) in _INFILE_FORBIDDEN:
                    self._loads = False
                    self._tell_slow()
                elif self.trouble(error) is not Trouble.REFUSED:
                    raise
                return {load.table.name}
            # LOCAL makes errors warnings, whatever the SQL mode says: cut texts, rows left out.
            if stored != load.size or warnings:
                return {load.table.name}
        return set()

    def commit(self) -> None:
        """See Driver."""
        self._query("COMMIT")

    def rollback(self) -> None:
        """See Driver."""
        if self.connected:
            self._query("ROLLBACK")

    def clean_ledger(self, before_s: int) -> None:
        """See Driver."""
        self._query(f"DELETE FROM {LEDGER} WHERE committed_s < %s LIMIT 10000", before_s)  # noqa: S608

    def _live(self) -> InfileConnection:
        if self._connection is None:
            raise pymysql.err.InterfaceError(0, "not connected")
        return self._connection

    def _query(self, statement: str, *values: object) -> pymysql.cursors.Cursor:
        cursor = self._live().cursor()
        cursor.execute(statement, values or None)
        return cursor

    def _tell_slow(self) -> None:
        if not self._told:
            self._told = True
            _LOGGER.info("%s does not allow LOAD DATA LOCAL (local_infile): rows go in by INSERT, slower", self.place)


def _code(error: Exception) -> int:
    """The number of an error; 0 if it has none, which is a broken connection's."""
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0


def _column(name: str, kind: str, chars: int | None, octets: int | None, charset: str | None) -> Column:
    name, kind = name.lower(), kind.lower()
    if kind in _BYTES:
        return Column(name, Kind.BYTES, octets=octets)
    if kind not in _TEXTS:
        return Column(name)
    if charset in {"utf8mb3", "utf8", "ucs2"}:
        held = Charset(bmp_only=True)
    else:
        held = charset_for("utf-8" if charset in {"utf8mb4", None} else _CODECS.get(charset, charset))
    is_sized = kind in {"char", "varchar"}
    return Column(name, Kind.TEXT, chars if is_sized else None, None if is_sized else octets, held)
