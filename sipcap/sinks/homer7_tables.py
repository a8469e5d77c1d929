"""The tables of HOMER 7 and their partitions: names, bounds, statements (homer.md 2.1). No database is asked here."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

from sipcap.ddl import read_statements
from sipcap.sinks.homer7 import time_text

_HOUR_S: Final = 3_600
STEP_S: Final = {
    "hep_proto_1_call": 2 * _HOUR_S,
    "hep_proto_1_registration": 2 * _HOUR_S,
    "hep_proto_1_default": 2 * _HOUR_S,
    "hep_proto_5_default": 6 * _HOUR_S,
    "hep_proto_35_default": 6 * _HOUR_S,
    "hep_proto_53_default": 6 * _HOUR_S,
    "hep_proto_54_default": 6 * _HOUR_S,
    "hep_proto_100_default": 2 * _HOUR_S,
}
"""All tables, and how long a partition of each is: heplify-server's defaults, so that both can write one database."""

_STEPS_S: Final = tuple(60 * minutes for minutes in (720, 360, 120, 60, 45, 30, 20, 15, 10, 5))
"""The lengths that heplify-server can be told to use, below a day."""

_SAMPLES: Final = {"hep_proto_1_": "hep_proto_1_call", "hep_proto_54_": "hep_proto_54_default"}
_OTHER_SAMPLE: Final = "hep_proto_35_default"
_SAMPLE_START: Final = "20260101_0000"


class Bounds(NamedTuple):
    """The times that a partition takes: from *start_s*, before *end_s*, seconds since 1970 UTC."""

    start_s: float
    end_s: float

    def holds(self, seconds: int) -> bool:
        """Whether it takes this time."""
        return self.start_s <= seconds < self.end_s


def usual_name(table: str) -> str:
    """The table of ``homer7.sql`` that is like this one."""
    return next((sample for prefix, sample in _SAMPLES.items() if table.startswith(prefix)), _OTHER_SAMPLE)


def new_bounds(table: str, seconds: int, taken: Collection[Bounds]) -> Bounds | None:
    """Find the bounds of a new partition.

    Args:
        table: one of ``STEP_S``.
        seconds: a time that no partition takes.
        taken: the bounds of those that exist, of whatever length.

    Returns:
        Bounds aligned to the table's step, or to the longest shorter one that does not overlap others; None if these
        lie so oddly that none does.
    """
    usual = STEP_S[table]
    for step in (usual, *(step for step in _STEPS_S if step < usual)):
        start = seconds - seconds % step
        if not any(other.start_s < start + step and start < other.end_s for other in taken):
            return Bounds(start, start + step)
    return None


def partition_name(table: str, bounds: Bounds) -> str:
    """``<table>_YYYYMMDD_HHMM`` of the lower bound; heplify-server drops partitions by their names."""
    day, clock, *era = time_text(int(bounds.start_s)).split(" ")
    return f"{table}_{''.join(era).lower()}{day.replace('-', '')}_{clock.replace(':', '')[:4]}"


def parent_statements(table: str) -> list[str]:
    """What creates a table in PostgreSQL, without partitions."""
    return [text.replace(usual_name(table), table) for text in _statements(usual_name(table))[0]]


def partition_statements(table: str, bounds: Bounds) -> list[str]:
    """What creates a partition in PostgreSQL; the session's time zone is UTC."""
    sample = usual_name(table)
    period = f"FROM ('{time_text(int(bounds.start_s))}') TO ('{time_text(int(bounds.end_s))}')"
    statements = []
    for text in _statements(sample)[1]:
        named = text.replace(f"{sample}_{_SAMPLE_START}", partition_name(table, bounds)).replace(
            f" {sample} ", f" {table} "
        )
        statements.append(_with_period(named, period))
    return statements


def _with_period(statement: str, period: str) -> str:
    head, is_attach, _ = statement.partition("FROM (")
    return head + period if is_attach else statement


@lru_cache(maxsize=8)
def _statements(sample: str) -> tuple[list[str], list[str]]:
    """The statements of one table of ``sql/postgresql/homer7.sql``: the table's own, and its partition's."""
    own = [text for text in read_statements("postgresql", "homer7") if sample in text]
    is_partition = [f"{sample}_{_SAMPLE_START}" in text for text in own]
    return (
        [text for text, is_part in zip(own, is_partition, strict=True) if not is_part],
        [text for text, is_part in zip(own, is_partition, strict=True) if is_part],
    )
