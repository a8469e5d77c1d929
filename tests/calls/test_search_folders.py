"""Search in folders with one file a table."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from sipcap.calls.query import Condition, Query, address_is, equals, node_is
from sipcap.calls.readers.registry import open_tables
from sipcap.calls.rebuild import Found
from sipcap.calls.search import Search
from sipcap.errors import CannotStart
from sipcap.patterns import read_patterns
from sipcap.record import Record, SipRecord, date_text
from sipcap.sinks.base import Row
from sipcap.sinks.registry import open_sink
from tests.calls.helpers import SECOND, at, offsets
from tests.conftest import RunSipcap
from tests.support.messages import BASE_TS_US
from tests.support.records import records as any_records
from tests.support.records import report_record, sip_lines

KINDS = ("ndjson", "text")
BOTH = pytest.mark.parametrize("kind", KINDS)


def store(url: str, tables: Mapping[str, Sequence[Record]]) -> None:
    """Store records, as ``sipcap store`` does."""
    sink = open_sink(url)
    sink.write(uuid.uuid4().hex, {name: [Row(one, {"own": 1}) for one in records] for name, records in tables.items()})
    sink.close()


def find(url: str, table: str, query: Query | None = None) -> list[Found]:
    """What a search finds."""
    search = Search(open_tables(url), read_patterns([table]), query or Query())
    return [found for batch in search.batches() for found in batch]


@BOTH
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.lists(st.tuples(any_records, st.binary(max_size=30)), min_size=1, max_size=6))
def test_search_gives_any_record_back(
    tmp_path_factory: pytest.TempPathFactory, kind: str, found: list[tuple[Record, bytes]]
) -> None:
    """Every column, the message byte by byte, the envelope, and the keys that nobody knows."""
    url = f"{kind}://{tmp_path_factory.mktemp('folder')}"
    stored: dict[str, list[Record]] = {"sip": [], "report": []}
    for record, payload in found:
        record.date = date_text(BASE_TS_US // SECOND)
        record.msg = payload.decode("utf-8", "replace")
        record.msg_b64 = payload if record.msg.encode() != payload else UNSET
        if isinstance(record, SipRecord):
            record.payload_type = 1
        stored[record.kind].append(record)
    store(url, {name: records for name, records in stored.items() if records})
    for name, records in stored.items():
        if records:
            expected = sorted(records, key=lambda one: one.micro_ts)
            assert find(url, name) == [Found(record, {"own": 1}) for record in expected]


CONDITIONS: list[tuple[Condition, list[int]]] = [
    (equals("--callid", ["call-2@host", "call-4@host"]), [2, 4]),
    (equals("--callid", ["CALL-2@host"]), []),
    (equals("--from-user", ["from_user 1"]), [1]),
    (equals("--method", ["method 0"]), [0]),
    (address_is("2001:DB8::1"), [5]),
    (node_is("x:y"), [6]),
]


@BOTH
def test_search_is_one_stream_in_the_order_of_time(tmp_path: Path, kind: str) -> None:
    """Over several files, by any condition; a report has its Call-ID elsewhere."""
    url = f"{kind}://{tmp_path}"
    rows = [at(number, number) for number in (3, 1, 0, 4, 2)]
    rows += [at(5, 5, source_ip="2001:db8::1"), at(6, 6, node="x:y:7")]
    report = report_record(1, correlation_id="call-2@host", payload_type=5)
    store(url, {"s_20231114": rows[:4], "s_20231115": rows[4:], "other": [at(9)], "rtcp_capture": [report]})
    records = [found.record for found in find(url, "s_%Y%m%d")]
    assert offsets(records) == [0, 1, 2, 3, 4, 5, 6]
    assert len(find(url, "s_%Y%m%d", Query(BASE_TS_US + 1, BASE_TS_US + 3))) == 2
    for condition, expected in CONDITIONS:
        found = find(url, "s_%Y%m%d", Query(conditions=(condition,)))
        assert offsets([one.record for one in found]) == expected, condition
    by_call = find(url, "rtcp_capture", Query(conditions=(CONDITIONS[0][0],)))
    assert [one.record.kind for one in by_call] == ["report"]


@BOTH
def test_search_leaves_out_what_is_no_record(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Bad lines are counted; the last one may still be written; a file of something else is named."""
    url = f"{kind}://{tmp_path}"
    store(url, {"a": [at(0), at(1)]})
    path = tmp_path / ("a.ndjson" if kind == "ndjson" else "a")
    path.write_bytes(path.read_bytes() + b"nonsense\n\nunfinished")
    assert len(find(url, "a")) == 2
    assert "a: 1 line(s) are no records" in caplog.text
    if kind == "text":
        (tmp_path / "b").write_bytes(b"username(str)\nx\n")
        assert find(url, "b") == []
        assert "b is no table of messages" in caplog.text


def test_search_in_a_folder_that_is_not_there_cannot_start(tmp_path: Path) -> None:
    """And none is made."""
    with pytest.raises(CannotStart, match="cannot read"):
        find(f"ndjson://{tmp_path}/x", "a")
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_search_from_the_command_line(sipcap: RunSipcap, tmp_path: Path, kind: str) -> None:
    """What went in comes out."""
    url = f"{kind}://{tmp_path}/db"
    lines = sip_lines(50)
    assert sipcap("store", "-q", "--db-url", url, stdin=lines).returncode == 0
    done = sipcap("search", "--db-url", url)
    assert (done.returncode, done.stdout, done.stderr) == (0, lines, b"")
