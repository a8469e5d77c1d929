"""The only list of databases that can be searched: from a URL to its reader (design 1.3)."""

from __future__ import annotations

from sipcap.calls.readers.base import Reader
from sipcap.calls.scan import SqlTables
from sipcap.calls.source import Tables
from sipcap.errors import CannotStart
from sipcap.sinks.registry import folder_path, sqlite_path

KNOWN = "sqlite:///FILE, postgresql://HOST/DATABASE, mysql://HOST/DATABASE, ndjson:///FOLDER, text:///FOLDER"


def open_tables(url: str) -> Tables:
    """Connect to the database that a URL names, for searching.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, no driver, or no connection.
    """
    scheme = url.partition("://")[0].strip().lower()
    if scheme in {"ndjson", "text", "dbtext"}:
        from sipcap.calls.readers.folder import NdjsonTables, TextTables  # noqa: PLC0415

        return (NdjsonTables if scheme == "ndjson" else TextTables)(folder_path(url))
    return SqlTables(open_reader(url))


def open_reader(url: str) -> Reader:
    """Connect to the database that a URL names, if it speaks SQL, for reading.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, no driver, or no connection.
    """
    reader = _reader(url.partition("://")[0].strip().lower(), url)
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
