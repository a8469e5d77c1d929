"""The only list of databases that can be searched: from a URL to its reader (design 1.3)."""

from __future__ import annotations

from urllib.parse import urlsplit

from sipcap.calls.readers.base import Reader
from sipcap.errors import CannotStart
from sipcap.sinks.registry import sqlite_path


def open_reader(url: str) -> Reader:
    """Connect to the database that a URL names, for reading.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, or no connection.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from sipcap.calls.readers.sqlite import SqliteReader  # noqa: PLC0415  # a driver is loaded when it is used

        reader = SqliteReader(sqlite_path(url))
        reader.open()
        return reader
    raise CannotStart(f"--db-url: {scheme or url!r} cannot be searched; known: sqlite")
