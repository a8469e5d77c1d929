"""Looking after tables and partitions of MySQL and MariaDB; the rights to CREATE, ALTER, DROP and DELETE are enough."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pymysql

from sipcap.calls.readers.base import Gone, Layout
from sipcap.calls.readers.mysql import MysqlReader, Session
from sipcap.limits import DELETE_ROWS, SERVER_WAIT_S
from sipcap.patterns import DAY_S, Period
from sipcap.sinks.driver import Refused
from sipcap.sinks.mysql_connect import parse_mysql_url
from sipcap.sinks.mysql_rows import quote
from sipcap.tables import Step
from sipcap.upkeep.base import Stopping
from sipcap.upkeep.partitions import mysql_bound, mysql_seconds
from sipcap.upkeep.served import DDL_WAIT_S, SAMPLE_ROWS, Extent, ServedUpkeep

_TABLES: Final = """
SELECT TABLE_NAME, coalesce(DATA_LENGTH, 0), coalesce(INDEX_LENGTH, 0), coalesce(TABLE_ROWS, -1)
FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME
"""
_PARTITIONS: Final = """
SELECT TABLE_NAME, PARTITION_NAME, PARTITION_METHOD, PARTITION_EXPRESSION, PARTITION_DESCRIPTION, SUBPARTITION_NAME,
    DATA_LENGTH, INDEX_LENGTH, TABLE_ROWS
FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE() AND PARTITION_NAME IS NOT NULL
ORDER BY TABLE_NAME, PARTITION_ORDINAL_POSITION, SUBPARTITION_ORDINAL_POSITION
"""
_KEY: Final = """
SELECT DISTINCT PARTITION_EXPRESSION, PARTITION_METHOD, PARTITION_NAME, PARTITION_DESCRIPTION, TABLE_ROWS
FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND PARTITION_NAME IS NOT NULL
"""
_GONE: Final = frozenset({1051, 1146, 1507, 1735})  # no such table; no such partition
_LAST_PARTITION: Final = 1508
_THERE: Final = frozenset({1493, 1517})  # a partition of that name, or of a later time, is there
_MOST_MOVED: Final = 100_000
"""Rows of a catch-all partition that may be copied when it is divided; writers wait meanwhile."""


class MysqlUpkeep(ServedUpkeep):
    """An Upkeep (see ``base.py``) of one database of MySQL or MariaDB.

    Args:
        url: as the user wrote it.
    """

    def __init__(self, url: str) -> None:
        self._session = Session(parse_mysql_url(url))
        super().__init__(MysqlReader(url, self._session), self._session)

    def _extents(self) -> list[Extent]:
        with contextlib.suppress(pymysql.err.MySQLError):  # MySQL 8 alone shows sizes of yesterday without it
            self._session.run("SET SESSION information_schema_stats_expiry = 0")
        extents = [
            Extent(name, None, None, self._reader.quote(name), int(data) + int(index), int(data), int(rows))
            for name, data, index, rows in self._session.fetch(_TABLES)
        ]
        return [*extents, *_partitions(self._session.fetch(_PARTITIONS))]

    def _fetch(self, sql: str, params: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        return self._session.fetch(sql, params)

    def _change(self, sql: str, params: Sequence[Any] = ()) -> int:
        return self._session.change(sql, params)

    def _is_gone(self, error: Exception) -> bool:
        return bool(error.args) and error.args[0] in _GONE

    def _sample_sql(self, layout: Layout, relation: str) -> str:
        lengths = " + ".join(f"coalesce(octet_length({self._reader.column(name)}), 0)" for name in layout.columns)
        return f"SELECT avg({lengths} + 60) FROM (SELECT * FROM {relation} LIMIT {SAMPLE_ROWS}) AS t"  # noqa: S608

    def _delete_sql(self, layout: Layout, where: str) -> tuple[str, int]:
        table = self._reader.quote(layout.table)
        order = f" ORDER BY {self._reader.column(layout.clock)}" if layout.clock else ""
        return f"DELETE FROM {table} WHERE {where}{order} LIMIT {DELETE_ROWS}", 1  # noqa: S608

    def create(self, step: Step, form: str) -> None:
        """Create a table or a partition; see Upkeep."""
        if step.partition is None:
            self._patiently(lambda: self._session.create(form, step.table))
        else:
            self._patiently(lambda: self._create_partition(step))

    def _create_partition(self, step: Step) -> None:
        assert step.partition is not None
        assert step.period is not None
        known = self._session.fetch(_KEY, (step.table,))
        expression, method = (str(text) for text in known[0][:2]) if known else ("", "")
        bound = mysql_bound(expression, step.period.end_s) if method.startswith("RANGE") else None
        if bound is None:
            raise Refused(f"{step.table} is not partitioned by ranges of a time")
        new = f"PARTITION {quote(step.partition)} VALUES LESS THAN ({bound})"
        rest = next(((name, int(rows or 0)) for _, _, name, limit, rows in known if limit == "MAXVALUE"), None)
        if rest is None:
            change = f"ADD PARTITION ({new})"
        elif rest[1] > _MOST_MOVED:
            raise Refused(f"{step.table}: partition {rest[0]} holds all later times, and too many rows to be divided")
        else:
            most = "(MAXVALUE)" if "COLUMNS" in method else "MAXVALUE"
            last = quote(rest[0])
            change = f"REORGANIZE PARTITION {last} INTO ({new}, PARTITION {last} VALUES LESS THAN {most})"
        try:
            self._ddl(f"ALTER TABLE {quote(step.table)} {change}")
        except pymysql.err.MySQLError as error:
            if error.args[0] not in _THERE:
                raise

    def drop(self, step: Step, stopping: Stopping) -> bool:
        """Drop a table or a partition; see Upkeep."""
        del stopping
        try:
            self._patiently(lambda: self._drop(step))
        except Gone:
            return False
        return True

    def _drop(self, step: Step) -> None:
        table = quote(step.table)
        if step.partition is None:
            self._ddl(f"DROP TABLE {table}")
            return
        partition = quote(step.partition)
        try:
            self._ddl(f"ALTER TABLE {table} DROP PARTITION {partition}")
        except pymysql.err.MySQLError as error:
            if error.args[0] != _LAST_PARTITION:
                raise
            self._ddl(f"ALTER TABLE {table} TRUNCATE PARTITION {partition}")

    def _ddl(self, statement: str) -> None:
        """Change a table; while this waits for those who use it, all others wait behind it."""
        self._session.run(f"SET lock_wait_timeout = {DDL_WAIT_S}")
        try:
            self._session.run(statement)
        finally:
            if self._session.connected:
                self._session.run(f"SET lock_wait_timeout = {SERVER_WAIT_S}")


def _partitions(rows: Sequence[tuple[Any, ...]]) -> Iterator[Extent]:
    """The partitions of all tables; those of one are in the order of their bounds."""
    table, start_s = "", 0
    merged: dict[tuple[str, str], Extent] = {}
    for name, partition, method, expression, limit, _, data, index, count in rows:
        size, data_bytes, found = int(data or 0) + int(index or 0), int(data or 0), int(count or 0)
        if (name, partition) in merged:  # a further subpartition
            one = merged[name, partition]
            merged[name, partition] = one._replace(
                bytes=one.bytes + size, data_bytes=one.data_bytes + data_bytes, rows=one.rows + found
            )
            continue
        end_s = mysql_seconds(expression or "", limit or "") if str(method).startswith("RANGE") else None
        bounds = None
        if end_s is not None:
            # Only the first one's lower bound is not that of one before it: it takes all that is older.
            bounds = Period(start_s if name == table else end_s - DAY_S, end_s)
            start_s = end_s
        table = name
        relation = f"{quote(name)} PARTITION ({quote(partition)})".replace("%", "%%")
        merged[name, partition] = Extent(name, partition, bounds, relation, size, data_bytes, found)
    yield from merged.values()
