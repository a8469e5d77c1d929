"""Looking after tables and partitions of PostgreSQL; whoever owns them may do it, a superuser need not."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from sipcap.calls.readers.base import Gone, Layout
from sipcap.calls.readers.postgresql import PostgresqlReader, Session
from sipcap.limits import DELETE_ROWS
from sipcap.patterns import Period
from sipcap.routing import expand
from sipcap.schemas import HOMER7
from sipcap.sinks.driver import Refused
from sipcap.sinks.homer7_tables import (
    STEP_S,
    Bounds,
    new_bounds,
    parent_statements,
    partition_name,
    partition_statements,
)
from sipcap.sinks.postgresql import parse_postgresql_url, quote
from sipcap.tables import Piece, Step
from sipcap.upkeep.base import Stopping
from sipcap.upkeep.partitions import postgresql_period
from sipcap.upkeep.served import DDL_WAIT_S, SAMPLE_ROWS, Extent, ServedUpkeep

_LOCK: Final = zlib.crc32(b"sipcap homer7") << 16  # the sinks' own, when they make partitions
_EXTENTS: Final = """
WITH wanted AS (
    SELECT c.oid, c.relname, p.relname AS parent, pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM pg_class c
        LEFT JOIN pg_inherits i ON i.inhrelid = c.oid AND c.relispartition
        LEFT JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
    WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid)
        AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')
), leaves AS (
    SELECT w.oid AS root, c.oid, c.reltuples, s.n_live_tup
    FROM wanted w
        CROSS JOIN LATERAL (SELECT w.oid AS relid UNION SELECT t.relid FROM pg_partition_tree(w.oid) t) AS tree
        JOIN pg_class c ON c.oid = tree.relid AND c.relkind = 'r'
        LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
)
SELECT w.relname, w.parent, w.bound, w.oid::regclass::text, coalesce(sum(pg_total_relation_size(l.oid)), 0)::bigint,
    coalesce(sum(pg_table_size(l.oid)), 0)::bigint,
    coalesce(CASE WHEN bool_or(l.reltuples < 0 AND coalesce(l.n_live_tup, 0) = 0) THEN -1
        ELSE sum(CASE WHEN l.n_live_tup > 0 THEN l.n_live_tup ELSE greatest(l.reltuples, 0) END) END, 0)::bigint
FROM wanted w LEFT JOIN leaves l ON l.root = w.oid
GROUP BY w.relname, w.parent, w.bound, w.oid ORDER BY w.parent NULLS FIRST, w.relname
"""
_CHILD: Final = """
SELECT c.oid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = to_regclass(%s) AND c.relname = %s
"""
_KEY: Final = """
SELECT a.attname, a.atttypid::regtype::text FROM pg_partitioned_table k
    JOIN pg_attribute a ON a.attrelid = k.partrelid AND a.attnum = k.partattrs[0]
