"""What the engine behind an ODBC data source calls things; the driver is asked where it can tell."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Final

from sipcap.ddl import read_statements
from sipcap.sinks.driver import Refused
from sipcap.sinks.naming import Naming
from sipcap.sinks.odbc_connect import Connection

# Numbers of ODBC (sqlext.h).
_DBMS_NAME: Final = 17
_IDENTIFIER_QUOTE: Final = 29
_MAX_TABLE_NAME: Final = 35
_TXN_CAPABLE: Final = 46
_SQL_TYPES: Final[Mapping[str, tuple[int, ...]]] = {
    "BIGINT": (-5,),
    "LONGVARCHAR": (-10, -1),  # the one for Unicode first
    "LONGVARBINARY": (-4,),
}

_TYPES: Final[Mapping[str, Mapping[str, str]]] = {
    "Microsoft SQL Server": {"LONGVARCHAR": "nvarchar(max)", "LONGVARBINARY": "varbinary(max)"},
    "Oracle": {"BIGINT": "NUMBER(19)", "LONGVARCHAR": "CLOB", "LONGVARBINARY": "BLOB"},
}
"""Where what the driver names is deprecated, or can be had once a table only."""

_UTC: Final[Mapping[str, str]] = {
    "PostgreSQL": "SET TIME ZONE 'UTC'",
    "MySQL": "SET time_zone = '+00:00'",
    "MariaDB": "SET time_zone = '+00:00'",
    "Oracle": "ALTER SESSION SET TIME_ZONE = 'UTC'",
}
"""What makes a session take a time for UTC, where columns may have a zone."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED: Final = re.compile(r'"([^"]*)"')


_LIMIT: Final = frozenset({"SQLite", "PostgreSQL", "MySQL", "MariaDB"})
_USUAL: Final = Naming()


class Dialect:
    """Names, types and abilities of one engine.

    Args:
        connection: asked once.
    """

    def __init__(self, connection: Connection) -> None:
        self.engine = str(connection.getinfo(_DBMS_NAME))
        self.has_transactions = bool(connection.getinfo(_TXN_CAPABLE))
        self.has_widths = self.engine != "SQLite"  # there, any column takes any text
        self.takes_many_rows = self.engine != "SQLite"  # its driver 0.9998 ends the process with a segmentation fault
        self.utc = _UTC.get(self.engine)
        self._mark = str(connection.getinfo(_IDENTIFIER_QUOTE)).strip()
        self._longest = int(connection.getinfo(_MAX_TABLE_NAME) or 0)
        self._types = _known_types(connection) | dict(_TYPES.get(self.engine, {}))

    def check_name(self, name: str) -> None:
        """Raise Refused for a name that the engine would cut, or could not tell from other words."""
        if 0 < self._longest < len(name.encode()):
            raise Refused(f"table name of more than {self._longest} bytes: {name}")
        if not self._mark and not _NAME.fullmatch(name):
            raise Refused(f"the data source knows no table that is called {name!r}")

    def check_column(self, name: str) -> None:
        """Raise Refused for a name that the engine could not tell from other words."""
        if not self._mark and not _NAME.fullmatch(name):
            raise Refused(f"the data source knows no column that is called {name!r}")

    def quote(self, name: str) -> str:
        """Quote an identifier."""
        return self._mark + name.replace(self._mark, self._mark * 2) + self._mark if self._mark else name

    def limited(self, sql: str, rows: int, offset: int = 0) -> str:
        """An ordered SELECT of so many rows, behind so many others."""
        if self.engine in _LIMIT:
            return f"{sql} LIMIT {rows} OFFSET {offset}"
        return f"{sql} OFFSET {offset} ROWS FETCH NEXT {rows} ROWS ONLY"  # SQL:2008

    def statements(self, kind: str, name: str, naming: Naming = _USUAL) -> list[str]:
        """The statements of ``sql/odbc/<kind>.sql`` for a table of this name; their indexes have names of their own."""
        table, *indexes = read_statements("odbc", kind)
        usual = _QUOTED.findall(table)[0]
        for word, native in self._types.items():
            table = table.replace(word, native)
        free = f"sipcap_{uuid.uuid4().hex[:8]}_"  # an index keeps its name when its table is renamed
        names = {usual: name} | {
            _QUOTED.findall(text)[0]: f"{free}{number}" for number, text in enumerate(indexes)
        }  # fmt: skip
        if kind in {"sip", "report"}:
            names |= {column: naming.of(column) for column in _QUOTED.findall(table)[1:]}
        return [
            _QUOTED.sub(lambda found: self.quote(names.get(found[1], found[1])), text) for text in (table, *indexes)
        ]


def _known_types(connection: Connection) -> dict[str, str]:
    """What the data source calls types, as far as it says so."""
    cursor = connection.cursor()
    try:
        found: dict[int, str] = {}
        for name, number, *_ in cursor.getTypeInfo():
            found.setdefault(number, name)
    finally:
        cursor.close()
    return {
        word: next(found[number] for number in numbers if number in found)
        for word, numbers in _SQL_TYPES.items()
        if any(number in found for number in numbers)
    }
