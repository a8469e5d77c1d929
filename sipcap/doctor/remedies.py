"""What mends a database server, by kind: commands for its own client, to be run by its administrator."""

from __future__ import annotations

import fnmatch
import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

from sipcap.sinks.url import DatabaseUrl

Fetch = Callable[..., Sequence[tuple[Any, ...]]]
"""Runs a statement; its rows."""

_LOCAL: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})
_ACCOUNT: Final = re.compile(r"'([^']*)'@'([^']*)'")
_GRANT: Final = re.compile(r"GRANT (.*) ON (`(?P<database>.*)`|\*)\.\* TO ", re.DOTALL)
_WANTED: Final = ("CREATE", "INSERT")


class Remedies(ABC):
    """Commands for one server.

    Args:
        url: of the database.
    """

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url

    @abstractmethod
    def quote(self, name: str) -> str:
        """Quote an identifier."""

    @abstractmethod
    def connecting(self, error: Exception) -> str:
        """What lets us connect; "" if no command does."""

    @abstractmethod
    def writing(self, error: Exception, table: str) -> str:
        """What lets us write to a table that is there."""

    @abstractmethod
    def creating(self) -> str:
        """What lets us create tables."""

    @abstractmethod
    def may_create(self, fetch: Fetch) -> bool:
        """Whether we may create tables."""

    def _start(self, unit: str) -> str:
        """The command that starts the server, if it is this machine's."""
        return f"sudo systemctl start {unit}" if self.url.host in _LOCAL else ""


class Mysql(Remedies):
    """MySQL and MariaDB."""

    def __init__(self, url: DatabaseUrl) -> None:
        super().__init__(url)
        self._account = f"'{url.user or ''}'@'%'"

    def quote(self, name: str) -> str:
        """See Remedies."""
        return "`" + name.replace("`", "``") + "`"

    def _client(self, statement: str) -> str:
        url = self.url
        where = f"--socket={url.socket}" if url.socket else f"--host={url.host} --port={url.port}"
        return f"mysql {where} -e {shlex.quote(statement)}"

    def _note_account(self, error: Exception) -> None:
        """The server says as whom it knows us."""
        if found := _ACCOUNT.search(str(error)):
            self._account = f"'{found[1]}'@'{found[2]}'"

    def connecting(self, error: Exception) -> str:
        """See Remedies."""
        self._note_account(error)
        code = error.args[0] if error.args else 0
        if code == 1045:  # ER_ACCESS_DENIED_ERROR
            return self._client(
                f"CREATE USER IF NOT EXISTS {self._account}; ALTER USER {self._account} IDENTIFIED BY 'PASSWORD'"
            )
        if code == 1049:  # ER_BAD_DB_ERROR
            return self._client(f"CREATE DATABASE {self.quote(self.url.database)} CHARACTER SET utf8mb4")
        if code == 1044:  # ER_DBACCESS_DENIED_ERROR
            return self.creating()
        return self._start("mariadb") if code in (2002, 2003) else ""

    def writing(self, error: Exception, table: str) -> str:  # noqa: ARG002  # the whole database is ours
        """See Remedies."""
        self._note_account(error)
        if error.args and error.args[0] == 1290:  # ER_OPTION_PREVENTS_STATEMENT: it is read only
            return self._client("SET GLOBAL read_only = 0")
        return self.creating()

    def creating(self) -> str:
        """See Remedies."""
        return self._client(f"GRANT ALL ON {self.quote(self.url.database)}.* TO {self._account}")

    def may_create(self, fetch: Fetch) -> bool:
        """See Remedies; the grants of active roles are among those that the server shows."""
        self._account = "'{}'@'{}'".format(*str(fetch("SELECT CURRENT_USER()")[0][0]).rsplit("@", 1))
        found: set[str] = set()
        for (line,) in fetch("SHOW GRANTS"):
            grant = _GRANT.match(str(line))
            if grant is not None and (grant["database"] is None or _matches(grant["database"], self.url.database)):
                found |= {word.strip() for word in grant[1].split(",")}
        return "ALL PRIVILEGES" in found or found.issuperset(_WANTED)


