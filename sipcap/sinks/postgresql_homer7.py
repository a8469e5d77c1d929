"""HOMER 7's partitioned tables in PostgreSQL: partitions are made for the times of the rows that come."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

import psycopg

from sipcap.sinks.driver import Load, Refused, Trouble
from sipcap.sinks.homer7_form import KIND
from sipcap.sinks.homer7_tables import STEP_S, Bounds, new_bounds, parent_statements, partition_statements
from sipcap.sinks.postgresql import PostgresqlDriver, quote
from sipcap.sinks.url import DatabaseUrl

_LOCK: Final = zlib.crc32(b"sipcap homer7") << 16
_EVER: Final = float("inf")

# Bounds are printed in the session's zone. What is not a time is MINVALUE or MAXVALUE, or all of a default partition.
_BOUNDS: Final = r"""
SELECT extract(epoch FROM substring(bound FROM $$FROM \('([^']*)'\)$$)::timestamptz)::float8,
    extract(epoch FROM substring(bound FROM $$TO \('([^']*)'\)$$)::timestamptz)::float8
FROM (SELECT pg_get_expr(c.relpartbound, c.oid) AS bound
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(%s)) AS partitions
"""
_OVERTAKEN: Final = (
    psycopg.errors.DuplicateTable,
    psycopg.errors.UniqueViolation,
    psycopg.errors.InvalidObjectDefinition,
)
"""What happens if somebody who does not know our lock makes the same partition, or one that overlaps it."""


class Homer7Driver(PostgresqlDriver):
    """A connection that knows the partitions of HOMER 7's tables."""

    def __init__(self, url: DatabaseUrl) -> None:
        super().__init__(url)
        self._bounds: dict[str, list[Bounds]] = {}
        self._looked_up: set[str] = set()  # tables whose partitions were read for the rows at hand

    def connect(self) -> None:
        """See Driver."""
        self._bounds.clear()
        super().connect()

    def check_name(self, name: str) -> None:
        """See Driver."""
        if name not in STEP_S:
            raise Refused(f"{name!r} is no table of HOMER 7")

    def trouble(self, error: Exception) -> Trouble:
        """See Driver. A partition that was dropped since it was read is made again."""
        if isinstance(error, psycopg.errors.CheckViolation):
            table = error.diag.table_name or ""
            was_known = self._bounds.pop(table, None) is not None
            if was_known and table not in self._looked_up:
                return Trouble.CLASH
        return super().trouble(error)

    def create(self, kind: str, name: str) -> None:
        """See Driver."""
        self._bounds.pop(name, None)  # those of a table of this name that is gone
        super().create(kind, name)

    def definition(self, kind: str, name: str) -> list[str]:
        """See PostgresqlDriver. homer-app asks for all tables, also for those that nothing is in."""
        if kind != KIND:
            return super().definition(kind, name)
        return [statement for table in STEP_S for statement in parent_statements(table)]

    def make_room(self, loads: Sequence[Load]) -> None:
        """Create the partitions that rows need; see Driver."""
        self._looked_up.clear()
        for load in loads:
            table = load.table.name
            if not _homeless(load, self._bounds.get(table, [])):
                continue
            self._looked_up.add(table)
            try:
                self._create_partitions(table, load)
            except _OVERTAKEN:
                self.rollback()
                self._create_partitions(table, load)

    def _create_partitions(self, table: str, load: Load) -> None:
        self._bounds.pop(table, None)
        self.begin()
        self._run("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        known = self._read_bounds(table)
        for seconds in _homeless(load, known):
            if any(bounds.holds(seconds) for bounds in known):
                continue
            bounds = new_bounds(table, seconds, known)
            if bounds is None:
                raise Refused(f"{table} has partitions that leave no room for one of this time")
            self.spend(f"{table} {bounds}", f"a partition of {table}")
            for statement in partition_statements(table, bounds):
                self._run(statement)
            known.append(bounds)
        self.commit()
        self._bounds[table] = known

    def _read_bounds(self, table: str) -> list[Bounds]:
        kinds = self._run("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(%s)", (quote(table),)).fetchall()
        if kinds != [("p",)]:
            return [Bounds(-_EVER, _EVER)]  # a plain table takes all times
        found = self._run(_BOUNDS, (quote(table),)).fetchall()
        return [Bounds(-_EVER if start is None else start, _EVER if end is None else end) for start, end in found]


def _homeless(load: Load, known: Sequence[Bounds]) -> list[int]:
    """The times of rows, in seconds, that no known partition takes."""
    missing = set()
    held: Bounds | None = None
    for row in load.rows:
        seconds = row.record.micro_ts // 1_000_000
        if held is None or not held.holds(seconds):
            held = next((bounds for bounds in known if bounds.holds(seconds)), None)
            if held is None:
                missing.add(seconds)
    return sorted(missing)
