"""``sipcap doctor`` and database servers: what it sees of accounts and rights, and that its commands mend it."""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doctor.conftest import Doctor, of
from tests.support.database_server import DatabaseServer
from tests.support.databases import ServedDatabase
from tests.support.odbc import DataSources

COMMON = ("--listen", "udp:127.0.0.1:0", "--skip", "clock", "--skip", "disk")


class Tenant:
    """An account that may do nothing, and its database."""

    def __init__(self, server: DatabaseServer) -> None:
        self.server = server
        self.database = ServedDatabase(server)
        self.name = f"tenant_{uuid.uuid4().hex[:8]}"
        self.is_mysql = server.scheme == "mysql"
        if self.is_mysql:
            server.execute(f"CREATE USER '{self.name}'@'%' IDENTIFIED BY 'right'")
        else:
            server.execute(f"CREATE ROLE {self.name} LOGIN PASSWORD 'right'")
            self.database.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")

    def url(self, password: str = "right", database: str = "") -> str:
        """As sipcap connects."""
        server = self.server
        name = database or self.database.name
        return f"{server.scheme}://{self.name}:{password}@{server.host}:{server.port}/{name}"

    def run(self, command: str, password: str = "right") -> None:
        """Run the statements of a command for a server's client, as the administrator."""
        words = shlex.split(command)
        assert words[0] in ("mysql", "psql")
        is_elsewhere = self.is_mysql or words[words.index("-d") + 1] == "postgres"
        execute = self.server.execute if is_elsewhere else self.database.execute
        for statement in words[-1].replace("'PASSWORD'", f"'{password}'").split("; "):
            execute(statement)

    def close(self) -> None:
        """Remove both."""
        self.database.close()
        if not self.is_mysql:
            self.server.execute(f"DROP ROLE {self.name}")
            return
        for row in self.server.execute(f"SELECT Host FROM mysql.user WHERE User = '{self.name}'"):
            self.server.execute(f"DROP USER '{self.name}'@'{row['Host']}'")


@pytest.fixture(params=["postgresql", "mysql"])
def tenant(request: pytest.FixtureRequest) -> Iterator[Tenant]:
    """An account, once on each kind of server."""
    made = Tenant(request.getfixturevalue(f"{request.param}_server"))
    yield made
    made.close()


def test_doctor_of_a_database_that_is_there_leaves_nothing_behind(
    doctor: Doctor, request: pytest.FixtureRequest
) -> None:
    """The administrator may do everything; no table is made."""
    for kind in ("postgresql", "mysql"):
        database = ServedDatabase(request.getfixturevalue(f"{kind}_server"))
        try:
            found = doctor("--db-url", database.url, *COMMON)
            assert not of(found, "databases")
            assert [each["text"] for each in of(found, "databases", "ok")][-1].endswith("it may be created")
            assert database.tables() == set()
            database.execute("CREATE TABLE sip_capture (id int, micro_ts bigint)")
            found = doctor("--db-url", database.url, *COMMON)
            assert any("sip_capture may be written" in each["text"] for each in of(found, "databases", "ok"))
            assert database.execute("SELECT * FROM sip_capture") == []
        finally:
            database.close()


def test_doctor_with_a_wrong_password_hides_it_and_says_how_to_set_it(doctor: Doctor, tenant: Tenant) -> None:
    """The server's own words, where the URL comes from, and statements for the administrator that let us in."""
    url = tenant.url("s3cret-wrong")
    (found,) = of(doctor("--db-url", url, *COMMON), "databases")
    assert "s3cret" not in str(found)
    assert "capture mode default (--db-url): cannot connect to" in found["text"]
    tenant.run(found["command"], "s3cret-wrong")
    for _ in range(4):  # now it may connect, and nothing else
        later = of(doctor("--db-url", url, *COMMON), "databases")
        assert found["text"] not in [each["text"] for each in later]
        for each in later:
            tenant.run(each["command"])
        if not later:
            return
    pytest.fail(str(later))


def test_doctor_without_rights_is_mended_by_its_commands(doctor: Doctor, tenant: Tenant) -> None:
    """Tables may not be created; then, with a table of somebody else, nothing may be written to it."""
    for _ in range(4):
        found = of(doctor("--db-url", tenant.url(), *COMMON), "databases")
        if not found:
            break
        for each in found:
            tenant.run(each["command"])
    assert not found
    tenant.database.execute("CREATE TABLE sip_capture (id int, micro_ts bigint)")
    if not tenant.is_mysql:
        (found_one,) = of(doctor("--db-url", tenant.url(), *COMMON), "databases")
        assert "sip_capture cannot be written: permission denied" in found_one["text"]
        tenant.run(found_one["command"])
    assert not of(doctor("--db-url", tenant.url(), *COMMON), "databases")


