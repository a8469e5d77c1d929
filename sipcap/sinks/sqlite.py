"""Records into an SQLite file: the embedded default."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from sipcap.ddl import read_ddl
from sipcap.errors import CannotStart, SinkError
from sipcap.limits import BATCH_LEDGER_KEEP_S, SQLITE_BUSY_S
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, SipRecord
from sipcap.sinks.base import Adjusted, Row
from sipcap.sinks.rows import REPORT_ROW, SIP_ROW, RowMaker
from sipcap.sources.quiet import Throttle

_PRAGMAS: Final = (
    "page_size=8192",  # 44,600 rows/s where pages of 4,096 reach 42,000; it and the next have an effect
    "auto_vacuum=INCREMENTAL",  # only before the first table
    "journal_mode=WAL",  # readers do not stop us
    "synchronous=FULL",  # a committed batch survives a power failure
    "wal_autocheckpoint=4000",  # 32 MB: at full load hot index pages reach the file once, not with every batch
    "cache_size=-32768",  # 32 MB for the hot ends of the indexes
    "temp_store=MEMORY",
)
_LEDGER_CLEAN_EVERY: Final = 256  # batches
_UNNAMED: Final = re.compile(r'"(sip_capture|report_capture)(\w*)"')


class _Table:
    """What is known of one table: its INSERT and which of the values it takes."""

    def __init__(self, insert: str, pick: itemgetter[Any] | None) -> None:
        self.insert = insert
        self.pick = pick


class SqliteSink:
    """A Sink (see ``base.py``) over one SQLite file.

    Args:
        path: the file; created with mode 0600 if it is not there.
        create: whether missing tables are created.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._path = path
        self._create = create
        self._connection: sqlite3.Connection | None = None
        self._tables: dict[tuple[str, bool], _Table] = {}
        self._makers = {True: RowMaker(SIP_COLUMNS), False: RowMaker(REPORT_COLUMNS)}
        self._batches = 0
        self._missing = Throttle("table %s has no column %s; what belongs there is not stored")

    def open(self) -> None:
        """Open the file and set it up; see Sink."""
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(self._path, timeout=SQLITE_BUSY_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise CannotStart(f"cannot open {self._path}: {getattr(error, 'strerror', None) or error}") from None
        try:
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}").close()
            connection.executescript(read_ddl("sqlite", "batches"))
        except sqlite3.Error as error:
            connection.close()
            raise CannotStart(f"cannot use {self._path} as an SQLite database: {error}") from None
        self._connection = connection

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch; see Sink. SQLite holds any text at any width: nothing is ever adjusted."""
        connection = self._connection
        assert connection is not None, "write before open"
        try:
            connection.execute("BEGIN IMMEDIATE")
            if self._claim(connection, batch_id):
                for name, rows in tables.items():
                    self._insert(connection, name, rows)
            connection.execute("COMMIT")
            return Adjusted()
        except BaseException as error:
            self._tables.clear()  # tables created in this transaction are gone, others may have changed
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if isinstance(error, SinkError):
                raise
            if isinstance(error, sqlite3.OperationalError):
                raise SinkError(f"{self._path}: {error}", transient=True) from None
            # A value that cannot be bound, a constraint of a foreign table, a row beyond SQLite's limit.
            if isinstance(error, (sqlite3.Error, OverflowError, UnicodeEncodeError)):
                raise SinkError(f"{self._path}: {error}", transient=type(error) is sqlite3.DatabaseError) from None
            raise

    def _claim(self, connection: sqlite3.Connection, batch_id: str) -> bool:
        """Enter the batch in the ledger; false if it is there already."""
        self._batches += 1
        now_s = int(time.time())
        if self._batches % _LEDGER_CLEAN_EVERY == 1:
            connection.execute("DELETE FROM sipcap_batches WHERE committed_s < ?", (now_s - BATCH_LEDGER_KEEP_S,))
        inserted = connection.execute("INSERT OR IGNORE INTO sipcap_batches VALUES (?, ?)", (batch_id, now_s))
        return inserted.rowcount == 1

    def _insert(self, connection: sqlite3.Connection, name: str, rows: Sequence[Row]) -> None:
        """Insert the rows of one table; SIP and reports may share it."""
        for is_sip in (True, False):
            chosen = [row for row in rows if isinstance(row.record, SipRecord) is is_sip]
            if not chosen:
                continue
            table = self._tables.get((name, is_sip)) or self._learn(connection, name, is_sip=is_sip)
            values: Any = map(self._makers[is_sip].values, chosen)
            if table.pick is not None:
                values = map(table.pick, values)
            connection.executemany(table.insert, values)

    def _learn(self, connection: sqlite3.Connection, name: str, *, is_sip: bool) -> _Table:
        """Find out which columns a table has; create it if it is not there."""
        import sqlite_utils  # noqa: PLC0415  # 80 ms that --help need not spend

        if name.lower().startswith("sqlite_") or name == "sipcap_batches":
            raise SinkError(f"{name}: reserved, no table for messages", transient=False)
        wanted = SIP_ROW if is_sip else REPORT_ROW
        found = sqlite_utils.Database(connection, execute_plugins=False)[name]
        if not found.exists():
            if not self._create:
                raise SinkError(f"table {name} does not exist, and --no-create is set", transient=False)
            for statement in _statements("sip" if is_sip else "report", name):
                connection.execute(statement)
            columns: Sequence[str] = wanted
        else:
            existing = {column.name.lower() for column in found.columns}
            columns = [column for column in wanted if column in existing]
            missing = [column for column in wanted if column not in existing]
            if missing:
                self._missing.warning(name, ", ".join(missing))
            if not columns:
                raise SinkError(f"table {name} has none of the columns of a message", transient=False)
        marks = ", ".join("?" * len(columns))
        names = ", ".join(map(quote, columns))
        pick = None if len(columns) == len(wanted) else _picker([wanted.index(column) for column in columns])
        table = _Table(f"INSERT INTO {quote(name)} ({names}) VALUES ({marks})", pick)  # noqa: S608  # quoted
        self._tables[name, is_sip] = table
        return table

    def close(self) -> None:
        """Close the file; see Sink."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def _statements(kind: str, table: str) -> list[str]:
    """The statements of ``sql/sqlite/<kind>.sql`` for a table of this name."""
    script = re.sub(r"--.*", "", read_ddl("sqlite", kind))
    statements = [statement for statement in script.split(";\n") if statement.strip()]
    return [_UNNAMED.sub(lambda match: quote(table + match[2]), statement) for statement in statements]


def _picker(indexes: list[int]) -> itemgetter[Any]:
    # itemgetter of one index gives a bare value, where executemany needs a tuple of one
    return itemgetter(*indexes) if len(indexes) > 1 else itemgetter(slice(indexes[0], indexes[0] + 1))
