"""Records, their lines, and what stands in a database, for tests of the storing half."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from sipcap.ndjson import encode_records
from sipcap.record import REPORT_COLUMNS, SIP_COLUMNS, Record, ReportRecord, SipRecord, date_text
from tests.support.messages import BASE_TS_US

INTEGERS = frozenset(name for name in SIP_COLUMNS if SipRecord.__annotations__[name] == "Int64")
"""The columns that hold numbers; all others hold text."""


def sip_record(number: int = 0, /, **changes: Any) -> SipRecord:
    """A record with every column set, told from others by its number."""
    values: dict[str, Any] = {
        name: index + number if name in INTEGERS else f"{name} {number}" for index, name in enumerate(SIP_COLUMNS)
    }
    ts_us = BASE_TS_US + number
    values |= {"date": date_text(ts_us // 1_000_000), "micro_ts": ts_us, "callid": f"call-{number}@host"}
    return SipRecord(v=1, kind="sip", **(values | changes))


def report_record(number: int = 0, /, **changes: Any) -> ReportRecord:
    """A report with every column set, told from others by its number."""
    values: dict[str, Any] = {
        name: index + number if name in INTEGERS else f"{name} {number}" for index, name in enumerate(REPORT_COLUMNS)
    }
    ts_us = BASE_TS_US + number
    values |= {"date": date_text(ts_us // 1_000_000), "micro_ts": ts_us, "type": 0}
    return ReportRecord(v=1, kind="report", **(values | changes))


def sip_lines(count: int, first: int = 0) -> bytes:
    """So many SIP lines, numbered."""
    return encode_records(sip_record(number) for number in range(first, first + count))


def line_of(record: Record, **more: Any) -> bytes:
    """A record's line with further keys, or others in place of its own."""
    return json.dumps(json.loads(encode_records([record])) | more, separators=(",", ":")).encode() + b"\n"


int64 = st.integers(-(2**63), 2**63 - 1)
# json's own escapes cannot tell a lone surrogate; messages never hold one, their bytes were decoded.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_envelope = st.fixed_dictionaries(
    {},
    optional={
        "msg_b64": st.binary(max_size=40),
        "payload_type": int64,
        "hep_version": int64,
        "capture_id": int64,
        "node_name": text,
        "vlan": int64,
        "source_mac": text,
        "tags": text,
        "vendor_chunks": st.lists(st.dictionaries(text, st.binary(max_size=9) | st.integers(0, 65_535)), max_size=2),
        "original_ts_us": int64,
    },
)
_sip_columns = st.fixed_dictionaries({name: int64 if name in INTEGERS else text for name in SIP_COLUMNS})
_report_columns = st.fixed_dictionaries({name: int64 if name in INTEGERS else text for name in REPORT_COLUMNS})
sip_records = st.builds(lambda columns, more: SipRecord(v=1, kind="sip", **columns, **more), _sip_columns, _envelope)
report_records = st.builds(
    lambda columns, more: ReportRecord(v=1, kind="report", **columns, **more), _report_columns, _envelope
)
records: st.SearchStrategy[Record] = st.one_of(sip_records, report_records)
"""Any record that can exist."""


def rows_of(path: Path, table: str = "sip_capture", columns: Sequence[str] = SIP_COLUMNS) -> list[tuple[Any, ...]]:
    """These columns of all rows, in the order in which they were stored; none if the table is missing."""
    names = ", ".join(f'"{name}"' for name in columns)
    quoted = table.replace('"', '""')
    with contextlib.closing(sqlite3.connect(path)) as connection:
        if table not in tables_of(path):
            return []
        return connection.execute(f'SELECT {names} FROM "{quoted}" ORDER BY rowid').fetchall()


def numbers_of(path: Path, table: str = "sip_capture") -> list[int]:
    """The numbers of the stored records, as ``sip_record`` and ``report_record`` gave them."""
    return [ts_us - BASE_TS_US for (ts_us,) in rows_of(path, table, ["micro_ts"])]


def tables_of(path: Path) -> set[str]:
    """The tables of messages."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")
        return {name for (name,) in found if not name.startswith("sqlite_")} - {"sipcap_batches"}
