"""Database URLs of servers: ``mysql://user:password@host:3306/database?key=value`` (design 1.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

from sipcap.errors import CannotStart

DEFAULT_URL: Final = "sqlite:///sipcap.db"
"""Where records go if nobody says where."""

# User and password end at the last @ before a slash; unix(/path) is how Kamailio names a socket.
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    r"(?:(?P<user>[^:/?]*)(?::(?P<password>[^/?]*))?@)?"
    r"(?P<host>unix\((?P<path>[^)]*)\)|\[[^\]/?@]*\]|[^/:?@\[\]]*)"
    r"(?::(?P<port>[0-9]*))?"
    r"(?:/(?P<database>[^/?@]*))?"
    r"(?:\?(?P<query>.*))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class DatabaseUrl:
    """What a URL says; nothing that prints it shows the password.

    ``user`` and ``password`` are None where the URL does not name them, and the driver's own defaults hold;
    ``socket`` is empty for TCP, then ``host`` is set.
    """

    scheme: str
    user: str | None
    password: str | None = field(repr=False)
    host: str
    port: int
    socket: str
    database: str
    options: Mapping[str, str]

    @property
    def place(self) -> str:
        """The URL for messages: without user, password and options."""
        where = f"unix({self.socket})" if self.socket else f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.socket else f":{self.port}"
        return f"{self.scheme}://{where}{port}/{self.database}"


def parse_url(url: str, scheme: str, default_port: int, option_names: frozenset[str]) -> DatabaseUrl:
    """Read the URL of a database server.

    Args:
        url: as the user wrote it.
        scheme: what the parsed one says for all spellings of it.
        default_port: for TCP.
        option_names: what may stand in the query, besides ``socket``.

    Raises:
        CannotStart: it cannot be read, names no database, or has an option that does not exist. The text
            does not repeat what may be a secret.
    """
    found = _URL.fullmatch(url)
    if found is None or "@" in (found["query"] or ""):  # a password with an unescaped ? ends up there
        raise CannotStart(
            f"--db-url: write {scheme}://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for @, %2F for / and so on"
            " in user and password"
        )
    options = _options(found["query"] or "", scheme, option_names | {"socket"})
    socket = options.pop("socket", "") or _decoded(found["path"] or "", "socket")
    port = int(found["port"] or default_port)
    if not 0 < port < 65_536:
        raise CannotStart(f"--db-url: {port} is no port")
    database = _decoded(found["database"] or "", "database")
    if not database:
        raise CannotStart(f"--db-url: no database is named; write {scheme}://HOST/DATABASE")
    host = "" if found["path"] else _decoded(found["host"].strip("[]"), "host")
    return DatabaseUrl(
        scheme,
        None if not found["user"] else _decoded(found["user"], "user"),
        None if found["password"] is None else _decoded(found["password"], "password"),
        "" if socket else host or "localhost",
        port,
        socket,
        database,
        options,
    )


def _options(query: str, scheme: str, names: frozenset[str]) -> dict[str, str]:
    options = {}
    for pair in filter(None, query.split("&")):
        name, _, text = pair.partition("=")
        if name not in names:
            raise CannotStart(f"--db-url: {scheme} has no option {name!r}; known: {', '.join(sorted(names))}")
        options[name] = _decoded(text, name)
    return options


def _decoded(text: str, what: str) -> str:
    """Decode percent escapes; ``+`` is a plus."""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise CannotStart(f"--db-url: the {what} is not UTF-8") from None
    if "\0" in decoded:
        raise CannotStart(f"--db-url: NUL in the {what}")
    return decoded
