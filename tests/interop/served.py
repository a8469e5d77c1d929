"""A database of a server that Kamailio and the product store into, read as the comparison wants it."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.support.database_server import DatabaseServer, Run
from tests.support.kamailio_tables import MISSING, mysql_sip_table, postgresql_sip_table

from .processes import wait_until
from .tables import Row, Value

DRIVERS = {"mysql": "mysql", "postgresql": "postgres"}
"""Kamailio's names of its drivers."""


@dataclass(frozen=True, slots=True)
class ServedTable:
    """The table sip_capture of one database, and a connection that looks into it."""

    run: Run

    def rows(self) -> list[Row]:
        """Return all rows, text as its bytes."""
        return [{name: _value(value) for name, value in row.items()} for row in self.run("SELECT * FROM sip_capture")]

    def wait_for_call(self, call_id: str) -> None:
        """Wait until a message of this Call-ID is stored; ids of tests have no quotes."""
        wait_until(lambda: self._has_call(call_id), f"the row of {call_id}")

    def _has_call(self, call_id: str) -> bool:
        try:
            return bool(self.run(f"SELECT 1 FROM sip_capture WHERE callid = '{call_id}' LIMIT 1"))
        except Exception as error:  # of either driver
            if "sip_capture" not in str(error):
                raise
            return False  # not created yet


def _value(value: Any) -> Value:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S").encode()
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, memoryview) else value


@contextlib.contextmanager
def database(server: DatabaseServer, *, table_of_the_module: bool) -> Iterator[tuple[str, ServedTable]]:
    """An empty database, perhaps with the module's own table as its scripts make it; yields its name too.

    The script for PostgreSQL lacks seven columns, without which no current module can store (spec 3.1), and has a msg
    in which bytes become hexadecimal text (spec 5.1).
    """
    name = server.create_database()
    try:
        with server.session(name) as run:
            if table_of_the_module and server.scheme == "mysql":
                run(mysql_sip_table())
            elif table_of_the_module:
                run(postgresql_sip_table(msg="bytea"))
                for column in MISSING:
                    run(f"ALTER TABLE sip_capture ADD COLUMN {column} varchar(256) NOT NULL DEFAULT ''")
            yield name, ServedTable(run)
    finally:
        server.drop_database(name)


@contextlib.contextmanager
def account(server: DatabaseServer, database: str) -> Iterator[str]:
    """A user whom Kamailio's URL can name; yields the URL."""
    user, password = f"k_{uuid.uuid4().hex[:8]}", "kamailiorw"
    if server.scheme == "mysql":
        server.execute(f"CREATE USER {user}@'%' IDENTIFIED BY '{password}'")
        server.execute(f"GRANT ALL ON {database}.* TO {user}@'%'")
    else:
        server.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{password}'")
        server.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}", database)
        server.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {user}", database)
    try:
        scheme = DRIVERS[server.scheme]
        yield f"{scheme}://{user}:{password}@{server.host}:{server.port}/{database}"
    finally:
        if server.scheme == "mysql":
            server.execute(f"DROP USER {user}@'%'")
        else:
            server.execute(f"DROP OWNED BY {user}", database)
            server.execute(f"DROP ROLE {user}")


@contextlib.contextmanager
def in_utc(server: DatabaseServer) -> Iterator[None]:
    """Have new sessions of MariaDB in UTC: a timestamp is in the session's time zone, and Kamailio sets none."""
    if server.scheme == "mysql":
        server.execute("SET GLOBAL time_zone = '+00:00'")
    try:
        yield
    finally:
        if server.scheme == "mysql":
            server.execute("SET GLOBAL time_zone = '+09:00'")  # what a private server is started with
