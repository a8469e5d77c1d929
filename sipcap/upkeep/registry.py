"""The only list of databases whose tables can be looked after: from a URL to its upkeep (design 1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sipcap.errors import CannotStart
from sipcap.sinks.naming import Naming
from sipcap.sinks.registry import sqlite_path
from sipcap.upkeep.base import Upkeep

KNOWN: Final = "sqlite:///FILE, postgresql://HOST/DATABASE, mysql://HOST/DATABASE"


def open_upkeep(url: str, *, create: bool = False, columns: Mapping[str, str] | None = None) -> Upkeep:
    """Connect to the database that a URL names.

    Args:
        url: see design 1.3.
        create: whether an SQLite file is made if there is none.
        columns: what columns are called in the tables; see ``sinks.registry.open_sink``.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, a column that cannot be called so, no driver,
            or no connection.
    """
    naming = Naming(columns)
    upkeep = _upkeep(url.partition("://")[0].strip().lower(), url)
    upkeep.call_columns(naming)
    upkeep.open(create=create)
    return upkeep


def _upkeep(scheme: str, url: str) -> Upkeep:
    try:  # a driver is loaded when it is used
        if scheme in {"postgresql", "postgres"}:
            from sipcap.upkeep.postgresql import PostgresqlUpkeep  # noqa: PLC0415

            return PostgresqlUpkeep(url)
        if scheme == "mysql":
            from sipcap.upkeep.mysql import MysqlUpkeep  # noqa: PLC0415

            return MysqlUpkeep(url)
    except ImportError as error:
        raise CannotStart(f"the driver for {scheme} is missing ({error})") from None
    if scheme == "sqlite":
        from sipcap.upkeep.sqlite import SqliteUpkeep  # noqa: PLC0415

        return SqliteUpkeep(sqlite_path(url))
    raise CannotStart(f"--db-url: no database with tables to look after; known: {KNOWN}")
