"""``sipcap run`` into the tables of HOMER 5 and 7."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RunSipcap
from tests.support.background import Start
from tests.support.messages import hep3_datagram
from tests.support.receiving import send_udp
from tests.support.records import rows_of, tables_of


@pytest.mark.parametrize("schema", ["homer5", "homer7"])
def test_run_stores_in_the_tables_of_a_schema(run: Start, db_path: Path, schema: str) -> None:
    """What comes by HEP is in the table of its method when the service has ended."""
    process = run("--schema", schema)
    send_udp(process.port, *map(hep3_datagram, range(5)))
    assert process.stop() == 0
    (table,) = tables_of(db_path)
    assert table.startswith({"homer5": "sip_capture_", "homer7": "hep_proto_1_"}[schema])
    assert len(rows_of(db_path, table, ["id"])) == 5


def test_run_with_tables_of_its_own_and_homer7_is_a_usage_error(sipcap: RunSipcap, db_path: Path) -> None:
    """HOMER 7's tables have fixed names, in the service as in store."""
    done = sipcap("run", "--listen", "udp:127.0.0.1:0", "--schema", "homer7", "--table", "t")
    assert (done.returncode, db_path.exists()) == (2, False)
