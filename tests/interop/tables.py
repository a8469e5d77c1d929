"""Read the rows that a peer or the product stored in SQLite, as raw values."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .processes import wait_until

# A stored value as SQLite holds it; text arrives as its bytes, because senders are not bound to UTF-8.
Value = bytes | int | float | None
Row = dict[str, Value]

# The module's 44 columns in the order of its insert (spec 3.1).
COLUMNS = (
    "date", "micro_ts", "method", "reply_reason", "ruri", "ruri_user", "from_user", "from_tag", "to_user", "to_tag",
    "pid_user", "contact_user", "auth_user", "callid", "callid_aleg", "via_1", "via_1_branch", "cseq", "reason",
    "content_type", "auth", "user_agent", "source_ip", "source_port", "destination_ip", "destination_port",
    "contact_ip", "contact_port", "originator_ip", "originator_port", "proto", "family", "rtp_stat", "type", "node",
    "correlation_id", "from_domain", "to_domain", "ruri_domain", "diversion", "msg", "custom_field1", "custom_field2",
    "custom_field3",
)  # fmt: skip
# The 12 columns of report rows (spec 3.9).
REPORT_COLUMNS = (
    "date", "micro_ts", "correlation_id", "source_ip", "source_port", "destination_ip", "destination_port", "proto",
    "family", "type", "node", "msg",
)  # fmt: skip
REPORT_TABLES = ("rtcp_capture", "report_capture", "logs_capture")


@contextlib.contextmanager
def tables_of_the_module(path: Path) -> Iterator[None]:
    """Create the module's tables, untyped so that SQLite keeps each value as the driver bound it.

    WAL, and a connection that stays open: Kamailio's driver does not wait for a lock but loses the row, and the last
    reader to close a WAL database locks it for a moment (seen in one of some hundred starts).
    """
    with contextlib.closing(sqlite3.connect(path)) as connection:
        with connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"CREATE TABLE sip_capture (id INTEGER PRIMARY KEY, {', '.join(COLUMNS)})")
            for table in REPORT_TABLES:
                connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, {', '.join(REPORT_COLUMNS)})")
        yield


@dataclass(frozen=True, slots=True)
class Database:
    """One SQLite file that another process writes."""

    path: Path

    def rows(self, table: str = "sip_capture") -> list[Row]:
        """Return all rows of *table* in the order of their ids; none while the file or the table is missing."""
        return self._query(f"SELECT * FROM {table} ORDER BY id")

    def has_call(self, call_id: str) -> bool:
        """Tell whether a message of this Call-ID is stored."""
        return bool(self._query("SELECT 1 FROM sip_capture WHERE callid = ? LIMIT 1", call_id))

    def count(self, table: str = "sip_capture") -> int:
        """Return the number of rows of *table*, 0 while it is missing."""
        counted = self._query(f"SELECT count(*) AS n FROM {table}")
        return int(counted[0]["n"] or 0) if counted else 0

    def wait_for_call(self, call_id: str) -> None:
        """Wait until a message of this Call-ID is stored."""
        wait_until(lambda: self.has_call(call_id), f"the row of {call_id} in {self.path.name}")

    def wait_for_count(self, number: int, table: str = "sip_capture") -> None:
        """Wait until *table* has at least *number* rows."""
        wait_until(lambda: self.count(table) >= number, f"{number} rows in {table} of {self.path.name}")

    def _query(self, statement: str, *values: str) -> list[Row]:
        if not self.path.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)) as connection:
            connection.text_factory = bytes
            try:
                cursor = connection.execute(statement, values)
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor]
            except sqlite3.OperationalError:  # The writer has not created the table yet, or holds it this moment.
                return []


def text(value: Value) -> str:
    """Return a text column as str, NULL as the empty text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ("" if value is None else str(value))
