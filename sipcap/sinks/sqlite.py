"""Records into an SQLite file: the embedded default."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar

from sipcap.ddl import read_ddl, read_statements
from sipcap.errors import CannotStart, SinkError
from sipcap.limits import SQLITE_BUSY_S
from sipcap.record import SipRecord
from sipcap.schemas import HOMER7, SIPCAPTURE
from sipcap.sinks.base import Adjusted, Row
from sipcap.sinks.budget import Budget
from sipcap.sinks.forms import Form, forms_of, usual_name
from sipcap.sinks.memory import Memory
from sipcap.sinks.naming import Naming
from sipcap.sinks.shape import Tally, picker

_PRAGMAS_OF_A_NEW_FILE: Final = (  # on one that is there they have no effect, but would wait for its lock
    "page_size=8192",  # 44,600 rows/s where pages of 4,096 reach 42,000
    "auto_vacuum=INCREMENTAL",
)
_PRAGMAS: Final = (
    "journal_mode=WAL",  # readers do not stop us
    "synchronous=FULL",  # a committed batch survives a power failure
    "wal_autocheckpoint=4000",  # 32 MB: at full load hot index pages reach the file once, not with every batch
    "cache_size=-32768",  # 32 MB for the hot ends of the indexes
    "temp_store=MEMORY",
)
_LEDGER_CLEAN_EVERY: Final = 256  # batches
_LEDGER: Final = "sipcap_batches"
_LOOK_S: Final = 0.1
"""SQLite waits in C, where no signal is heard: it waits this long, and is asked again until SQLITE_BUSY_S are over."""
_REFUSALS: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE})
"""Operational errors that no waiting mends; all others (locked, full, I/O) are the file's and may pass."""
_SHOWN: Final = 80  # characters of a table's name in a message
_LOGGER = logging.getLogger("sipcap")
T = TypeVar("T")


class _Table:
    """What is known of one table: its INSERT and which of the values it takes."""

    def __init__(self, insert: str, pick: itemgetter[Any] | None, form: Form) -> None:
        self.insert = insert
        self.pick = pick
        self.form = form


