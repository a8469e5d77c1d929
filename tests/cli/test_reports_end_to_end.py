"""What is not SIP, from HEP to its tables: no kind of it is lost (design 1.6; the module loses most, spec 2.5.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunSipcap
from tests.support.background import Start, imbalance, wait_for
from tests.support.messages import chunk, hep3, usual_chunks
from tests.support.receiving import connect, send_udp
from tests.support.records import rows_of, tables_of

KINDS: dict[int, tuple[str, int]] = {
    5: ("rtcp_capture", 3), 32: ("report_capture", 2), 34: ("report_capture", 34), 35: ("report_capture", 35),
    38: ("report_capture", 38), 53: ("report_capture", 53), 54: ("report_capture", 54), 56: ("report_capture", 56),
    58: ("report_capture", 58), 60: ("report_capture", 60), 61: ("report_capture", 61), 99: ("report_capture", 4),
    100: ("logs_capture", 5), 255: ("report_capture", 255), 0: ("report_capture", 0),
}  # fmt: skip
"""HEP types (RTCP, MOS, horaclifix, DNS, ISUP, Diameter, RTCP PION, CDR, Verto, logs ...): table and ``type``."""


def packet(hep_type: int, cid: bytes | None, payload: bytes) -> bytes:
    """A HEP packet of this type, with its correlation id if there is one."""
    correlation = () if cid is None else (chunk(17, cid),)
    return hep3(*usual_chunks(payload_type=hep_type), *correlation, chunk(15, payload))


def packets() -> list[bytes]:
    """Each type with and without a correlation id, JSON and bytes that are no text."""
    return [
        packet(hep_type, cid, payload)
        for hep_type in KINDS
        for cid, payload in ((f"call-{hep_type}".encode(), b'{"MOS":4.1}'), (None, b"\xff\0\x80"), (b"", b"text"))
    ]


def count(path: Path) -> int:
    """How many reports are stored by now."""
    return sum(len(rows_of(path, table, ["id"])) for table in tables_of(path)) if path.exists() else 0


def stored(path: Path) -> set[tuple[Any, ...]]:
    """Table, type, correlation id and bytes of every report."""
    columns = ["type", "correlation_id", "msg", "msg_raw", "source_ip", "destination_port", "node"]
    rows = {(table, *row) for table in tables_of(path) for row in rows_of(path, table, columns)}
    assert {row[5:] for row in rows} == {("10.1.1.1", 5062, "homer01:2001")}
    return {(table, kind, cid, msg.encode() if raw is None else raw) for table, kind, cid, msg, raw, *_ in rows}


EXPECTED = {
    (table, kind, cid, payload)
    for hep_type, (table, kind) in KINDS.items()
    for cid, payload in ((f"call-{hep_type}", b'{"MOS":4.1}'), ("", b"\xff\0\x80"), ("", b"text"))
}


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_reports_of_every_type_are_rows_of_their_tables(run: Start, db_path: Path, protocol: str) -> None:
    """``sipcap run``: each has its table, type, correlation id and exact bytes; without an id, it has an empty one."""
    process = run("--listen", f"{protocol}:127.0.0.1:0")
    if protocol == "udp":
        send_udp(process.port, *packets())
    else:
        with connect(process.port) as connection:
            connection.sendall(b"".join(packets()))
    wait_for(lambda: count(db_path) == 45, "45 rows")
    assert process.stop() == 0
    assert stored(db_path) == EXPECTED
    assert (process.summary["reported"], process.summary["rejected"], imbalance(process.summary)) == (45, {}, 0)


def test_reports_through_a_pipe_are_the_same_rows(listen: Start, sipcap: RunSipcap, db_path: Path) -> None:
    """``sipcap listen | sipcap store`` loses none either."""
    process = listen()
    send_udp(process.port, *packets())
    wait_for(lambda: process.output.count(b"\n") == 45, "45 lines")
    assert process.stop() == 0
    assert sipcap("store", stdin=process.output).returncode == 0
    assert stored(db_path) == EXPECTED


def test_reports_without_correlation_id_are_counted_where_one_is_demanded(listen: Start, sipcap: RunSipcap) -> None:
    """``sipcap report`` refuses what ``store`` takes: the module's report_capture needs one."""
    process = listen()
    send_udp(process.port, *packets())
    wait_for(lambda: process.output.count(b"\n") == 45, "45 lines")
    process.stop()
    ended = sipcap("report", stdin=process.output)
    assert ended.returncode == 1
    assert b"rejected 30 (no_cid 30)" in ended.stderr
