"""Which database a URL means, however it is written: what waits for one must not go into another."""

from __future__ import annotations

import os
import re
from typing import Final

from sipcap.sinks.registry import folder_path, sqlite_path, unknown_database
from sipcap.sinks.url import DatabaseUrl, parse_url

_SERVERS: Final = {"postgresql": ("postgresql", 5432), "postgres": ("postgresql", 5432), "mysql": ("mysql", 3306)}
_FOLDERS: Final = {"ndjson": "ndjson", "text": "text", "dbtext": "text"}
_ODBC: Final = ("unixodbc", "odbc")
_USER: Final = re.compile(r"//[^/@]*@")


def identity_of(url: str) -> str:
    """A text that is the same for all URLs of a database, and has no secret.

    Raises:
        CannotStart: it cannot be read, or is of no database that sipcap knows.
    """
    scheme = url.partition("://")[0].strip().lower()
    if scheme == "sqlite":
        return f"sqlite {os.path.realpath(sqlite_path(url))}"
    if scheme in _SERVERS:
        name, port = _SERVERS[scheme]
        return _place(parse_url(url.partition("?")[0], name, port, frozenset()), url)
    if scheme in _FOLDERS:
        return f"{_FOLDERS[scheme]} {os.path.realpath(folder_path(url))}"
    if scheme in _ODBC:
        return _USER.sub("//", url)
    raise unknown_database(url)


def _place(place: DatabaseUrl, url: str) -> str:
    """The server and the database; a socket that the query names is a server as well."""
    named = [pair for pair in url.partition("?")[2].split("&") if pair.startswith("socket=")]
    return " ".join([place.place, *named])
