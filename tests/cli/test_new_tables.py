"""How many tables records may cause: few from live input, any number from what is stored again."""

from __future__ import annotations

import json
from pathlib import Path

from sipcap.limits import MAX_NEW_TABLES_PER_HOUR
from sipcap.ndjson import encode_records
from tests.conftest import RunSipcap
from tests.support.background import Start, imbalance
from tests.support.messages import BASE_TS_US, chunk, hep3, sip_message, usual_chunks
from tests.support.receiving import connect
from tests.support.records import sip_record, tables_of

SECONDS = MAX_NEW_TABLES_PER_HOUR + 20
PATTERN = "t_%Y%m%d%H%M%S"


def test_run_beyond_a_hundred_new_tables_writes_dead_letters(run: Start, db_path: Path) -> None:
    """An agent with a hostile clock fills the dead-letter file, not the database with tables."""
    process = run("--listen", "tcp:127.0.0.1:0", "--table", PATTERN, "--dead-letter", "dead.ndjson")
    (tcp,) = process.ports(1)
    with connect(tcp) as client:
        for number in range(SECONDS):
            chunks = usual_chunks(ts_us=BASE_TS_US + number * 1_000_000)
            client.sendall(hep3(*chunks, chunk(15, sip_message(number))))
        assert process.stop() == 0
    assert len(tables_of(db_path)) == MAX_NEW_TABLES_PER_HOUR
    letters = [json.loads(line) for line in db_path.with_name("dead.ndjson").read_text().splitlines()]
    assert len(letters) == SECONDS - MAX_NEW_TABLES_PER_HOUR
    assert all("new tables or partitions an hour" in letter["_error"] for letter in letters)
    assert imbalance(process.summary) == 0


def test_store_makes_as_many_tables_as_records_need(sipcap: RunSipcap, db_path: Path) -> None:
    """A capture of the past has the tables that it has."""
    times = (BASE_TS_US + number * 1_000_000 for number in range(SECONDS))
    done = sipcap("store", "--table", PATTERN, stdin=encode_records(sip_record(micro_ts=time_us) for time_us in times))
    assert done.returncode == 0, done.stderr
    assert len(tables_of(db_path)) == SECONDS