def _matches(pattern: str, name: str) -> bool:
    r"""Whether a name fits a pattern of GRANT, in which % and _ stand for others, and \ takes that away."""
    glob = re.sub(r"\\(.)|([%_])|([*?\[])", _as_glob, pattern)
    return fnmatch.fnmatchcase(name.lower(), glob.lower())


def _as_glob(found: re.Match[str]) -> str:
    if found[2]:
        return "*" if found[2] == "%" else "?"
    return found[1] or f"[{found[3]}]"


class Postgresql(Remedies):
    """PostgreSQL."""

    def quote(self, name: str) -> str:
        """See Remedies."""
        return '"' + name.replace('"', '""') + '"'

    @property
    def _where(self) -> str:
        return f"-h {shlex.quote(self.url.socket or self.url.host)} -p {self.url.port}"

    def _client(self, statement: str, database: str = "") -> str:
        name = shlex.quote(database or self.url.database)
        return f"psql {self._where} -d {name} -c {shlex.quote(statement)}"

    @property
    def _role(self) -> str:
        return self.quote(self.url.user or "PUBLIC")

    def connecting(self, error: Exception) -> str:
        """See Remedies; libpq gives no code here, but the server's text."""
        text = str(error)
        if "password authentication failed" in text or "no password supplied" in text:
            return self._client(f"ALTER ROLE {self._role} LOGIN PASSWORD 'PASSWORD'", "postgres")
        if f'role "{self.url.user}" does not exist' in text:
            return self._client(f"CREATE ROLE {self._role} LOGIN PASSWORD 'PASSWORD'", "postgres")
        if f'database "{self.url.database}" does not exist' in text:
            return (
                f"createdb {self._where} -O {shlex.quote(self.url.user or 'postgres')} {shlex.quote(self.url.database)}"
            )
        if "CONNECT privilege" in text:
            return self._client(
                f"GRANT CONNECT ON DATABASE {self.quote(self.url.database)} TO {self._role}", "postgres"
            )
        return self._start("postgresql") if "refused" in text or "No such file" in text else ""

    def writing(self, error: Exception, table: str) -> str:
        """See Remedies."""
        if getattr(error, "sqlstate", "") == "25006":  # read_only_sql_transaction
            return self._client(
                f"ALTER DATABASE {self.quote(self.url.database)} SET default_transaction_read_only = off"
            )
        statement = f"GRANT SELECT, INSERT, DELETE ON {self.quote(table)} TO {self._role}"
        return self._client(statement)

    def creating(self) -> str:
        """See Remedies."""
        return self._client(f"GRANT CREATE, USAGE ON SCHEMA public TO {self._role}")

    def may_create(self, fetch: Fetch) -> bool:
        """See Remedies."""
        return bool(fetch("SELECT has_schema_privilege(current_schema(), 'CREATE')")[0][0])


class Odbc(Remedies):
    """Any data source of unixODBC; what is behind it is not known."""

    def quote(self, name: str) -> str:
        """See Remedies; plain names, which all engines take."""
        return name

    def connecting(self, error: Exception) -> str:
        """See Remedies."""
        if error.args and error.args[0] == "IM002":  # no such data source, and no default driver
            return "odbcinst -q -s"
        return "odbcinst -q -d" if error.args and error.args[0] == "01000" else ""

    def writing(self, error: Exception, table: str) -> str:  # noqa: ARG002  # who knows
        """See Remedies."""
        return ""

    def creating(self) -> str:
        """See Remedies."""
        return ""

    def may_create(self, fetch: Fetch) -> bool:  # noqa: ARG002  # no engine says it the same way
        """See Remedies: it shows when the first record comes."""
        return True