class SqliteSink:
    """A Sink (see ``base.py``) over one SQLite file.

    A file that is moved away or removed while it is in use is let go, complete, and a new one is begun.

    Args:
        path: the file; created with mode 0600 if it is not there.
        create: whether missing tables are created.
        schema: how records are stored; one of ``schemas.SCHEMAS``.
        budget: of new tables; None = any number.
        naming: what columns are called in the tables, but for HOMER 7's; None = as the module calls them.
    """

    is_in_process = True

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        schema: str = SIPCAPTURE,
        budget: Budget | None = None,
        naming: Naming | None = None,
    ) -> None:
        self._naming = Naming() if naming is None or schema == HOMER7 else naming
        self._path = path
        self._create = create
        self._budget = budget
        self._connection: sqlite3.Connection | None = None
        self._status: os.stat_result | None = None  # of the file that is open
        self._tables: dict[tuple[str, bool], _Table] = {}
        self._forms = forms_of(schema)
        self._batches = 0
        self._is_interrupted = False
        self._memory = Memory()
        self._narrow: set[str] = set()  # tables of which was said that they lack columns

    def open(self) -> None:
        """Open the file and set it up; see Sink."""
        try:
            # ":memory:" is a name for SQLite alone; with its folder it is a file like any other.
            path = os.path.realpath(self._path)
            self._status = _make_file(path)
            connection = sqlite3.connect(path, timeout=_LOOK_S, isolation_level=None, check_same_thread=False)
        except (OSError, ValueError, sqlite3.Error) as error:
            raise CannotStart(f"cannot open {self._path}: {getattr(error, 'strerror', None) or error}") from None
        try:
            self._patiently(lambda: _set_up(connection))
        except sqlite3.Error as error:
            connection.close()
            raise CannotStart(f"cannot use {self._path} as an SQLite database: {error}") from None
        self._connection = connection

    def write(self, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        """Store a batch; see Sink. SQLite holds any text at any width: only a schema may adjust something."""
        connection = self._usable_connection()
        try:
            try:
                return self._store(connection, batch_id, tables)
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_ERROR:
                    raise
                # Perhaps somebody dropped or changed a table that we knew: look again, once.
                self._patiently(lambda: connection.executescript(read_ddl("sqlite", "batches")))
                return self._store(connection, batch_id, tables)
        except sqlite3.OperationalError as error:
            raise SinkError(f"{self._path}: {error}", transient=_code(error) not in _REFUSALS) from None
        except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
            # A bare DatabaseError is of a damaged file. Everything else is of a row: a value that cannot be
            # bound, a constraint of a foreign table, a row beyond SQLite's limit.
            raise SinkError(f"{self._path}: {error}", transient=type(error) is sqlite3.DatabaseError) from None

    def _usable_connection(self) -> sqlite3.Connection:
        """The connection; a new one if the file is not where it was: what is written there would be lost."""
        if self._connection is not None and self._is_moved():
            _LOGGER.warning("%s was moved away or removed; beginning a new one", self._path)
            with contextlib.suppress(sqlite3.Error):  # the file that was moved away shall be whole without its -wal
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
            self.close()
        if self._connection is None:
            try:
                self.open()
            except CannotStart as error:
                raise SinkError(str(error), transient=True) from None
        assert self._connection is not None, "open succeeded"
        return self._connection

    def _is_moved(self) -> bool:
        assert self._status is not None, "set by open"
        try:
            return not os.path.samestat(self._path.stat(), self._status)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:  # a place that cannot be looked at need not be empty
            return False

    def _store(self, connection: sqlite3.Connection, batch_id: str, tables: Mapping[str, Sequence[Row]]) -> Adjusted:
        tally = Tally()
        self._patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            if self._claim(connection, batch_id):
                for name, rows in tables.items():
                    self._insert(connection, name, rows, tally)
            self._patiently(lambda: connection.execute("COMMIT"))
            return tally.adjusted()
        except BaseException:
            self._tables.clear()  # tables created in this transaction are gone, others may have changed
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error:
                self.close()  # it cannot be used any more; the next batch opens a new one
            raise

    def _claim(self, connection: sqlite3.Connection, batch_id: str) -> bool:
        """Enter the batch in the ledger; false if it is there already."""
        self._batches += 1
        now_s = int(time.time())
        if self._batches % _LEDGER_CLEAN_EVERY == 1:
            connection.execute("DELETE FROM sipcap_batches WHERE committed_s < ?", (self._memory.forget_before_s(),))
        claim = "INSERT OR IGNORE INTO sipcap_batches (batch_id, committed_s) VALUES (?, ?)"
        return connection.execute(claim, (batch_id, now_s)).rowcount == 1

    def _insert(self, connection: sqlite3.Connection, name: str, rows: Sequence[Row], tally: Tally) -> None:
        """Insert the rows of one table; SIP and reports may share it."""
        for is_sip in (True, False):
            chosen = [row for row in rows if isinstance(row.record, SipRecord) is is_sip]
            if not chosen:
                continue
            table = self._tables.get((name, is_sip)) or self._learn(connection, name, is_sip=is_sip)
            values: Any = table.form.rows(chosen, tally)
            if table.pick is not None:
                values = map(table.pick, values)
            connection.executemany(table.insert, values)

    def _learn(self, connection: sqlite3.Connection, name: str, *, is_sip: bool) -> _Table:
        """Find out which columns a table has; create it if it is not there."""
        shown = repr(name[:_SHOWN])
        if not name or "\0" in name or name.lower().startswith("sqlite_") or name.lower() == _LEDGER:
            raise SinkError(f"no table for messages can be called {shown}", transient=False)
        form = self._forms[is_sip]
        wanted, name_of = form.columns, self._naming.of
        # Names of tables and columns are the same in any case; a generated column is not listed and takes nothing.
        found = connection.execute("SELECT name FROM pragma_table_info(?)", (name,)).fetchall()
        existing = {column.lower() for (column,) in found}
        if not existing:
            if not self._create:
                raise SinkError(f"table {shown} does not exist, and --no-create is set", transient=False)
            if self._budget is not None and not self._budget.allows(name):
                raise SinkError(self._budget.reason(f"table {shown}"), transient=False)
            create_table(connection, form.kind, name, self._naming)
            existing.update(name_of(column).lower() for column in wanted)
        columns = [column for column in wanted if name_of(column).lower() in existing]
        if not columns:
            raise SinkError(f"table {shown} has none of the columns of a message", transient=False)
        if len(columns) < len(wanted) and name not in self._narrow:
            self._narrow.add(name)
            missing = ", ".join(column for column in wanted if name_of(column).lower() not in existing)
            _LOGGER.warning("table %s has no column %s; what belongs there is not stored", shown, missing)
        marks = ", ".join("?" * len(columns))
        names = ", ".join(quote(name_of(column)) for column in columns)
        pick = None if len(columns) == len(wanted) else picker([wanted.index(column) for column in columns])
        table = _Table(f"INSERT INTO {quote(name)} ({names}) VALUES ({marks})", pick, form.for_table(existing))  # noqa: S608  # quoted
        self._tables[name, is_sip] = table
        return table

    def _patiently(self, step: Callable[[], T]) -> T:
        """Do what may find the file locked by somebody else, again until SQLITE_BUSY_S have passed."""
        until_s = time.monotonic() + SQLITE_BUSY_S
        while True:
            try:
                return step()
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= until_s or self._is_interrupted:
                    raise
            time.sleep(0.01)  # some of SQLite's refusals come without its own waiting

    def remember_since(self, oldest_s: Callable[[], float]) -> None:
        """See RemembersBatches."""
        self._memory.oldest_s = oldest_s

    def interrupt(self) -> None:
        """End a write that does not come back; see Interruptible."""
        self._is_interrupted = True
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # closed at this moment
                connection.interrupt()

    def close(self) -> None:
        """Close the file; see Sink."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def quote(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def create_table(connection: sqlite3.Connection, kind: str, name: str, naming: Naming | None = None) -> None:
    """Create a table as ``sql/sqlite/<kind>.sql`` has it, with the names of *naming*, within a transaction."""
    # An index keeps its name when its table is renamed, and IF NOT EXISTS would leave the new table without.
    # These look a name up where sqlite_schema would be read from end to end, for each of many tables.
    look = "SELECT 1 FROM pragma_index_info(?1) UNION ALL SELECT 1 FROM pragma_table_info(?1)"
    for statement in _statements(kind, name, lambda other: connection.execute(look, (other,)).fetchone() is not None):
        connection.execute(naming.in_definition(statement, quote) if naming is not None else statement)


def _make_file(path: str) -> os.stat_result:
    """Create a file for its owner alone if there is none, and see that it can be written.

    One that is there is not opened: closing it again would give up the locks that other connections of this
    process hold on it (sqlite.org, howtocorrupt, 2.2).
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no file")
    if not os.access(path, os.R_OK | os.W_OK):
        raise ValueError("it cannot be read and written")
    return status


def _set_up(connection: sqlite3.Connection) -> None:
    is_new = connection.execute("PRAGMA page_count").fetchone() == (0,)
    for pragma in (*_PRAGMAS_OF_A_NEW_FILE, *_PRAGMAS) if is_new else _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()
    connection.executescript(read_ddl("sqlite", "batches"))
    connection.execute("SELECT batch_id, committed_s FROM sipcap_batches LIMIT 0").close()


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 if the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _statements(kind: str, table: str, is_taken: Callable[[str], bool]) -> list[str]:
    """The statements of ``sql/sqlite/<kind>.sql`` for a table of this name, its indexes by names that are free."""
    usual = usual_name(kind, table)

    def own_name(match: re.Match[str]) -> str:
        name = table + match[1]
        while match[1] and (name.lower().startswith("sqlite_") or is_taken(name)):
            name = f"_{name}"
        return quote(name)

    return [
        re.sub(rf'"{usual}(\w*)"', own_name, statement)
        for statement in read_statements("sqlite", kind)
        if f'"{usual}' in statement
    ]
