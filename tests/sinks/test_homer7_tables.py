"""HOMER 7's tables and their partitions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipcap.ddl import read_ddl
from sipcap.schemas import HOMER7, REPORT_PATTERN, SIP_PATTERN
from sipcap.sinks.homer7_tables import (
    STEP_S,
    Bounds,
    new_bounds,
    parent_statements,
    partition_name,
    partition_statements,
    usual_name,
)
from tests.support.records import report_record, sip_record

NEW_YEAR_S = 1_704_067_200  # 2024-01-01
CALL = "hep_proto_1_call"


@pytest.mark.parametrize(
    ("table", "seconds", "name"),
    [
        (CALL, NEW_YEAR_S - 1, "20231231_2200"),
        (CALL, NEW_YEAR_S, "20240101_0000"),
        (CALL, NEW_YEAR_S + 7_199, "20240101_0000"),
        (CALL, NEW_YEAR_S + 7_200, "20240101_0200"),
        (CALL, 1_711_846_800, "20240331_0000"),  # Europe's clocks go forward at 01:00 UTC
        (CALL, 1_709_164_800, "20240229_0000"),
        ("hep_proto_5_default", NEW_YEAR_S - 1, "20231231_1800"),
        ("hep_proto_100_default", NEW_YEAR_S - 1, "20231231_2200"),
        (CALL, -1, "19691231_2200"),
    ],
)
def test_bounds_of_a_first_partition_are_aligned_in_utc(table: str, seconds: int, name: str) -> None:
    """Partitions begin at even hours of the day, those of quality and ISUP four times a day."""
    bounds = new_bounds(table, seconds, [])
    assert bounds is not None
    assert bounds.holds(seconds)
    assert bounds.end_s - bounds.start_s == STEP_S[table]
    assert bounds.start_s % STEP_S[table] == 0
    assert partition_name(table, bounds) == f"{table}_{name}"


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], (0, 7_200)),
        ([(0, 3_600)], (3_600, 7_200)),
        ([(3_600, 4_200)], (4_800, 6_000)),
        ([(3_600, 5_100), (5_400, 7_200)], (5_100, 5_400)),
        ([(4_800, 5_100), (5_400, 7_200)], (5_100, 5_400)),
        ([(-7_200, 0), (7_200, 14_400)], (0, 7_200)),
        ([(float("-inf"), 3_600)], (3_600, 7_200)),
        ([(0, 5_200), (5_300, float("inf"))], None),
    ],
)
def test_bounds_beside_other_steps_are_the_longest_that_fit(
    taken: list[tuple[float, float]], expected: tuple[int, int] | None
) -> None:
    """A database that another writer fills in other steps is shared without overlap."""
    assert new_bounds(CALL, 5_250, [Bounds(*each) for each in taken]) == expected


@given(
    seconds=st.integers(-(10**9), 10**11),
    taken=st.lists(st.tuples(st.integers(-300, 300), st.integers(1, 100)), max_size=5),
    table=st.sampled_from(sorted(STEP_S)),
)
def test_bounds_never_overlap_and_hold_the_time(seconds: int, taken: list[tuple[int, int]], table: str) -> None:
    """Beside partitions of whole five minutes, there is always room for a time that none of them takes."""
    slot = seconds // 300
    others = [Bounds(300 * (slot + begin), 300 * (slot + begin + length)) for begin, length in taken]
    found = new_bounds(table, seconds, others)
    if any(other.holds(seconds) for other in others):
        return
    assert found is not None
    assert found.holds(seconds)
    assert all(other.end_s <= found.start_s or found.end_s <= other.start_s for other in others)


def test_names_of_partitions_sort_by_time() -> None:
    """heplify-server drops partitions by comparing names."""
    names = []
    for seconds in range(NEW_YEAR_S - 86_400, NEW_YEAR_S + 86_400, 7_200):
        bounds = new_bounds(CALL, seconds, [])
        assert bounds is not None
        names.append(partition_name(CALL, bounds))
    assert names == sorted(set(names))


def test_name_of_an_absurd_time_is_a_name() -> None:
    """Years beyond four digits and before the first need no quotes."""
    for seconds in (2**63 // 10**6, -(2**63) // 10**6):
        bounds = new_bounds(CALL, seconds, [])
        assert bounds is not None
        assert re.fullmatch(r"hep_proto_1_call_(bc)?[0-9]+_[0-9]{4}", partition_name(CALL, bounds))


@pytest.mark.parametrize("table", STEP_S)
def test_statements_are_of_the_wanted_table_alone(table: str) -> None:
    """Every name in them is the table's or begins with it, and the bounds are the partition's."""
    bounds = Bounds(NEW_YEAR_S, NEW_YEAR_S + STEP_S[table])
    (parent,) = parent_statements(table)
    partition = partition_statements(table, bounds)
    assert parent.startswith(f"CREATE TABLE IF NOT EXISTS {table} (")
    assert "PARTITION BY RANGE (create_date)" in parent
    names = set(re.findall(r"hep_proto_\w+", "\n".join(partition)))
    assert names <= {table} | {name for name in names if name.startswith(f"{table}_20240101_0000")}
    assert "2026" not in "\n".join(partition)
    assert f"FROM ('2024-01-01 00:00:00') TO ('2024-01-01 0{STEP_S[table] // 3_600}:00:00')" in partition[-1]
    assert not any("DEFAULT PARTITION" in text or " DEFAULT;" in text for text in (parent, *partition))


@pytest.mark.parametrize(
    ("table", "fields"),
    [
        (CALL, "create_date sid srcIp dstIp correlation_id ruri_domain ruri_user from_user to_user pid_user auth_user"
               " callid method"),
        ("hep_proto_100_default", "create_date sid srcIp dstIp correlation_id"),
        ("hep_proto_54_default", "create_date sid correlation_id called_number calling_number opc dpc cic msg_name"
               " callid"),
    ],
)  # fmt: skip
def test_indexes_are_heplify_servers(table: str, fields: str) -> None:
    """Each is named after its partition and field."""
    name = f"{table}_20240101_0000"
    statements = "\n".join(partition_statements(table, Bounds(NEW_YEAR_S, NEW_YEAR_S + 7_200)))
    assert re.findall(rf"CREATE INDEX IF NOT EXISTS {name}_(\w+) ON {name} \(", statements) == fields.split()


def test_all_tables_of_the_schema_have_a_step() -> None:
    """Wherever a record of the schema goes, there is a definition."""
    tables = {REPORT_PATTERN[HOMER7](report_record(payload_type=kind)) for kind in range(256)}
    for cseq in ("1 INVITE", "1 REGISTER", "1 OPTIONS", ""):
        tables.add(SIP_PATTERN[HOMER7](sip_record(method="200", cseq=cseq)))
    assert tables == set(STEP_S)
    assert {usual_name(table) for table in tables} == {CALL, "hep_proto_35_default", "hep_proto_54_default"}


@pytest.mark.parametrize("database", ["sqlite", "mysql", "postgresql"])
def test_definitions_have_the_columns_in_their_order(database: str) -> None:
    """id, sid, create_date, protocol_header, data_header, raw: in each table of each database."""
    tables = re.findall(r"CREATE TABLE IF NOT EXISTS \S+ \((.*?)\n\)", read_ddl(database, "homer7"), re.DOTALL)
    assert len(tables) == (1 if database == "mysql" else 3)
    for table in tables:
        names = [line.split()[0] for line in table.strip().splitlines() if not line.strip().startswith("KEY")]
        assert names == ["id", "sid", "create_date", "protocol_header", "data_header", "raw"]