def test_doctor_of_a_database_that_is_missing_names_the_command_that_makes_it(
    doctor: Doctor, request: pytest.FixtureRequest
) -> None:
    """By the server's own client."""
    postgresql: DatabaseServer = request.getfixturevalue("postgresql_server")
    (found,) = of(doctor("--db-url", postgresql.url("gone_x"), *COMMON), "databases")
    assert found["command"].startswith(f"createdb -h {postgresql.host} -p {postgresql.port} -O ")
    mysql: DatabaseServer = request.getfixturevalue("mysql_server")
    (found,) = of(doctor("--db-url", mysql.url("gone_x"), *COMMON), "databases")
    assert "CREATE DATABASE `gone_x` CHARACTER SET utf8mb4" in found["command"]


def test_doctor_of_a_server_that_is_down_says_how_to_start_it(doctor: Doctor) -> None:
    """Nobody listens at port 1."""
    for scheme, unit in (("mysql", "mariadb"), ("postgresql", "postgresql")):
        (found,) = of(doctor("--db-url", f"{scheme}://u:p@127.0.0.1:1/x", *COMMON), "databases")
        assert found["command"] == f"sudo systemctl start {unit}"


def test_doctor_looks_at_the_tables_of_the_schema_and_moment(doctor: Doctor, request: pytest.FixtureRequest) -> None:
    """HOMER 7's tables, and one of a day under other names of columns; nothing is inserted."""
    database = ServedDatabase(request.getfixturevalue("postgresql_server"))
    folder: Path = request.getfixturevalue("tmp_path")
    try:
        database.execute("CREATE TABLE hep_proto_1_call (id int, sid text, create_date timestamp)")
        text = f"[sipcap]\ncapture_on = 1\ndb_url = {database.url}\nschema = homer7\n"
        (folder / "modes.ini").write_text(text)
        found = doctor("--config", "modes.ini", *COMMON[2:], "--skip", "listeners")
        assert not of(found, "databases")
        told = [each["text"].partition(": ")[2] for each in of(found, "databases", "ok")]
        assert "hep_proto_1_call may be written" in told
        assert "there is no table hep_proto_1_registration yet; it may be created" in told
        day = time.strftime("sip_%Y%m%d", time.gmtime())
        database.execute(f"CREATE TABLE {day} (micro_ts bigint)")
        (folder / "modes.ini").write_text(text.replace("schema = homer7", "table_name = sip_%Y%m%d"))
        found = doctor("--config", "modes.ini", *COMMON[2:], "--skip", "listeners")
        assert any(each["text"].endswith(f"{day} may be written") for each in of(found, "databases", "ok"))
        assert database.execute(f"SELECT * FROM {day}") == []
    finally:
        database.close()


def test_doctor_of_a_read_only_table_of_odbc_says_what_the_driver_says(
    doctor: Doctor, data_sources: DataSources, tmp_path: Path
) -> None:
    """A data source is opened and written to like the others; one that is not there is named."""
    with contextlib.closing(sqlite3.connect(tmp_path / "odbc.db")) as file:
        file.execute("CREATE TABLE sip_capture (micro_ts BIGINT)")
    name = data_sources.add("sqlite", Database=tmp_path / "odbc.db")
    env = {key: os.environ[key] for key in ("ODBCSYSINI", "ODBCINI")}
    found = doctor("--db-url", f"unixodbc://localhost/{name}", *COMMON, env=env)
    assert not of(found, "databases")
    assert any("sip_capture may be written" in each["text"] for each in of(found, "databases", "ok"))
    with contextlib.closing(sqlite3.connect(tmp_path / "odbc.db")) as file:
        file.execute("DROP TABLE sip_capture")
        file.execute("CREATE VIEW sip_capture AS SELECT 1 AS micro_ts")
    (refused,) = of(doctor("--db-url", f"unixodbc://localhost/{name}", *COMMON, env=env), "databases")
    assert "sip_capture cannot be written" in refused["text"]
    (gone,) = of(doctor("--db-url", "unixodbc://localhost/no_such_source", *COMMON, env=env), "databases")
    assert gone["command"] == "odbcinst -q -s"


def test_doctor_of_a_database_that_nobody_knows_names_those_that_are_known(doctor: Doctor) -> None:
    """A scheme of another program."""
    (found,) = of(doctor("--db-url", "oracle://u:secret@h/x", *COMMON), "config")
    assert "unknown database oracle; known: sqlite:///FILE" in found["text"]
    assert "secret" not in found["text"]
