"""From the URL of an ODBC data source to a connection; and pyodbc, as far as it is used, with types."""

from __future__ import annotations

import importlib
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, cast

from sipcap.errors import CannotStart
from sipcap.limits import SERVER_CONNECT_S
from sipcap.sinks.url import DatabaseUrl, parse_url

FAST: Final = "fast_executemany"
_OPTIONS: Final = frozenset({FAST})
_LOCAL: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})
_PLAIN: Final = re.compile(r"[^\[\]{}(),;?*=!@\\\s]+")
_LOGGER = logging.getLogger("sipcap")


class Cursor(Protocol):
    """A statement."""

    fast_executemany: bool
    description: Sequence[tuple[Any, ...]] | None

    def execute(self, sql: str, *params: object) -> Cursor:
        """Run it."""

    def executemany(self, sql: str, params: Sequence[Sequence[object]], /) -> None:
        """Run it once for each row."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """What it found."""

    def tables(self, table: str) -> Iterable[tuple[Any, ...]]:
        """The catalogue of tables: catalogue, schema, name, kind, remarks."""

    def getTypeInfo(self, sqlType: int | None = None, /) -> Iterable[tuple[Any, ...]]:  # noqa: N802, N803  # ODBC's
        """The types that the data source knows: their name and their number come first."""

    def close(self) -> None:
        """Let go of it."""


class Connection(Protocol):
    """A connection."""

    autocommit: bool

    def cursor(self) -> Cursor:
        """A new statement."""

    def getinfo(self, infotype: int, /) -> Any:
        """What the driver says of itself."""

    def commit(self) -> None:
        """End the transaction for good."""

    def rollback(self) -> None:
        """Undo the transaction."""

    def close(self) -> None:
        """Disconnect."""


class Api(Protocol):
    """The module."""

    Error: type[Exception]
    pooling: bool

    def connect(self, connstring: str, /, *, autocommit: bool, timeout: int) -> Connection:
        """Connect."""


def load_api() -> Api:
    """Load pyodbc; raises CannotStart with what is to be installed."""
    try:
        api = cast("Api", importlib.import_module("pyodbc"))
    except ImportError as error:
        what = "the system's package unixodbc" if "libodbc" in str(error) else "pip install 'sipcap[odbc]'"
        raise CannotStart(f"the driver for ODBC is missing ({error}): {what}") from None
    api.pooling = False  # a connection that was lost must not come back from a pool
    return api


def parse_odbc_url(url: str) -> DatabaseUrl:
    """Read ``unixodbc://user:password@host/DSN``.

    Raises:
        CannotStart: it cannot be read, or names no data source.
    """
    found = parse_url(url, "unixodbc", 1, _OPTIONS)
    if found.socket or not _PLAIN.fullmatch(found.database):
        raise CannotStart("--db-url: write unixodbc://USER:PASSWORD@localhost/DSN, with the name of a data source")
    if found.options.get(FAST, "0") not in {"0", "1"}:
        raise CannotStart(f"--db-url: {FAST} is 0 or 1")
    if found.host not in _LOCAL:
        _LOGGER.warning("--db-url: the host has no effect; the data source %s says where it is", found.database)
    return found


def connect(api: Api, url: DatabaseUrl) -> Connection:
    """Connect, without a transaction; raises the module's Error."""
    parts = [f"DSN={url.database}"]
    if url.user is not None:
        parts.append(f"UID={_quoted(url.user)}")
    if url.password is not None:
        parts.append(f"PWD={_quoted(url.password)}")
    return api.connect(";".join(parts), autocommit=True, timeout=SERVER_CONNECT_S)


def _quoted(value: str) -> str:
    """A value of a connection string; braces only where they are needed, because not every driver knows them."""
    return value if _PLAIN.fullmatch(value) else "{" + value.replace("}", "}}") + "}"
