"""The only list of databases: from a URL to its sink (design 1.3)."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from sipcap.errors import CannotStart
from sipcap.schemas import HOMER7, SIPCAPTURE
from sipcap.sinks.base import Sink
from sipcap.sinks.budget import Budget
from sipcap.sinks.driver import Driver
from sipcap.sinks.naming import Naming
from sipcap.sinks.server import ServerSink

KNOWN: Final = (
    "sqlite:///FILE, postgresql://HOST/DATABASE, mysql://HOST/DATABASE, unixodbc://HOST/DSN, ndjson:///FOLDER,"
    " text:///FOLDER"
)
_SERVERS: Final = {
    "postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "unixodbc": "odbc", "odbc": "odbc",
}  # fmt: skip
_FOLDERS: Final = ("ndjson", "text", "dbtext")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_LOGGER = logging.getLogger("sipcap")
_PACKAGES: Final = {"postgresql": "psycopg[binary]", "mysql": "pymysql"}


def open_sink(
    url: str,
    *,
    create: bool = True,
    schema: str = SIPCAPTURE,
    budget: Budget | None = None,
    is_delayed: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Sink:
    """Connect to the database that a URL names.

    Args:
        url: see design 1.3.
        create: whether missing tables are created.
        schema: how records are stored; one of ``schemas.SCHEMAS``.
        budget: of new tables; None = any number. Files in a folder have none.
        is_delayed: rows go in by INSERT DELAYED where the engine takes that; where none does, it is said.
        columns: what columns are called in the tables, by the module's names (spec 1.1, ``callid_column`` and so on).
            HOMER 7's columns and the keys of NDJSON files have no other names.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, a column that cannot be called so, or no
            connection.
    """
    scheme = url.partition("://")[0].strip().lower()
    naming = Naming(columns or {})
    if is_delayed and scheme != "mysql":
        _LOGGER.info("%s has no INSERT DELAYED: --insert-mode plain", scheme)
    if scheme in _SERVERS:
        driver = _driver(_SERVERS[scheme], url, schema)
        driver.is_delayed = is_delayed
        server = ServerSink(driver, create=create, schema=schema, budget=budget, naming=naming)
        server.open()
        return server
    scheme = _split(url).scheme
    if scheme == "sqlite":
        from sipcap.sinks.sqlite import SqliteSink  # noqa: PLC0415  # a driver is loaded when it is used

        sink = SqliteSink(sqlite_path(url), create=create, schema=schema, budget=budget, naming=naming)
        sink.open()
        return sink
    if scheme in _FOLDERS:
        from sipcap.sinks.ndjson import NdjsonSink  # noqa: PLC0415
        from sipcap.sinks.text import TextSink  # noqa: PLC0415

        path = folder_path(url)
        files = (
            NdjsonSink(path, create=create)
            if scheme == "ndjson"
            else TextSink(path, create=create, schema=schema, naming=naming)
        )
        files.open()
        return files
    raise unknown_database(url)


def unknown_database(url: str) -> CannotStart:
    """The error that a URL is of no database that sipcap knows."""
    # Of what is no URL, nothing is shown: it may be a password.
    scheme, mark, _ = url.strip().lower().partition("://")
    named = f"unknown database {scheme}" if mark and _SCHEME.fullmatch(scheme) else "no URL"
    return CannotStart(f"--db-url: {named}; known: {KNOWN}")


def _driver(database: str, url: str, schema: str) -> Driver:
    """The driver of a database server, which is loaded when it is used."""
    try:
        if database == "postgresql":
            from sipcap.sinks.postgresql import PostgresqlDriver, parse_postgresql_url  # noqa: PLC0415
            from sipcap.sinks.postgresql_homer7 import Homer7Driver  # noqa: PLC0415

            return (Homer7Driver if schema == HOMER7 else PostgresqlDriver)(parse_postgresql_url(url))
        if database == "odbc":
            from sipcap.sinks.odbc import OdbcDriver  # noqa: PLC0415
            from sipcap.sinks.odbc_connect import parse_odbc_url  # noqa: PLC0415

            return OdbcDriver(parse_odbc_url(url))
        from sipcap.sinks.mysql import MysqlDriver  # noqa: PLC0415
        from sipcap.sinks.mysql_connect import parse_mysql_url  # noqa: PLC0415

        return MysqlDriver(parse_mysql_url(url))
    except ImportError as error:
        package = _PACKAGES[database]
        raise CannotStart(f"the driver for {database} is missing ({error}): pip install '{package}'") from None


def sqlite_path(url: str) -> Path:
    """The file of ``sqlite:///relative`` or ``sqlite:////absolute``.

    Raises:
        CannotStart: it names no file, or options that there are not.
    """
    parts = _split(url)
    if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
        raise CannotStart("--db-url: write sqlite:///FILE for a relative and sqlite:////FILE for an absolute path")
    if parts.query or parts.fragment:
        raise CannotStart("--db-url: sqlite has no options; in a file's name, ? is written %3F and # is written %23")
    return Path(unquote(parts.path[1:], errors="surrogateescape"))


def folder_path(url: str) -> Path:
    """The folder of ``ndjson:///folder`` and its like; it is absolute.

    Raises:
        CannotStart: it names no folder, or options that there are not.
    """
    parts = _split(url)
    path = parts.path.rstrip("/")
    if parts.netloc or not path.startswith("/") or parts.query or parts.fragment or "%00" in path:
        raise CannotStart(
            f"--db-url: write {parts.scheme}:///FOLDER with an absolute path, ? in it as %3F and # as %23; no options"
        )
    return Path(unquote(path, errors="surrogateescape"))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise CannotStart("--db-url: no URL: its host cannot be read") from None