WHERE k.partrelid = to_regclass(%s) AND k.partstrat = 'r' AND k.partnatts = 1
"""
_GONE: Final = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedObject)


class UpkeepSession(Session):
    """A connection that creates the tables of all schemas."""

    def definition(self, kind: str, name: str) -> list[str]:
        """The statements that create a table; see PostgresqlDriver."""
        return parent_statements(name) if kind == HOMER7 else super().definition(kind, name)


class PostgresqlUpkeep(ServedUpkeep):
    """An Upkeep (see ``base.py``) of one database of PostgreSQL.

    Args:
        url: as the user wrote it.
    """

    def __init__(self, url: str) -> None:
        self._session = UpkeepSession(parse_postgresql_url(url))
        super().__init__(PostgresqlReader(url, self._session), self._session)

    def _extents(self) -> list[Extent]:
        extents = []
        for name, parent, bound, relation, *sizes in self._session.fetch(_EXTENTS):
            bounds = postgresql_period(bound) if bound else None
            own = Extent(name, None, bounds, relation.replace("%", "%%"), *sizes)
            extents.append(own)  # a partition can be named by its table, or as the table that it is by itself
            if parent is not None:
                extents.append(own._replace(name=parent, partition=name))
        return extents

    def _fetch(self, sql: str, params: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        return self._session.fetch(sql, params)

    def _change(self, sql: str, params: Sequence[Any] = ()) -> int:
        return self._session.change(sql, params)

    def _is_gone(self, error: Exception) -> bool:
        return isinstance(error, _GONE)

    def _sample_sql(self, layout: Layout, relation: str) -> str:
        del layout
        return f"SELECT avg(pg_column_size(t.*) + 28) FROM (SELECT * FROM {relation} LIMIT {SAMPLE_ROWS}) AS t"  # noqa: S608

    def _delete_sql(self, layout: Layout, where: str) -> tuple[str, int]:
        table, key = self._reader.quote(layout.table), layout.key_sql
        some = f"SELECT {key} FROM {table} WHERE {where} LIMIT {DELETE_ROWS}"  # noqa: S608
        return f"DELETE FROM {table} WHERE {key} = ANY (ARRAY({some})) AND {where}", 2  # noqa: S608

    def create(self, step: Step, form: str) -> None:
        """Create a table or a partition; see Upkeep."""
        self._patiently(lambda: self._session.check_name(step.partition or step.table))
        if step.partition is None:
            self._patiently(lambda: self._session.create(form, step.table))
        else:
            self._patiently(lambda: self._create_partition(step))

    def _create_partition(self, step: Step) -> None:
        session, period = self._session, step.period
        assert step.partition is not None
        assert period is not None
        session.begin()
        session.fetch("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        if not session.fetch("SELECT 1 FROM pg_class WHERE oid = to_regclass(%s)", (quote(step.partition),)):
            for statement in self._partition_statements(step.table, step.partition, period):
                session.run(statement)
        session.commit()

    def _partition_statements(self, table: str, name: str, period: Period) -> list[str]:
        if table in STEP_S and name == partition_name(table, Bounds(*period)):
            return partition_statements(table, Bounds(*period))
        found = self._session.fetch(_KEY, (quote(table),))
        if not found:
            raise Refused(f"{table} is not partitioned by the range of one column")
        column, kind = found[0]
        bounds = [_bound(seconds, column, kind) for seconds in period]
        like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE"
        return [
            f"CREATE TABLE {quote(name)} (LIKE {quote(table)} {like})",
            f"ALTER TABLE {quote(table)} ATTACH PARTITION {quote(name)} FOR VALUES FROM ({bounds[0]}) TO ({bounds[1]})",
        ]

    def missing_partitions(self, pieces: Sequence[Piece], now_s: int, ahead_s: int) -> list[tuple[str, Period]]:
        """As those that exist go on; those of HOMER 7 as heplify-server makes them. See Upkeep."""
        table = pieces[0].table
        is_divided = self._patiently(lambda: self._session.fetch(_KEY, (quote(table),)))
        if table not in STEP_S or not is_divided:
            return super().missing_partitions(pieces, now_s, ahead_s)
        taken = [Bounds(*piece.bounds) for piece in pieces if piece.bounds is not None]
        found = []
        at_s = now_s
        while at_s < now_s + ahead_s:
            bounds = next((each for each in taken if each.holds(at_s)), None)
            if bounds is None:
                bounds = new_bounds(table, at_s, taken)
                if bounds is None:
                    break
                taken.append(bounds)
                found.append((partition_name(table, bounds), Period(int(bounds.start_s), int(bounds.end_s))))
            at_s = int(bounds.end_s)
        return found

    def drop(self, step: Step, stopping: Stopping) -> bool:
        """Drop a table or a partition; see Upkeep."""
        del stopping
        try:
            self._patiently(lambda: self._drop(step))
        except Gone:
            return False
        return True

    def _drop(self, step: Step) -> None:
        session, name = self._session, quote(step.table)
        if step.partition is not None:
            found = session.fetch(_CHILD, (name, step.partition))
            if not found:
                raise psycopg.errors.UndefinedTable
            name = str(found[0][0])
        session.begin()
        session.run(f"SET LOCAL lock_timeout = '{DDL_WAIT_S}s'")
        session.run(f"DROP TABLE {name}")
        session.commit()


def _bound(seconds: int, column: str, kind: str) -> str:
    """A bound of a new partition, as the type of the column wants it."""
    if kind in {"bigint", "integer", "numeric"}:
        return str(seconds * 1_000_000 if column == "micro_ts" else seconds)
    zone = "+00" if kind == "timestamp with time zone" else ""
    return f"'{expand('%Y-%m-%d %H:%M:%S', seconds)}{zone}'"
