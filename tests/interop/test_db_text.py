"""Kamailio's own db_text reads what sipcap wrote, and sipcap goes on with what Kamailio wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sipcap.record import SIP_COLUMNS
from sipcap.sinks.base import Row
from sipcap.sinks.text import TextSink
from tests.interop import db_text, kamailio
from tests.support.dbtext import read_table
from tests.support.folders import rows
from tests.support.records import INTEGERS, report_record, sip_record

pytestmark = pytest.mark.usefixtures("db_text_here")
HOSTILE = ":a:\\b\\:c\r\nd\te\\nf\\", "\x1f", "\\", ":", "\u00fc\U0001f600", "a\0b", " ", "'\"%`$(x){y}", "x" * 20_000


@pytest.fixture(scope="session")
def db_text_here(kamailio_here: None) -> None:
    """Kamailio's modules for tables of text, and for queries by a script."""
    folder = kamailio.module_folder()
    missing = [name for name in db_text.MODULES if folder is None or not (folder / name).exists()]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"Kamailio's {', '.join(missing)} is needed in CI")
    if missing:
        pytest.skip(f"Kamailio's {', '.join(missing)} is not here")


@pytest.fixture
def sink(tmp_path: Path) -> TextSink:
    """A sink over a new folder."""
    opened = TextSink(tmp_path / "db")
    opened.open()
    return opened


def read_by_kamailio(tmp_path: Path, table: str, *columns: str) -> list[dict[str, bytes]]:
    """What Kamailio finds in the sink's folder."""
    return db_text.rows_read(tmp_path / "kamailio", tmp_path / "db", table, columns)


def test_kamailio_reads_every_column_of_hostile_rows(sink: TextSink, tmp_path: Path) -> None:
    """Whatever bytes a record holds, Kamailio finds them in their column, and numbers of 64 bits unharmed."""
    texts = [name for name in SIP_COLUMNS if name not in INTEGERS and name not in {"date", "msg"}]
    records = [sip_record(0)]
    for number, text in enumerate(HOSTILE, 1):
        records.append(sip_record(number, **dict.fromkeys(texts, text), msg=text.replace("\0", "\ufffd")))
    records.append(sip_record(99, msg="\ufffd", msg_b64=b"\xff\0:\\\n"))
    records.append(sip_record(100, **dict.fromkeys(texts, ""), msg=""))
    sink.write("b", {"sip_capture": rows(*records)})
    found = read_by_kamailio(tmp_path, "sip_capture", "id", *SIP_COLUMNS, "msg_raw")
    assert [row["id"] for row in found] == [str(number).encode() for number in range(1, len(records) + 1)]
    assert [row["msg_raw"] for row in found] == [b""] * (len(records) - 2) + [b"\xff\0:\\\n", b""]
    for row, record in zip(found, records, strict=True):
        expected = {name: str(getattr(record, name)).encode() for name in SIP_COLUMNS} | {"date": b"1700000000"}
        assert {name: row[name] for name in SIP_COLUMNS} == expected


def test_kamailio_reads_reports_and_the_versions(sink: TextSink, tmp_path: Path) -> None:
    """Reports have their own columns, and the table of versions lists all tables."""
    sink.write("b", {"report_capture": rows(report_record(1)), "a:b": [Row(sip_record(2), {"their": "key"})]})
    (row,) = read_by_kamailio(tmp_path, "report_capture", "micro_ts", "correlation_id", "msg")
    assert row == {"micro_ts": b"1700000000123457", "correlation_id": b"correlation_id 1", "msg": b"msg 1"}
    versions = read_by_kamailio(tmp_path, "version", "table_name", "table_version")
    assert versions == [
        {"table_name": b"report_capture", "table_version": b"1"},
        {"table_name": b"a:b", "table_version": b"1"},
    ]


def test_kamailio_and_sipcap_write_a_table_in_turn(sink: TextSink, tmp_path: Path) -> None:
    """A table that Kamailio has changed and written is gone on with, and its rows are numbered on."""
    sink.write("a", {"sip_capture": rows(sip_record(1), sip_record(2, msg="\r\n:\\\0"))})
    before = read_table(tmp_path / "db" / "sip_capture")
    insert = 'replace sip_capture set method="THEIRS",source_port=77 where id=3'
    db_text.run_statements(tmp_path / "kamailio", tmp_path / "db", [insert])
    theirs, *kept = read_table(tmp_path / "db" / "sip_capture")
    assert sorted(kept, key=str) == sorted(before, key=str)
    assert (theirs["id"], theirs["method"], theirs["source_port"], theirs["msg"]) == (3, b"THEIRS", 77, None)
    sink.write("b", {"sip_capture": rows(sip_record(4))})
    found = read_by_kamailio(tmp_path, "sip_capture", "id", "method")
    assert {row["id"]: row["method"] for row in found} == {
        b"1": b"method 1", b"2": b"method 2", b"3": b"THEIRS", b"4": b"method 4"
    }  # fmt: skip


@pytest.mark.parametrize(
    "definition",
    ["micro_ts(int,null) date(time) method(string,null) n(int) s(str,null)\n", "  method( str , null )   x(double)\n"],
)
def test_kamailio_reads_foreign_tables_that_sipcap_has_filled(
    sink: TextSink, tmp_path: Path, definition: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A table with columns of somebody else's choice can still be read after sipcap has added to it."""
    (tmp_path / "db" / "t").write_text(definition)
    sink.write("a", {"t": rows(sip_record(1), sip_record(2))})
    found = read_by_kamailio(tmp_path, "t", "method")
    assert [row["method"] for row in found] == [b"method 1", b"method 2"]
