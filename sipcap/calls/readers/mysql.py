"""Reading tables of MySQL and MariaDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sipcap.calls.readers.base import Gone, Layout, columns_of, form_of
from sipcap.calls.readers.served import ServedReader
from sipcap.schemas import HOMER7
from sipcap.sinks.mysql import MysqlDriver
from sipcap.sinks.mysql_connect import parse_mysql_url
from sipcap.sinks.mysql_rows import quote

_NAMES: Final = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()"
_COLUMNS: Final = """
SELECT TABLE_NAME, COLUMN_NAME, IS_NULLABLE, DATA_TYPE FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s
"""
_INDEXES: Final = """
SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND SEQ_IN_INDEX = 1 AND INDEX_TYPE = 'BTREE'
"""
_DATES: Final = frozenset({"timestamp", "datetime", "date"})
_NO_SUCH_TABLE: Final = frozenset({1146, 1051})


class Session(MysqlDriver):
    """A connection that runs any statement."""

    def fetch(self, sql: str, params: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        """Run a statement; its rows, or none."""
        cursor = self._live().cursor()
        cursor.execute(sql, tuple(params))
        return cursor.fetchall()

    def run(self, sql: str) -> None:
        """Run a statement without parameters, in which a percent sign is one."""
        self._query(sql)

    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        cursor = self._live().cursor()
        return cursor.execute(sql, tuple(params))

    def same(self, table: str, rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Those rows of a catalogue whose first value is this table."""
        return self._of_table(table, rows)


class MysqlReader(ServedReader):
    """A Reader (see ``base.py``) of one database of MySQL or MariaDB.

    Args:
        url: as the user wrote it.
        session: not yet connected; one of its own if None.
    """

    def __init__(self, url: str, session: Session | None = None) -> None:
        self._session = session or Session(parse_mysql_url(url))
        super().__init__(self._session)

    def _fetch(self, sql: str, params: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        return self._session.fetch(sql, params)

    def _is_gone(self, error: Exception) -> bool:
        return bool(error.args) and error.args[0] in _NO_SUCH_TABLE

    def names(self) -> list[str]:
        """All tables and views; see Reader."""
        return [name for (name,) in self.execute(_NAMES, ())]

    def layout(self, table: str) -> Layout | None:
        """Look at a table; see Reader."""
        found = self._session.same(table, self.execute(_COLUMNS, (table,)))
        if not found:
            raise Gone
        existing = self.naming.existing({name.lower(): nullable == "NO" for _, name, nullable, _ in found})
        form = form_of(existing)
        if not form or "id" not in existing:
            return None
        types = self.naming.existing({name.lower(): kind.lower() for _, name, _, kind in found})
        date = "create_date" if form == HOMER7 else "date"
        first = self._session.same(table, self.execute(_INDEXES, (table,)))
        indexed = frozenset(self.naming.existing({name.lower(): True for _, name in first if name is not None}))
        clock = next((name for name in ("micro_ts", date) if name in indexed and name in existing), "")
        if "micro_ts" in existing and form != HOMER7:
            micro_ts = self.column("micro_ts")
            time_sql = micro_ts if existing["micro_ts"] else f"coalesce({micro_ts}, 0)"
        else:
            time_sql = f"coalesce(timestampdiff(MICROSECOND, '1970-01-01', {self.column(date)}), 0)"
        return Layout(
            table, form, columns_of(form, existing), time_sql, "id", clock, not existing.get(clock, True),
            "text" if types.get(clock) in _DATES else "", indexed, "id" in indexed, types.get(date, ""),
        )  # fmt: skip

    def quote(self, name: str) -> str:
        """Quote an identifier; see Reader. The driver takes a percent sign for a parameter."""
        return quote(name).replace("%", "%%")

    def date_sql(self, column: str, kind: str) -> str:
        """A date as text; see Reader."""
        name = self.column(column)
        return f"date_format({name}, '%%Y-%%m-%%d %%H:%%i:%%s')" if kind in _DATES else name

    def clock_sql(self, column: str) -> str:
        """The clock as a value that compares equal; see Reader. Python knows no year 0."""
        name = self.column(column)
        return name if column == "micro_ts" else f"CAST({name} AS CHAR)"

    def key_of_json_sql(self, column: str, key: str) -> str:
        """A key of a JSON column; see Reader."""
        return f"json_unquote(json_extract({self.quote(column)}, '$.{key}'))"

    def equal_sql(self, name: str, *, by_index: bool) -> tuple[str, int]:
        """Equality; see Reader. The first test finds by the collation: without regard to case, or blanks at the end."""
        del by_index
        expression = self.expression(name)
        exact = f"CAST(CONVERT({expression} USING utf8mb4) AS BINARY) = CAST({self.mark} AS BINARY)"
        return f"({expression} = {self.mark} AND {exact})", 2
