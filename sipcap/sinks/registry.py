"""The only list of databases: from a URL to its sink (design 1.3)."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

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
    scheme = _split(url).scheme
    if scheme == "sqlite":
        from sipcap.sinks.sqlite import SqliteSink  # noqa: PLC0415  # a driver is loaded when it is used

        sink = SqliteSink(sqlite_path(url), create=create)
        sink.open()
        return sink
    # Of what is no URL, nothing is shown: it may be a password.
    named = f"unknown database {scheme}" if url.lstrip().lower().startswith(f"{scheme}://") and scheme else "no URL"
    raise CannotStart(f"--db-url: {named}; known: sqlite:///FILE")


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


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise CannotStart("--db-url: no URL: its host cannot be read") from None
