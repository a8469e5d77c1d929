"""Search in tables of servers that somebody else made."""

from __future__ import annotations

from sipcap.calls.query import Query, address_is, equals
from sipcap.record import SipRecord, date_text
from sipcap.sinks.base import Row
from tests.calls.helpers import SECOND
from tests.calls.served import find
from tests.support.databases import ServedDatabase
from tests.support.messages import BASE_TS_US
from tests.support.records import report_record


def test_search_reads_tables_of_others(served: ServedDatabase) -> None:
    """Fewer columns, NULL, local time, narrow character sets: read as far as they go."""
    if served.kind == "postgresql":
        served.execute(
            "CREATE TABLE k (id serial, date timestamptz, micro_ts bigint, callid varchar(9), msg varchar(99))"
        )
    else:
        served.execute("CREATE TABLE k (id int unsigned AUTO_INCREMENT, date timestamp NULL, micro_ts bigint unsigned,"
                       " callid varchar(9), msg varchar(99), PRIMARY KEY (id)) CHARACTER SET latin1")  # fmt: skip
    served.execute("CREATE INDEX kd ON k (date)")
    for number in range(4):
        date = date_text(BASE_TS_US // SECOND + number * 86_400 + 9 * 3_600)
        zone = "+00" if served.kind == "postgresql" else ""
        time = BASE_TS_US + number * 86_400 * SECOND
        served.execute(f"INSERT INTO k (date, micro_ts, callid, msg) VALUES ('{date}{zone}', {time}, 'C{number}', 'ü')")
    served.execute("INSERT INTO k (date, micro_ts) VALUES (NULL, NULL)")
    records = find(served, "k", Query(BASE_TS_US + 86_400 * SECOND))
    assert [(one.callid, one.msg) for one in records if isinstance(one, SipRecord)] == [
        (f"C{n}", "ü") for n in (1, 2, 3)
    ]
    assert records[0].date == date_text(BASE_TS_US // SECOND + 86_400 + 9 * 3_600)
    assert len(find(served, "k")) == 5
    expected = 1 if served.kind == "mysql" else 0
    (condition,) = (equals("--callid", ["c1"]),)
    assert len(find(served, "k", Query(conditions=(condition,)))) == 0
    assert len(served.execute("SELECT 1 FROM k WHERE callid = 'c1'")) == expected


def test_search_reads_the_tables_of_homer7(served: ServedDatabase) -> None:
    """Partitioned or not: by Call-ID, user, address, and time, in the order of time."""
    from sipcap.extract import Extractor
    from sipcap.sinks.registry import open_sink
    from sipcap.wire.message import Message

    message = b"INVITE sip:bob@b SIP/2.0\r\nFrom: <sip:alice@a>;tag=1\r\nCall-ID: c-%d@host\r\nCSeq: 1 INVITE\r\n\r\n"
    rows = []
    for number in range(6):
        record = Extractor().record(Message(message % number), BASE_TS_US + number * 5_000 * SECOND)
        record.source_ip = f"192.0.2.{number}"
        rows.append(Row(record, {}))
    sink = open_sink(served.url, schema="homer7")
    report = report_record(9, payload_type=5, correlation_id="c-1@host")
    sink.write("1", {"hep_proto_1_call": rows, "hep_proto_5_default": [Row(report, {})]})
    sink.close()
    table = "hep_proto_1_call"
    assert [one.micro_ts for one in find(served, table)] == [row.record.micro_ts for row in rows]
    for condition in (equals("--callid", ["c-1@host"]), address_is("192.0.2.1")):
        (one,) = find(served, table, Query(conditions=(condition,)))
        assert (one.micro_ts, one.source_ip) == (BASE_TS_US + 5_000 * SECOND, "192.0.2.1")
    assert len(find(served, table, Query(conditions=(equals("--from-user", ["alice"]),)))) == 6
    query = Query(
        BASE_TS_US + 4_999 * SECOND, BASE_TS_US + 10_001 * SECOND, (equals("--callid", ["c-1@host", "c-2@host"]),)
    )
    assert [one.kind for one in find(served, f"{table}|hep_proto_5_default", query)] == ["sip", "sip"]
    assert [one.kind for one in find(served, "hep_proto_5_default")] == ["report"]
