"""The only list of databases: from a URL to its sink (design 1.3)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from sipcap.errors import CannotStart
from sipcap.sinks.base import Sink

DEFAULT_URL = "sqlite:///sipcap.db"


def open_sink(url: str, *, create: bool = True) -> Sink:
    """Connect to the database that a URL names.

    Args:
        url: see design 1.3.
        create: whether missing tables are created.

    Raises:
        CannotStart: unknown scheme, a URL that does not name a database, or no connection.
    """
    scheme = urlsplit(url).scheme
    if scheme == "sqlite":
        from sipcap.sinks.sqlite import SqliteSink  # noqa: PLC0415  # a driver is loaded when it is used

        sink = SqliteSink(sqlite_path(url), create=create)
        sink.open()
        return sink
    raise CannotStart(f"--db-url: unknown database {scheme or url!r}; known: sqlite")


def sqlite_path(url: str) -> Path:
    """The file of ``sqlite:///relative`` or ``sqlite:////absolute``."""
    parts = urlsplit(url)
    if parts.netloc or not parts.path.startswith("/") or parts.path == "/":
        raise CannotStart("--db-url: write sqlite:///FILE for a relative and sqlite:////FILE for an absolute path")
    return Path(unquote(parts.path[1:]))
