"""Databases: reachable, and writable without writing anything."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from sipcap.config.settings import Settings
from sipcap.doctor.account import Account
from sipcap.doctor.drivers import check_driver, scheme_of
from sipcap.doctor.finding import OK, Finding, fine, wrong
from sipcap.doctor.places import Need, check_file, check_folder
from sipcap.doctor.remedies import Fetch, Mysql, Odbc, Postgresql, Remedies
from sipcap.limits import DATABASE_ROOM_BYTES
from sipcap.modes import CaptureMode
from sipcap.routing import expand
from sipcap.schemas import DEFAULT_TABLE, HOMER5, HOMER7
from sipcap.sinks.driver import LEDGER, Driver
from sipcap.sinks.registry import folder_path, sqlite_path

_MAGIC: Final = b"SQLite format 3\0"
_USUAL: Final = {
    HOMER5: ("sip_capture_call_%Y%m%d", "sip_capture_registration_%Y%m%d", "sip_capture_rest_%Y%m%d"),
    HOMER7: ("hep_proto_1_call", "hep_proto_1_registration", "hep_proto_1_default"),
}


class Opened(NamedTuple):
    """A server that is asked; not connected yet."""

    driver: Driver
    fetch: Fetch
    run: Callable[[str], None]
    remedies: Remedies


def check_database(settings: Settings, mode: CaptureMode, source: str, *, create: bool = True) -> Iterator[Finding]:
    """Look at the database of a capture mode.

    Args:
        settings: of the service.
        mode: the capture mode.
        source: where its URL comes from.
        create: whether missing tables are created.

    Raises:
        CannotStart: the URL cannot be read.
    """
    scheme = scheme_of(mode.db_url)
    name, account = f"capture mode {mode.name}", Account(settings.user)
    if scheme == "sqlite":
        yield from _sqlite(name, sqlite_path(mode.db_url), account)
    elif scheme in ("ndjson", "text", "dbtext"):
        yield check_folder(name, folder_path(mode.db_url), account)
    else:
        drivers = list(check_driver(scheme))
        yield from drivers
        if all(found.state == OK for found in drivers):
            yield from _server(name, mode, settings, source, create=create)


def needs_of(mode: CaptureMode) -> Iterator[Need]:
    """The room that a capture mode takes on disks of this machine."""
    scheme = scheme_of(mode.db_url)
    if scheme == "sqlite":
        path = sqlite_path(mode.db_url)
    elif scheme in ("ndjson", "text", "dbtext"):
        path = folder_path(mode.db_url)
    else:
        return
    there = path.stat().st_size if path.is_file() else 0
    yield Need(f"capture mode {mode.name}", path, there + DATABASE_ROOM_BYTES)


def _sqlite(name: str, path: Path, account: Account) -> Iterator[Finding]:
    yield from check_file(name, path, account)
    if not path.is_file():
        return
    try:
        with path.open("rb") as file:  # SQLite itself would leave files beside it
            head = file.read(len(_MAGIC))
    except OSError as error:
        yield wrong(f"{name}: {path} cannot be read: {error.strerror}")
        return
    if head and head != _MAGIC:
        quoted = shlex.quote(str(path))
        yield wrong(f"{name}: {path} is no SQLite database", f"mv {quoted} {quoted}.old")


def _server(name: str, mode: CaptureMode, settings: Settings, source: str, *, create: bool) -> Iterator[Finding]:
    server = _session(mode.db_url)
    driver = server.driver
    try:
        driver.connect()
    except driver.errors as error:
        text = driver.text(error)
        yield wrong(f"{name} ({source}): cannot connect to {driver.place}: {text}", server.remedies.connecting(error))
        return
    try:
        yield fine(f"{name}: {driver.place} answers")
        for table in (*_tables(mode, settings), LEDGER):
            yield _table(name, table, server, create=create)
    finally:
        driver.disconnect()


def _session(url: str) -> Opened:
    """A connection to a server, not connected yet; its driver is there."""
    scheme = scheme_of(url)
    # Late: each needs its library.
    if scheme in ("postgresql", "postgres"):
        from sipcap.calls.readers import postgresql  # noqa: PLC0415
        from sipcap.sinks.postgresql import parse_postgresql_url  # noqa: PLC0415

        place = parse_postgresql_url(url)
        session = postgresql.Session(place)
        return Opened(session, session.fetch, session.run, Postgresql(place))
    if scheme == "mysql":
        from sipcap.calls.readers import mysql  # noqa: PLC0415
        from sipcap.sinks.mysql_connect import parse_mysql_url  # noqa: PLC0415

        place = parse_mysql_url(url)
        connection = mysql.Session(place)
        return Opened(connection, connection.fetch, connection.run, Mysql(place))
    from sipcap.calls.readers import odbc  # noqa: PLC0415
    from sipcap.sinks.odbc_connect import parse_odbc_url  # noqa: PLC0415

    place = parse_odbc_url(url)
    opened = odbc.Session(place)
    return Opened(opened, opened.fetch, opened.run, Odbc(place))


def _tables(mode: CaptureMode, settings: Settings) -> list[str]:
    """The tables of this moment."""
    patterns = mode.tables if settings.schema != HOMER7 else ()
    now_s = int(time.time())
    return [expand(pattern, now_s) for pattern in patterns or _USUAL.get(settings.schema, (DEFAULT_TABLE,))]


def _table(name: str, table: str, server: Opened, *, create: bool) -> Finding:
    """Insert nothing into a table, or look whether it may be created."""
    driver, fetch, run, remedies = server
    try:
        found = driver.find(table)
        if found is None:
            return _missing(name, table, remedies, partial(remedies.may_create, fetch), create=create)
        column = remedies.quote(next(each.name for each in found.columns if each.name.lower() != "id"))
        quoted = remedies.quote(table)
        driver.begin()
        try:
            run(f"INSERT INTO {quoted} ({column}) SELECT {column} FROM {quoted} WHERE 1 = 0")  # noqa: S608  # both quoted
        finally:
            driver.rollback()
    except driver.errors as error:
        text = driver.text(error)
        return wrong(f"{name}: {table} cannot be written: {text}", remedies.writing(error, table))
    return fine(f"{name}: {table} may be written")


def _missing(name: str, table: str, remedies: Remedies, may_create: Callable[[], bool], *, create: bool) -> Finding:
    if not create:
        return wrong(f"{name}: there is no table {table}, and --no-create is set", "sipcap tables create")
    if may_create():
        return fine(f"{name}: there is no table {table} yet; it may be created")
    return wrong(f"{name}: there is no table {table}, and it may not be created", remedies.creating())
