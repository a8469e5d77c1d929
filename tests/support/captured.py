"""What stands in a SQLite database of messages sent by number, and somebody who locks it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.messages import sip_message


def messages_in(path: Path, table: str = "sip_capture") -> list[str]:
    """The messages of a table, in the order of their text; none if there is no such table yet."""
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(path, timeout=20.0)) as connection:
        try:
            found = connection.execute(f'SELECT msg FROM "{table}"').fetchall()
        except sqlite3.OperationalError as error:
            assert "no such table" in str(error)
            return []
    return sorted(message for (message,) in found)


def texts(numbers: Iterable[int]) -> list[str]:
    """The messages of these numbers, in the same order."""
    return sorted(sip_message(number).decode() for number in numbers)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within, nobody else can write to the database."""
    with contextlib.closing(sqlite3.connect(path, timeout=20.0, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
