"""The only list of databases whose tables can be looked after: from a URL to its upkeep (design 1.3)."""

from __future__ import annotations

from urllib.parse import urlsplit

from sipcap.errors import CannotStart
from sipcap.sinks.registry import sqlite_path
from sipcap.upkeep.base import Upkeep


def open_upkeep(url: str, *, create: bool = False) -> Upkeep:
    """Connect to the database that a URL names.

    Args:
        url: see design 1.3.
        create: whether an SQLite file is made if there is none.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, or no connection.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from sipcap.upkeep.sqlite import SqliteUpkeep  # noqa: PLC0415  # a driver is loaded when it is used

        upkeep = SqliteUpkeep(sqlite_path(url))
        upkeep.open(create=create)
        return upkeep
    raise CannotStart("--db-url: no database with tables to look after; known: sqlite:///FILE")
