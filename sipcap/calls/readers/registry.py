"""The only list of databases that can be searched: from a URL to its reader (design 1.3)."""

from __future__ import annotations

from collections.abc import Mapping

from sipcap.calls.readers.base import Reader
from sipcap.calls.scan import SqlTables
from sipcap.calls.source import Tables
from sipcap.errors import CannotStart
from sipcap.sinks.naming import Naming
from sipcap.sinks.registry import folder_path, sqlite_path

KNOWN = (
    "sqlite:///FILE, postgresql://HOST/DATABASE, mysql://HOST/DATABASE, unixodbc://HOST/DSN, ndjson:///FOLDER,"
    " text:///FOLDER"
)


def open_tables(url: str, columns: Mapping[str, str] | None = None) -> Tables:
    """Connect to the database that a URL names, for searching.

    Args:
        url: see design 1.3.
        columns: what columns are called in the tables; see ``sinks.registry.open_sink``.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, a column that cannot be called so, no driver,
            or no connection.
    """
    naming = Naming(columns)
    scheme = url.partition("://")[0].strip().lower()
    if scheme in {"ndjson", "text", "dbtext"}:
        from sipcap.calls.readers.folder import NdjsonTables, TextTables  # noqa: PLC0415

        folder = folder_path(url)
        return NdjsonTables(folder) if scheme == "ndjson" else TextTables(folder, naming)
    if scheme in {"unixodbc", "odbc"}:
        from sipcap.calls.readers.odbc import OdbcTables  # noqa: PLC0415

        tables = OdbcTables(url, naming)
        tables.open()
        return tables
    return SqlTables(open_reader(url, naming))


def open_reader(url: str, naming: Naming | None = None) -> Reader:
    """Connect to the database that a URL names, if it speaks SQL, for reading.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, no driver, or no connection.
    """
    reader = _reader(url.partition("://")[0].strip().lower(), url)
    reader.naming = naming or Naming()
    reader.open()
    return reader


def _reader(scheme: str, url: str) -> Reader:
    try:  # a driver is loaded when it is used
        if scheme in {"postgresql", "postgres"}:
            from sipcap.calls.readers.postgresql import PostgresqlReader  # noqa: PLC0415

            return PostgresqlReader(url)
        if scheme == "mysql":
            from sipcap.calls.readers.mysql import MysqlReader  # noqa: PLC0415

            return MysqlReader(url)
    except ImportError as error:
        raise CannotStart(f"the driver for {scheme} is missing ({error})") from None
    if scheme == "sqlite":
        from sipcap.calls.readers.sqlite import SqliteReader  # noqa: PLC0415

        return SqliteReader(sqlite_path(url))
    raise CannotStart(f"--db-url: no database that can be searched; known: {KNOWN}")
