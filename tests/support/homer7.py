"""Rows of HOMER 7 for tests: into a sink, and what PostgreSQL says of them."""

from __future__ import annotations

import uuid
from typing import Any, Final

import psycopg

from sipcap.record import Record
from sipcap.routing import Router
from sipcap.sinks.base import Adjusted, Row, Sink
from tests.support.databases import ServedDatabase
from tests.support.records import sip_record

CALL: Final = "hep_proto_1_call"
NEW_YEAR_US: Final = 1_704_067_200_000_000
HOUR_US: Final = 3_600_000_000
ROUTER: Final = Router(schema="homer7")


def write(sink: Sink, *found: Record) -> Adjusted:
    """Store records, each in its table, as a batch of its own."""
    tables: dict[str, list[Row]] = {}
    for record in found:
        tables.setdefault(ROUTER.table_of(record), []).append(Row(record, {}))
    return sink.write(uuid.uuid4().hex, tables)


def invite(ts_us: int, **changes: Any) -> Record:
    """A record for the table of calls."""
    return sip_record(method="INVITE", micro_ts=ts_us, **changes)


def bounds_of(database: ServedDatabase, table: str = CALL) -> dict[str, str]:
    """The partitions of a table and what they take, as the server prints it in UTC."""
    query = (
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
        f" WHERE i.inhparent = '{table}'::regclass"
    )
    with psycopg.connect(database.url, options="-c timezone=UTC") as connection:
        return dict(connection.execute(query.encode()).fetchall())


def dates_of(database: ServedDatabase, table: str = CALL) -> list[int]:
    """The times of all rows in microseconds."""
    found = database.execute(
        f"SELECT (extract(epoch FROM create_date) * 1000000)::bigint AS us FROM {table} ORDER BY id"
    )
    return [row["us"] for row in found]
