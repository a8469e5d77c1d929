"""Reading tables of PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from sipcap.calls.readers.base import Gone, Layout, columns_of, form_of
from sipcap.calls.readers.served import ServedReader
from sipcap.schemas import HOMER7
from sipcap.sinks.postgresql import PostgresqlDriver, parse_postgresql_url, quote

_NAMES: Final = """
SELECT relname FROM pg_class WHERE relkind = ANY ('{r,p,v,m,f}') AND pg_table_is_visible(oid)
    AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
"""
_COLUMNS: Final = """
SELECT a.attname, a.attnotnull, a.atttypid::regtype::text
FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped
"""
# A partitioned table of HOMER 7 has its indexes on the partitions only; one of these tells what all have.
_INDEXES: Final = """
WITH RECURSIVE parts AS (
    SELECT to_regclass(%s)::oid AS oid
    UNION ALL
    SELECT (SELECT max(i.inhrelid) FROM pg_inherits i WHERE i.inhparent = parts.oid) FROM parts
    WHERE EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = parts.oid)
)
SELECT DISTINCT pg_get_indexdef(i.indexrelid, 1, true) FROM parts JOIN pg_index i ON i.indrelid = parts.oid
WHERE i.indpred IS NULL AND i.indisvalid
"""
_JSON_KEY: Final = re.compile(r"\(?(\w+) ->> '(\w+)'::text\)?")
_DATES: Final = frozenset({"timestamp without time zone", "timestamp with time zone", "date"})


class Session(PostgresqlDriver):
    """A connection that runs any statement."""

    def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement; its rows, or none."""
        cursor = self._run(sql, params)
        return cursor.fetchall() if cursor.description is not None else []

    def run(self, sql: str) -> None:
        """Run a statement without parameters, in which a percent sign is one."""
        self._run(sql)

    def change(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        return self._run(sql, params).rowcount


class PostgresqlReader(ServedReader):
    """A Reader (see ``base.py``) of one database of PostgreSQL.

    Args:
        url: as the user wrote it.
        session: not yet connected; one of its own if None.
    """

    def __init__(self, url: str, session: Session | None = None) -> None:
        self._session = session or Session(parse_postgresql_url(url))
        super().__init__(self._session)

    def _set_up(self) -> None:
        # What a pooler knows to keep for its client; dates are read and written by it.
        self._session.fetch("SET TimeZone TO 'UTC'")
        self._session.fetch("SET DateStyle TO 'ISO'")

    def _fetch(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._session.fetch(sql, params)

    def _is_gone(self, error: Exception) -> bool:
        return isinstance(error, psycopg.errors.UndefinedTable)

    def names(self) -> list[str]:
        """All tables and views of the search path; see Reader."""
        return [name for (name,) in self.execute(_NAMES, ())]

    def layout(self, table: str) -> Layout | None:
        """Look at a table; see Reader."""
        found = self.execute(_COLUMNS, (quote(table),))
        if not found:
            raise Gone
        existing = self.naming.existing({name: bool(must) for name, must, _ in found})
        form = form_of(existing)
        if not form or "id" not in existing:
            return None
        types = self.naming.existing({name: kind for name, _, kind in found})
        date = "create_date" if form == HOMER7 else "date"
        indexed = self._indexed(table)
        clock = next((name for name in ("micro_ts", date) if name in indexed and name in existing), "")
        if "micro_ts" in existing and form != HOMER7:
            micro_ts = self.column("micro_ts")
            time_sql = micro_ts if existing["micro_ts"] else f"coalesce({micro_ts}, 0)"
        else:
            time_sql = f"coalesce((extract(epoch FROM {self.column(date)}) * 1000000)::bigint, 0)"
        return Layout(
            table, form, columns_of(form, existing), time_sql, "id", clock, not existing.get(clock, True),
            "text" if types.get(clock) in _DATES else "", indexed, "id" in indexed, types.get(date, ""),
        )  # fmt: skip

    def _indexed(self, table: str) -> frozenset[str]:
        names = set()
        for (text,) in self.execute(_INDEXES, (quote(table),)):
            key = _JSON_KEY.fullmatch(text)
            names.add(f"{key[1]}.{key[2]}" if key else text.strip('"'))
        return frozenset(self.naming.existing(dict.fromkeys(names)))

    def quote(self, name: str) -> str:
        """Quote an identifier; see Reader. The driver takes a percent sign for a parameter."""
        return quote(name).replace("%", "%%")

    def date_sql(self, column: str, kind: str) -> str:
        """A date as text; see Reader."""
        name = self.column(column)
        return f"to_char({name}, 'YYYY-MM-DD HH24:MI:SS')" if kind in _DATES else f"{name}::text"

    def clock_sql(self, column: str) -> str:
        """The clock as a value that compares equal; see Reader. Python knows no years beyond 9999."""
        name = self.column(column)
        return name if column == "micro_ts" else f"{name}::text"

    def key_of_json_sql(self, column: str, key: str) -> str:
        """A key of a JSON column as the indexes of HOMER 7's tables have it; see Reader."""
        return f"({column} ->> '{key}')"

    def keys_sql(self, count: int) -> str:
        """A list of keys; see Reader."""
        del count
        return "= ANY (%s)"

    def keys_params(self, keys: Sequence[int]) -> list[Any]:
        """Keys as one array; see Reader."""
        return [list(keys)]
